package apply

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
)

// BenchmarkTouching is BenchmarkBacklog's work, without a barrier and once one was taken, when what is touched is noted.
func BenchmarkTouching(b *testing.B) {
	f := newFixture(b, `CREATE TABLE accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
		INSERT INTO accounts SELECT i, 1, 0, '' FROM generate_series(0, 299999) i;
		CREATE TABLE history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
		CREATE TABLE m (id bigint PRIMARY KEY, ts timestamptz NOT NULL, device int, v float8); CREATE INDEX ON m (device, ts); ANALYZE;
		INSERT INTO timeferry.tracked VALUES ('public', 'accounts', 'aid', 'int'), ('public', 'history', '', ''), ('public', 'm', 'id', 'int')`,
		"accounts", "history", "m")
	const n = 30_000
	var took [2]float64
	var changes [2]int64
	for b.Loop() {
		for noting := range 2 {
			f.db.Exec(b, "TRUNCATE m, timeferry.barrier, timeferry.touched; UPDATE timeferry.migration SET applied_lsn = NULL")
			f.db.Exec(b, "INSERT INTO timeferry.barrier (serial, state, cut, until, taken) SELECT 1, 'taken', '0/1', now(), 1 WHERE $1 > 0", noting)
			f.seen = nil
			feed := &backlog{random: rand.New(rand.NewPCG(1, 1)), n: n, accounts: relation("accounts", 'd', "aid*", "bid", "abalance", "filler"),
				history: relation("history", 'd', "tid", "bid", "aid", "delta", "mtime", "filler"), m: relation("m", 'd', "id*", "ts", "device", "v")}
			begun := b.Elapsed()
			require.NoError(b, f.runUntil(b, func(change.LSN) (Feed, error) { return feed, nil }, lsnOf(n)))
			took[noting] += (b.Elapsed() - begun).Seconds()
			changes[noting] += f.last().Changes
		}
	}
	b.ReportMetric(float64(changes[0])/took[0], "changes/s")
	b.ReportMetric(float64(changes[1])/took[1], "noted/s")
}
