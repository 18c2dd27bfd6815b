package ledger_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

// With 10,000 tables and one of 5,000 parts, what every part asks of the ledger must not grow with the plan. The bounds are
// ten times what a quiet machine with two cores needs.
func TestLedgerAtScale(t *testing.T) {
	ctx := context.Background()
	conn := pgtest.Target(t).MasterConn(t)
	require.NoError(t, ledger.Create(ctx, conn, "scale"))
	require.NoError(t, ledger.Create(ctx, conn, "scale"), "a second time")
	tables := []ledger.Table{{Table: ident.Table{Schema: "public", Name: "large"}, Bytes: 5000 << 30, EstimatedRows: 1 << 40}}
	for n := range 5000 {
		tables[0].Parts = append(tables[0].Parts, ledger.Part{Number: n, Source: tables[0].Table, Bytes: 1 << 30})
	}
	for n := range 10000 {
		name := ident.Table{Schema: "public", Name: fmt.Sprintf("small_%d", n)}
		tables = append(tables, ledger.Table{Table: name, Bytes: 8192, Parts: []ledger.Part{{Source: name, Bytes: 8192}}})
	}
	require.NoError(t, ledger.PlanTables(ctx, conn, tables))
	_, err := ledger.BeginEpoch(ctx, conn, 100, "snapshot", func(pgx.Tx, []ident.Table) error { return nil })
	require.NoError(t, err)

	claim, complete := copyOf(t, conn, 200, func(parts []ledger.Copied) {
		require.Len(t, parts, 1)
		require.InDelta(t, int64(1<<40)/5000, parts[0].EstimatedRows, 1)
		require.False(t, parts[0].Alone)
	})
	t.Logf("large parts: claim %s, complete %s", claim, complete)
	require.Less(t, claim, 100*time.Millisecond)
	require.Less(t, complete, 100*time.Millisecond)

	_, err = conn.Exec(ctx, "UPDATE timeferry.parts SET done_at = now() WHERE table_name = 'large' AND done_at IS NULL")
	require.NoError(t, err)
	claim, complete = copyOf(t, conn, 20, func(parts []ledger.Copied) {
		require.Len(t, parts, 64)
		require.True(t, parts[63].Alone)
	})
	t.Logf("batches of 64 small parts: claim %s, complete %s", claim, complete)
	begun := time.Now()
	p, err := ledger.Progress(ctx, conn)
	require.NoError(t, err)
	t.Logf("progress: %s", time.Since(begun))
	require.Equal(t, 5000+20*64, p.PartsDone)
	require.Equal(t, 20*64, p.TablesDone)
	require.Less(t, time.Since(begun), time.Second)
	done, err := ledger.CompleteTables(ctx, conn)
	require.NoError(t, err)
	require.Equal(t, 1, done, "the large one")
}

// copyOf claims and marks so many times, and returns what a claim and the search for complete tables took on average.
func copyOf(t *testing.T, conn *pgx.Conn, times int, check func([]ledger.Copied)) (claim, complete time.Duration) {
	t.Helper()
	ctx := context.Background()
	for range times {
		tx, err := conn.Begin(ctx)
		require.NoError(t, err)
		begun := time.Now()
		parts, err := ledger.NextParts(ctx, tx, 1<<20, 64)
		claim += time.Since(begun)
		require.NoError(t, err)
		var copied []ledger.Copied
		for _, p := range parts {
			copied = append(copied, ledger.Copied{Part: p})
		}
		check(copied)
		require.NoError(t, ledger.MarkParts(ctx, tx, copied))
		require.NoError(t, tx.Commit(ctx))
		begun = time.Now()
		_, err = ledger.CompleteParts(ctx, conn, copied)
		complete += time.Since(begun)
		require.NoError(t, err)
	}
	return claim / time.Duration(times), complete / time.Duration(times)
}

// A ledger of the version before has no keys; what it holds stays, and can be copied on.
func TestLedgerOfEarlierVersion(t *testing.T) {
	ctx := context.Background()
	conn := pgtest.Target(t).MasterConn(t)
	require.NoError(t, ledger.Create(ctx, conn, "old"))
	name := ident.Table{Schema: "public", Name: "t"}
	require.NoError(t, ledger.PlanTables(ctx, conn, []ledger.Table{{Table: name, Parts: []ledger.Part{{Number: 1, Source: name, Bytes: 5}}}}))
	_, err := conn.Exec(ctx, "ALTER TABLE timeferry.parts DROP COLUMN key_column, DROP COLUMN first_key, DROP COLUMN end_key; DROP INDEX timeferry.parts_open_of_table")
	require.NoError(t, err)
	require.NoError(t, ledger.Create(ctx, conn, "old"))
	_, err = ledger.BeginEpoch(ctx, conn, 100, "snapshot", func(pgx.Tx, []ident.Table) error { return nil })
	require.NoError(t, err)
	copyOf(t, conn, 1, func(parts []ledger.Copied) {
		require.Len(t, parts, 1)
		require.Equal(t, ident.Table{Schema: "public", Name: "t"}, parts[0].Table)
		require.Empty(t, parts[0].KeyColumn)
		require.True(t, parts[0].Alone)
	})
}
