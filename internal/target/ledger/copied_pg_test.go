package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

// The tables with the most bytes are told one by one, and nothing of the others is lost in the sum.
func TestCopiedTablesAreSummedUp(t *testing.T) {
	conn := pgtest.Target(t).MasterConn(t)
	ctx := t.Context()
	require.NoError(t, ledger.Create(ctx, conn, "shop"))
	var tables []ledger.Table
	var done []ledger.Copied
	for i := range 10 {
		name := ident.Table{Schema: "public", Name: fmt.Sprintf("t%d", i)}
		parts := []ledger.Part{{Table: name, Number: 1, Source: name}, {Table: name, Number: 2, Source: name}}
		tables = append(tables, ledger.Table{Table: name, Parts: parts})
		for _, p := range parts {
			done = append(done, ledger.Copied{Part: p, CopiedRows: int64(i), CopiedBytes: int64(100 * i), Took: 2 * time.Second})
		}
	}
	require.NoError(t, ledger.PlanTables(ctx, conn, tables))
	none, err := ledger.CopiedTables(ctx, conn, 3)
	require.NoError(t, err)
	require.Empty(t, none.Largest)
	require.Zero(t, none.Others)
	require.NoError(t, pgkit.InTx(ctx, conn, func(tx pgx.Tx) error { return ledger.MarkParts(ctx, tx, done) }))
	got, err := ledger.CopiedTables(ctx, conn, 3)
	require.NoError(t, err)
	require.Len(t, got.Largest, 3)
	largest := got.Largest[0]
	require.Equal(t, "public.t9", largest.Table)
	require.EqualValues(t, []int64{2, 18, 1800}, []int64{int64(largest.Parts), largest.Rows, largest.Bytes})
	require.Equal(t, 4.0, largest.StreamSeconds)
	require.InDelta(t, 2, largest.Ended.Sub(largest.Began).Seconds(), 1, "side by side")
	require.EqualValues(t, []int64{7, 42, 4200}, []int64{int64(got.Others), got.OthersRows, got.OthersBytes})
}
