package capture_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"timeferry/internal/ident"
	"timeferry/internal/source/capture"
	"timeferry/internal/spool"
	"timeferry/internal/testkit/pgtest"
)

// BenchmarkReceive takes in a backlog of 20,000 transactions of 20 rows, until it is durable. The
// server, which sends every message by itself, is what bounds it.
func BenchmarkReceive(b *testing.B) {
	src := pgtest.Source(b)
	src.Exec(b, `CREATE TABLE events (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), body text);
		CREATE PUBLICATION bench FOR TABLE events`)
	src.Exec(b, `SELECT pg_create_logical_replication_slot('bench', 'pgoutput')`)
	src.Exec(b, `SET synchronous_commit = off`)
	src.Exec(b, `DO $$ BEGIN FOR i IN 1..20000 LOOP
		INSERT INTO events (body) SELECT repeat('x', 40) FROM generate_series(1, 20); COMMIT; END LOOP; END $$`)
	b.ReportAllocs()
	var messages, transactions int64
	n := 0
	for b.Loop() {
		n++
		slot := fmt.Sprintf("bench_%d", n)
		src.Exec(b, `SELECT pg_copy_logical_replication_slot('bench', $1)`, slot)
		sp, err := spool.Open(b.TempDir(), spool.Options{})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		r := &capture.Receiver{Source: src.Endpoint, Slot: slot, Publications: []string{"bench"}, Spool: sp}
		var last capture.Progress
		done := func(p capture.Progress) {
			if last = p; p.Transactions >= 20000 && p.DurableLSN >= p.ReceivedLSN {
				cancel()
			}
		}
		if err := r.Run(ctx, done); last.Transactions < 20000 {
			b.Fatal(err)
		}
		transactions += last.Transactions
		messages += last.Transactions * 22
		if err := sp.Close(); err != nil {
			b.Fatal(err)
		}
		src.Exec(b, `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = `+ident.Literal(slot))
	}
	b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(transactions)/b.Elapsed().Seconds(), "tx/s")
}
