package verify_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/capture"
	"timeferry/internal/spool"
	"timeferry/internal/target/apply"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
	"timeferry/internal/verify"
)

// worldTables are made on both sides; %s is what only the source has.
const worldTables = `
CREATE TABLE pk (id int PRIMARY KEY, gone int, v text, f float8, sum int GENERATED ALWAYS AS (id * 2) STORED); ALTER TABLE pk DROP gone;
CREATE TABLE words (word text PRIMARY KEY, n int, j json);
CREATE TABLE ids (id uuid PRIMARY KEY, v bytea);
CREATE TABLE nokey (a int, b text);
CREATE TABLE m (ts timestamptz NOT NULL, dev int NOT NULL, v float8, PRIMARY KEY (dev, ts)) %s;
CREATE INDEX ON m (ts);
CREATE TABLE quiet (id bigint PRIMARY KEY, v text);`

var worldNames = []string{"pk", "words", "ids", "nokey", "m", "quiet"}

// world is a stream from a source to a target, with everything between.
type world struct {
	src, dst  *pgtest.Database
	slot      string
	spool     *spool.Spool
	stopApply func() error
	applied   atomic.Uint64
	log       *slog.Logger
}

func newWorld(t *testing.T, src, dst *pgtest.Database) *world {
	t.Helper()
	w := &world{src: src, dst: dst, slot: fmt.Sprintf("verify_%d", time.Now().UnixNano()), log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	partitioned, partitions, root := "PARTITION BY RANGE (ts)", `CREATE TABLE m1 PARTITION OF m FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
		CREATE TABLE m2 PARTITION OF m DEFAULT;`, " WITH (publish_via_partition_root = true)"
	version, err := pgkit.Version(t.Context(), src.Conn(t))
	require.NoError(t, err)
	if version < 130000 {
		partitioned, partitions, root = "", "", ""
	}
	src.Exec(t, fmt.Sprintf(worldTables, partitioned)+partitions+`
		ALTER TABLE nokey REPLICA IDENTITY FULL; CREATE PUBLICATION verify FOR TABLE `+strings.Join(worldNames, ", ")+root)
	dst.Exec(t, fmt.Sprintf(worldTables, "")+"SELECT create_hypertable('m', 'ts', create_default_indexes => false)")
	owned(src, dst, t)
	require.NoError(t, ledger.Create(t.Context(), dst.MasterConn(t), "verify"))
	src.Exec(t, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", w.slot)
	src.Exec(t, `INSERT INTO pk SELECT i, 'v' || i, i / 7.0 FROM generate_series(1, 20000) i; INSERT INTO words SELECT 'w' || i, i, '{"a":  1}' FROM generate_series(1, 2000) i;
		INSERT INTO ids SELECT md5(i::text)::uuid, decode(md5(i::text), 'hex') FROM generate_series(1, 2000) i;
		INSERT INTO nokey SELECT i % 100, 'n' || i % 50 FROM generate_series(1, 2000) i;
		INSERT INTO m SELECT timestamptz '2024-01-20' + i * interval '10 minutes', i % 5, i / 3.0 FROM generate_series(1, 5000) i;
		INSERT INTO quiet SELECT i, 'q' FROM generate_series(1, 1000) i; ANALYZE`)
	sp, err := spool.Open(t.TempDir(), spool.Options{})
	require.NoError(t, err)
	w.spool = sp
	receiving, stop := context.WithCancel(context.Background())
	received := make(chan error, 1)
	go func() {
		received <- (&capture.Receiver{Source: src.Endpoint, Slot: w.slot, Publications: []string{"verify"}, Spool: sp, Log: w.log, ServerVersion: version}).Run(receiving, nil)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-received; !errors.Is(err, context.Canceled) {
			t.Errorf("receiver: %v", err)
		}
		require.NoError(t, sp.Close())
	})
	w.startApply(t)
	t.Cleanup(func() { _ = w.stopApply() })
	return w
}

func (w *world) startApply(t *testing.T) {
	t.Helper()
	o := apply.Options{Target: w.dst.Endpoint, Starts: map[ident.Table]change.LSN{}, Hypertables: map[ident.Table]bool{}, ReplicaRole: true, Log: w.log}
	for _, name := range worldNames {
		o.Starts[ident.Table{Schema: "public", Name: name}] = 0
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	open := func(from change.LSN) (apply.Feed, error) {
		r, err := w.spool.NewReader(from)
		if err != nil {
			return nil, err
		}
		return apply.NewSpoolFeed(r), nil
	}
	go func() {
		done <- apply.Run(ctx, o, open, func(p apply.Progress) { w.applied.Store(uint64(p.AppliedLSN)) })
	}()
	w.stopApply = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
}

func (w *world) tables() []verify.Table {
	var all []verify.Table
	for name, t := range map[string]verify.Table{
		"pk": {Columns: []string{"id", "v", "f"}}, "words": {Columns: []string{"word", "n", "j"}},
		"ids": {Columns: []string{"id", "v"}}, "nokey": {Columns: []string{"a", "b"}},
		"m": {Columns: []string{"ts", "dev", "v"}}, "quiet": {Columns: []string{"id", "v"}},
	} {
		t.Source = ident.Table{Schema: "public", Name: name}
		t.Target, t.Bytes = t.Source, 1<<20
		all = append(all, t)
	}
	return all
}

func (w *world) options(name string) verify.RunOptions {
	return verify.RunOptions{Source: w.src.Endpoint, Target: w.dst.Endpoint, Name: name, Method: verify.MethodChecksum, Slot: w.slot, Plugin: "pgoutput",
		Tables: w.tables(), Parallel: 2, ChunkBytes: 100 << 10, Log: w.log}
}

func (w *world) mustRun(t *testing.T, o verify.RunOptions) verify.Outcome {
	t.Helper()
	out, err := verify.Run(t.Context(), o)
	require.NoError(t, err)
	return out
}

func requireEqual(t *testing.T, out verify.Outcome) {
	t.Helper()
	for _, r := range out.Tables {
		require.True(t, r.Equal, "%s: %d and %d rows: %v", r.Table, r.SourceRows, r.TargetRows, r.Differences)
		require.False(t, r.Unverified, "%s", r.Table)
	}
}

func tableOf(t *testing.T, out verify.Outcome, name string) verify.TableResult {
	t.Helper()
	for _, r := range out.Tables {
		if r.Table.Name == name {
			return r
		}
	}
	require.Fail(t, "no result", name)
	return verify.TableResult{}
}

// awaitApplied waits until everything that is on the source now is on the target.
func (w *world) awaitApplied(t *testing.T) {
	t.Helper()
	end, err := change.ParseLSN(w.src.QueryValue(t, "SELECT pg_current_wal_insert_lsn()"))
	require.NoError(t, err)
	w.src.Exec(t, "SELECT pg_logical_emit_message(true, 'timeferry', 'test')")
	require.Eventually(t, func() bool { return w.applied.Load() >= uint64(end) }, time.Minute, 5*time.Millisecond)
}

// write changes all tables but the quiet one until stop is closed.
func (w *world) write(t *testing.T, seed uint64, stop <-chan struct{}) {
	conn := w.src.Conn(t)
	r := rand.New(rand.NewPCG(seed, 9))
	for {
		select {
		case <-stop:
			return
		default:
		}
		id := r.IntN(20000)
		sql := []string{
			fmt.Sprintf("UPDATE pk SET v = 'x%d' WHERE id = %d", r.IntN(1000), id),
			fmt.Sprintf("DELETE FROM pk WHERE id = %d", id),
			fmt.Sprintf("INSERT INTO pk VALUES (%d, 'new', 0.1) ON CONFLICT DO NOTHING", id),
			fmt.Sprintf("UPDATE pk SET id = %d WHERE id = %d", 20000+r.IntN(20000), id),
			fmt.Sprintf("INSERT INTO words VALUES ('n%d', 1, '[1,  2]') ON CONFLICT (word) DO UPDATE SET n = words.n + 1", r.IntN(500)),
			fmt.Sprintf("DELETE FROM words WHERE word = 'w%d'", r.IntN(2000)),
			fmt.Sprintf("UPDATE ids SET v = '\\x%02x' WHERE id = md5('%d')::uuid", r.IntN(256), r.IntN(2000)),
			fmt.Sprintf("INSERT INTO nokey VALUES (%d, 'k')", r.IntN(100)),
			fmt.Sprintf("DELETE FROM nokey WHERE ctid = (SELECT min(ctid) FROM nokey WHERE a = %d)", r.IntN(100)),
			fmt.Sprintf("INSERT INTO m VALUES (timestamptz '2024-01-01' + %d * interval '7 minutes 1 second', 9, 1) ON CONFLICT DO NOTHING", r.IntN(20000)),
			fmt.Sprintf("UPDATE m SET ts = ts + interval '20 days 3 seconds' WHERE dev = %d AND ts = timestamptz '2024-01-20' + %d * interval '10 minutes'", r.IntN(5), r.IntN(5000)),
		}[r.IntN(11)]
		_, err := conn.Exec(context.Background(), "BEGIN; "+sql+"; COMMIT")
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "23505" {
			_, err = conn.Exec(context.Background(), "ROLLBACK")
		}
		if err != nil {
			t.Errorf("write: %v", err)
			return
		}
	}
}

// underLoad runs do while sessions write.
func (w *world) underLoad(t *testing.T, do func()) {
	t.Helper()
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for i := range 2 {
		writers.Go(func() { w.write(t, uint64(i), stop) })
	}
	defer func() {
		close(stop)
		writers.Wait()
	}()
	do()
}
