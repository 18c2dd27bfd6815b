package leftovers_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/leftovers"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func on(t *testing.T, conn *pgx.Conn, side, migration string) []contract.Leftover {
	t.Helper()
	found, err := leftovers.On(t.Context(), conn, side, migration)
	require.NoError(t, err)
	return found
}

// Everything that a migration may leave is found on either side and can be removed as it is said; what belongs to another one is not
// named, nor a schema of somebody else's that is called like the bookkeeping.
func TestEverythingIsFoundAndRemoved(t *testing.T) {
	src, dst := pgtest.OwnSource(t, nil), pgtest.Target(t)
	src.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	for _, sql := range []string{
		"SELECT pg_create_logical_replication_slot('timeferry_old_shop', 'pgoutput')", "SELECT pg_create_logical_replication_slot('timeferry_shop', 'pgoutput')",
		"CREATE PUBLICATION timeferry_old_shop FOR TABLE t", "CREATE PUBLICATION timeferry_old_shop_ins FOR TABLE t", "CREATE PUBLICATION timeferry_shop FOR TABLE t",
	} {
		src.Exec(t, sql)
	}
	target := dst.MasterConn(t)
	require.NoError(t, ledger.Create(t.Context(), target, "old-shop"))
	for _, purpose := range []string{"guard old-shop", "guard shop", "guard very-old-shop"} {
		conn, err := pgkit.Dial(t.Context(), src.Master, purpose)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close(t.Context()) }) // it is ended below
	}
	user := src.Conn(t)
	found := on(t, user, "source", "old-shop")
	var things []string
	for _, f := range found {
		things = append(things, f.Thing)
	}
	require.Equal(t, []string{"publication timeferry_old_shop on the source", "publication timeferry_old_shop_ins on the source",
		"session timeferry guard old-shop on the source", "slot timeferry_old_shop on the source"}, things)
	require.Equal(t, []contract.Leftover{{Thing: "schema timeferry on the target", Remedy: "DROP SCHEMA timeferry CASCADE"}}, on(t, target, "target", "old-shop"))
	require.Empty(t, on(t, target, "target", "shop"), "the bookkeeping of another migration")

	for _, f := range found {
		src.Exec(t, f.Remedy)
	}
	require.Eventually(t, func() bool { return len(on(t, user, "source", "old-shop")) == 0 }, time.Minute, 50*time.Millisecond, "the remedies remove it all")
	require.Len(t, on(t, user, "source", "shop"), 3, "another migration's things are there as before")
	dst.Exec(t, "DROP SCHEMA timeferry CASCADE; CREATE SCHEMA timeferry; CREATE TABLE timeferry.migration (name text)")
	require.Empty(t, on(t, target, "target", "old-shop"), "somebody else's schema")
}
