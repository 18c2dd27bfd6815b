package load_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgtest"
	"timeferry/sandbox/load"
	"timeferry/sandbox/shop"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// newShop is a small shop on a server of the test's own, and how its application logs in.
func newShop(t *testing.T) (*pgtest.Database, pgkit.Endpoint) {
	t.Helper()
	src := pgtest.OwnSource(t, nil)
	require.NoError(t, shop.CreateRoles(context.Background(), src.Conn(t), "application"))
	require.NoError(t, shop.Create(context.Background(), src.Master, 0.05))
	app := src.Master
	app.User, app.Password = shop.AppRole, "application"
	return src, app
}

func await(t *testing.T, what string, within time.Duration, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, within, 20*time.Millisecond, what)
}

func TestEveryAcknowledgedTransactionSurvivesARestart(t *testing.T) {
	ctx := context.Background()
	src, app := newShop(t)
	g := load.Start(ctx, load.Options{Endpoint: app, Rate: 400, Seed: 1})
	defer g.Stop()
	await(t, "transactions before the restart", 20*time.Second, func() bool { return g.Stats().Committed > 400 })
	require.NoError(t, src.Server.Restart(ctx, nil))
	before := g.Stats().Committed
	await(t, "transactions after the restart", 20*time.Second, func() bool { return g.Stats().Committed > before+400 })
	require.NoError(t, src.Server.Kill())
	require.NoError(t, src.Server.Start(ctx))
	before = g.Stats().Committed
	await(t, "transactions after the kill", 20*time.Second, func() bool { return g.Stats().Committed > before+400 })

	s := g.Stop()
	require.Empty(t, s.Failures)
	require.Positive(t, s.RolledBack)
	require.Positive(t, s.Reconnects)
	require.True(t, s.FencedAt.IsZero())
	require.NoError(t, load.Check(ctx, src.Conn(t), s))
	require.Equal(t, s, g.Stop(), "stopping twice gives the same answer")

	t.Run("every kind of change on every table", func(t *testing.T) {
		for table, want := range map[string]load.Counts{
			"orders": {Inserts: 1, Updates: 1, Deletes: 1}, "customers": {Inserts: 1, Updates: 1, Deletes: 1},
			"metrics": {Inserts: 1, Updates: 1, Deletes: 1}, "iot.sensor_events": {Inserts: 1, Updates: 1, Deletes: 1},
			"inventory": {Inserts: 1, Updates: 1, Deletes: 1}, "audit_log": {Inserts: 1}, "carts": {Inserts: 1, Updates: 1, Deletes: 1},
			"shipments": {Inserts: 1, Updates: 1}, "sessions": {Inserts: 1, Updates: 1, Deletes: 1}, "scratch": {Inserts: 1, Truncates: 1},
			"reviews": {Inserts: 1, Updates: 1, Deletes: 1}, "iot.devices": {Inserts: 1, Updates: 1}, "order_items": {Inserts: 1, Updates: 1},
			"payments": {Inserts: 1, Updates: 1}, "products": {Inserts: 1, Updates: 1}, "categories": {Inserts: 1, Updates: 1},
			"addresses": {Inserts: 1, Updates: 1}, "Order Notes": {Inserts: 1},
		} {
			got := s.Tables[table]
			require.GreaterOrEqual(t, got.Inserts, want.Inserts, "%s: %+v", table, got)
			require.GreaterOrEqual(t, got.Updates, want.Updates, "%s: %+v", table, got)
			require.GreaterOrEqual(t, got.Deletes, want.Deletes, "%s: %+v", table, got)
			require.GreaterOrEqual(t, got.Truncates, want.Truncates, "%s: %+v", table, got)
		}
	})

	t.Run("check sees what is missing, double or too much", func(t *testing.T) {
		src.Exec(t, "CREATE TABLE kept AS SELECT * FROM load_journal; DELETE FROM load_journal WHERE ctid = (SELECT min(ctid) FROM load_journal)")
		require.ErrorContains(t, load.Check(ctx, src.Conn(t), s), "was acknowledged and is there 0 times")
		src.Exec(t, "TRUNCATE load_journal; INSERT INTO load_journal SELECT * FROM kept; INSERT INTO load_journal SELECT * FROM kept LIMIT 1")
		require.ErrorContains(t, load.Check(ctx, src.Conn(t), s), "was acknowledged and is there 2 times")
		src.Exec(t, "TRUNCATE load_journal; INSERT INTO load_journal SELECT * FROM kept; INSERT INTO load_journal SELECT run, connection, 1000000, kind, at FROM kept LIMIT 1")
		require.ErrorContains(t, load.Check(ctx, src.Conn(t), s), "was never tried and is there")
	})
}

func TestFenceStopsWritesAndItsEndLetsThemGoOn(t *testing.T) {
	ctx := context.Background()
	src, app := newShop(t)
	g := load.Start(ctx, load.Options{Endpoint: app, Rate: 400, Seed: 2})
	defer g.Stop()
	await(t, "transactions", 20*time.Second, func() bool { return g.Stats().Committed > 100 })

	src.Exec(t, `ALTER DATABASE `+app.Database+` SET default_transaction_read_only = on;
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'shop_app'`)
	await(t, "fenced", 20*time.Second, func() bool { return !g.Stats().FencedAt.IsZero() })
	require.WithinDuration(t, time.Now(), g.Stats().FencedAt, 10*time.Second)

	src.Exec(t, `ALTER DATABASE `+app.Database+` RESET default_transaction_read_only`)
	before := g.Stats().Committed
	await(t, "transactions again", 20*time.Second, func() bool { return g.Stats().Committed > before+100 })
	s := g.Stop()
	require.True(t, s.FencedAt.IsZero())
	require.Empty(t, s.Failures)
	require.NoError(t, load.Check(ctx, src.Conn(t), s))
}

func TestUnexpectedErrorsAreKept(t *testing.T) {
	src, app := newShop(t)
	src.Exec(t, "CREATE PUBLICATION p FOR TABLE audit_log") // without a replica identity PostgreSQL refuses updates and deletes
	g := load.Start(context.Background(), load.Options{Endpoint: app, Rate: 400, Seed: 3})
	defer g.Stop()
	await(t, "a failure", 20*time.Second, func() bool { return g.Stats().Unexpected > 0 })
	require.Contains(t, g.Stop().Failures[0], "does not have a replica identity")
}
