package ledger_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

// The bookkeeping of the way back is on the source. Only the first position counts, also if its answer was lost.
func TestTheWayBackBeginsOnce(t *testing.T) {
	conn := pgtest.Source(t).MasterConn(t)
	ctx := t.Context()
	table := ident.Table{Schema: "public", Name: "orders"}
	require.NoError(t, ledger.Create(ctx, conn, "shop-back"))
	require.NoError(t, ledger.PlanTables(ctx, conn, []ledger.Table{{Table: table, Columns: []string{"id"}}}))
	for _, end := range []change.LSN{0x100, 0x200} {
		since, err := ledger.BeginBack(ctx, conn, end)
		require.NoError(t, err)
		require.EqualValues(t, 0x100, since)
	}
	starts, err := ledger.StartLSNs(ctx, conn)
	require.NoError(t, err)
	require.Equal(t, map[ident.Table]change.LSN{table: 0x100}, starts)
	applied, err := ledger.Applied(ctx, conn)
	require.NoError(t, err)
	require.EqualValues(t, 0x100, applied.LSN)
}

func TestTheWayBackBeginsWithoutATable(t *testing.T) {
	conn := pgtest.Source(t).MasterConn(t)
	require.NoError(t, ledger.Create(t.Context(), conn, "shop-back"))
	since, err := ledger.BeginBack(t.Context(), conn, 0x100)
	require.NoError(t, err)
	require.EqualValues(t, 0x100, since)
}
