package capture_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/source/capture"
	"timeferry/internal/spool"
	"timeferry/internal/testkit/pgtest"
)

// The benchmark's backlog: transactions of one update, and transactions of 20 inserts.
const (
	smallTransactions = 60_000
	rowTransactions   = 40_000
)

// BenchmarkBacklog takes in one backlog of 100,000 transactions and 1.1 million messages until it is durable, in each way and
// with each plugin.
func BenchmarkBacklog(b *testing.B) {
	src := pgtest.Source(b)
	src.Exec(b, `CREATE TABLE accounts (id int PRIMARY KEY, balance int, filler char(84)); INSERT INTO accounts SELECT i, 0, '' FROM generate_series(1, 10000) i;
		CREATE TABLE events (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), body text);
		CREATE PUBLICATION bench FOR TABLE events, accounts`)
	for _, plugin := range []string{"pgoutput", "wal2json"} {
		src.Exec(b, `SELECT pg_create_logical_replication_slot($1, $2)`, "bench_"+plugin, plugin)
	}
	src.Exec(b, `ALTER SYSTEM SET synchronous_commit = off`)
	src.Exec(b, `SELECT pg_reload_conf()`)
	src.Exec(b, fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP UPDATE accounts SET balance = balance + i WHERE id = 1 + i %% 10000; COMMIT; END LOOP;
		FOR i IN 1..%d LOOP INSERT INTO events (body) SELECT repeat('x', 40) FROM generate_series(1, 20); COMMIT; END LOOP; END $$`, smallTransactions, rowTransactions))
	end := durableAt(b, src)
	src.Exec(b, `INSERT INTO events (body) VALUES ('last')`)
	b.Logf("WAL retained: %s bytes", src.QueryValue(b, `SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) FROM pg_replication_slots`))
	for _, plugin := range []string{"pgoutput", "wal2json"} {
		for _, way := range []string{"stream", "bulk"} {
			b.Run(plugin+"/"+way, func(b *testing.B) {
				b.ReportAllocs()
				n, messages := 0, int64(0)
				for b.Loop() {
					n++
					messages += receiveBacklog(b, src, plugin, way, end, n)
				}
				b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "tx/s")
			})
		}
	}
}

func receiveBacklog(b *testing.B, src *pgtest.Database, plugin, way string, end change.LSN, n int) int64 {
	slot := fmt.Sprintf("bench_%s_%s_%d", plugin, way, n)
	b.StopTimer()
	src.Exec(b, `SELECT pg_copy_logical_replication_slot($1, $2)`, "bench_"+plugin, slot)
	sp, err := spool.Open(b.TempDir(), spool.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.StartTimer()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r := &capture.Receiver{Source: src.Endpoint, Slot: slot, Plugin: plugin, Publications: []string{"bench"}, Spool: sp}
	if way == "stream" {
		r.OnlyStream()
	} else {
		r.SetBacklogLimits(1<<20, 1<<20, 256<<20, 8<<20, 1<<30)
	}
	go func() {
		defer cancel()
		for ctx.Err() == nil && sp.Durable() < end {
			time.Sleep(time.Millisecond)
		}
	}()
	if err := r.Run(ctx, nil); sp.Durable() < end {
		b.Fatal(err)
	}
	b.StopTimer()
	defer b.StartTimer()
	if err := sp.Close(); err != nil {
		b.Fatal(err)
	}
	src.Exec(b, `SELECT pg_drop_replication_slot($1)`, slot)
	return smallTransactions + rowTransactions
}
