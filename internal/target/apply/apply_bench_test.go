package apply

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
)

// backlog is pgbench's transaction without its hot tables (an update by key, an insert into a table without a key), and
// every other time a transaction of 20 rows into a table of measurements instead.
type backlog struct {
	random               *rand.Rand
	accounts, history, m *change.Relation
	n, i                 int // transactions
	queue                []change.Event
	next                 int
}

func (b *backlog) Ready() bool { return b.i < b.n || b.next < len(b.queue) }

func (b *backlog) Next(ctx context.Context) (change.Event, error) {
	if b.next < len(b.queue) {
		b.next++
		return b.queue[b.next-1], nil
	}
	if b.i == b.n {
		<-ctx.Done()
		return change.Event{}, ctx.Err()
	}
	b.i++
	final := lsnOf(b.i)
	at := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	b.queue = append(b.queue[:0], change.Event{Kind: change.Begin, FinalLSN: final, CommitTime: at})
	if b.i%3 == 0 {
		for j := range 20 {
			b.queue = append(b.queue, ins(b.m, strconv.Itoa(b.i*20+j), "2024-05-06 07:08:09.123456+00", strconv.Itoa(j), "0.123456789"))
		}
	} else {
		aid := strconv.Itoa(b.random.IntN(300_000))
		b.queue = append(b.queue, upd(b.accounts, aid, "1", strconv.Itoa(b.random.IntN(5000)), "                    "),
			ins(b.history, "1", "1", aid, "17", "2024-05-06 07:08:09.123456", null))
	}
	b.queue = append(b.queue, change.Event{Kind: change.Commit, FinalLSN: final, EndLSN: final + 10, CommitTime: at})
	b.next = 1
	return b.queue[0], nil
}

// BenchmarkBacklog applies 30,000 transactions that are all there already. changes/s is what counts.
func BenchmarkBacklog(b *testing.B) {
	f := newFixture(b, `CREATE TABLE accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
		INSERT INTO accounts SELECT i, 1, 0, '' FROM generate_series(0, 299999) i;
		CREATE TABLE history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
		CREATE TABLE m (id bigint PRIMARY KEY, ts timestamptz NOT NULL, device int, v float8); CREATE INDEX ON m (device, ts); ANALYZE`,
		"accounts", "history", "m")
	const n = 30_000
	var changes int64
	for b.Loop() {
		f.db.Exec(b, "TRUNCATE m; UPDATE timeferry.migration SET applied_lsn = NULL")
		f.seen = nil
		feed := &backlog{random: rand.New(rand.NewPCG(1, 1)), n: n, accounts: relation("accounts", 'd', "aid*", "bid", "abalance", "filler"),
			history: relation("history", 'd', "tid", "bid", "aid", "delta", "mtime", "filler"), m: relation("m", 'd', "id*", "ts", "device", "v")}
		require.NoError(b, f.runUntil(b, func(change.LSN) (Feed, error) { return feed, nil }, lsnOf(n)))
		changes += f.last().Changes
	}
	b.ReportMetric(float64(changes)/b.Elapsed().Seconds(), "changes/s")
}
