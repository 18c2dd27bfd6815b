package ledger_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

// Before anything is applied the copy is where the target is, but only once it is whole.
func TestReached(t *testing.T) {
	ctx := context.Background()
	conn := pgtest.Target(t).MasterConn(t)
	require.NoError(t, ledger.Create(ctx, conn, "reached"))
	requireReached := func(lsn change.LSN, whole bool, why string) {
		t.Helper()
		p, all, err := ledger.Reached(ctx, conn)
		require.NoError(t, err)
		require.Equal(t, lsn, p.LSN, why)
		require.Equal(t, whole, all, why)
	}
	requireReached(0, false, "no tables")
	first, second := ident.Table{Schema: "public", Name: "first"}, ident.Table{Schema: "public", Name: "second"}
	require.NoError(t, ledger.PlanTables(ctx, conn, []ledger.Table{{Table: first}, {Table: second, Parts: []ledger.Part{{Source: second, Bytes: 1}}}}))
	epoch := func(lsn change.LSN) {
		_, err := ledger.BeginEpoch(ctx, conn, lsn, "snapshot", func(pgx.Tx, []ident.Table) error { return nil })
		require.NoError(t, err)
	}
	epoch(100)
	_, err := ledger.CompleteTables(ctx, conn)
	require.NoError(t, err)
	requireReached(0, false, "a table is not complete")
	epoch(200)
	_, err = conn.Exec(ctx, "UPDATE timeferry.parts SET done_at = now()")
	require.NoError(t, err)
	_, err = ledger.CompleteTables(ctx, conn)
	require.NoError(t, err)
	requireReached(100, false, "what came between is missing in the first")
	apply := func(lsn change.LSN) {
		_, err := conn.Exec(ctx, ledger.SetAppliedSQL, lsn.String(), nil, 1, 1)
		require.NoError(t, err)
	}
	apply(150)
	requireReached(150, false, "some of it is")
	apply(200)
	requireReached(200, true, "both are as they were at one moment")
}
