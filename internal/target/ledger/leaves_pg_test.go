package ledger_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

func TestLeavesAreThoseThatArePlanned(t *testing.T) {
	conn := pgtest.Target(t).MasterConn(t)
	ctx := t.Context()
	require.NoError(t, ledger.Create(ctx, conn, "shop"))
	root, leaf, later := ident.Table{Schema: "public", Name: "ev"}, ident.Table{Schema: "Other", Name: "ev 1"}, ident.Table{Schema: "public", Name: "ev_2"}
	require.NoError(t, ledger.PlanTables(ctx, conn, []ledger.Table{{Table: root, Parts: []ledger.Part{{Table: root, Number: 1, Source: leaf}}}}))
	want := ledger.Leaf{Table: leaf, Root: root, Bounds: "(n > 1)", Alike: true}
	require.NoError(t, ledger.PlanLeaves(ctx, conn, []ledger.Leaf{want, {Table: later, Root: root, Bounds: "true"}}))
	changed := want
	changed.Bounds = "(n > 2)"
	require.NoError(t, ledger.PlanLeaves(ctx, conn, []ledger.Leaf{changed}), "a second run")
	got, err := ledger.Leaves(ctx, conn)
	require.NoError(t, err)
	require.Equal(t, map[ident.Table]ledger.Leaf{leaf: want}, got, "a leaf without a part came too late; the first record stays")

	_, err = conn.Exec(ctx, "DROP TABLE timeferry.leaves")
	require.NoError(t, err)
	got, err = ledger.Leaves(ctx, conn)
	require.NoError(t, err)
	require.Empty(t, got, "a ledger of an earlier version")
}
