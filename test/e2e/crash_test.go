package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgtest"
	"timeferry/sandbox/load"
	"timeferry/sandbox/shop"
)

// shopScale makes the shop small enough for a test and large enough that a copy does not end at once.
const shopScale = 0.03

// shopUnderLoad is a shop that an application writes to all the time.
func shopUnderLoad(t *testing.T, src *pgtest.Database) *load.Generator {
	t.Helper()
	ctx := context.Background()
	const password = "shop-app-of-a-test"
	admin, err := pgkit.Dial(ctx, src.Endpoint, "e2e")
	require.NoError(t, err)
	require.NoError(t, shop.CreateRoles(ctx, admin, password))
	require.NoError(t, admin.Close(ctx))
	require.NoError(t, shop.Create(ctx, src.Master, shopScale))
	app := src.Master
	app.User, app.Password = shop.AppRole, password
	g := load.Start(ctx, load.Options{Endpoint: app, Connections: 3, Rate: 100, Seed: 7, Hypertables: true})
	t.Cleanup(func() { g.Stop() })
	return g
}

func shopSpec(spec map[string]any) {
	spec["hypertables"] = []any{
		map[string]any{"table": "public.metrics", "timeColumn": "ts", "chunkInterval": "7 days"},
		map[string]any{"table": "iot.sensor_events", "timeColumn": "ts", "chunkInterval": "7 days"},
	}
	spec["copy"] = map[string]any{"partSize": "1MiB", "concurrency": 2}
}

// TestDisasters lets a migration under load meet one disaster each, and wants it to end equal by itself.
func TestDisasters(t *testing.T) {
	for _, c := range []struct {
		name   string
		phase  contract.Phase
		strike func(t *testing.T, m *migration)
	}{
		{"worker killed while copying", contract.PhaseCopying, killAndRestart},
		{"worker killed while streaming", contract.PhaseInSync, killAndRestart},
		{"worker drained while streaming", contract.PhaseInSync, func(t *testing.T, m *migration) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			require.NoError(t, m.worker.Stop(ctx))
			m.startWorker()
		}},
		{"source restarts while copying", contract.PhaseCopying, func(t *testing.T, m *migration) {
			require.NoError(t, m.src.Server.Restart(context.Background(), nil))
		}},
		{"source restarts while streaming", contract.PhaseInSync, func(t *testing.T, m *migration) {
			require.NoError(t, m.src.Server.Restart(context.Background(), nil))
		}},
		{"target crashes while copying", contract.PhaseCopying, crashTarget},
		{"target crashes while streaming", contract.PhaseInSync, crashTarget},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			setup(t)
			src, dst := pgtest.OwnSource(t, nil), pgtest.OwnTarget(t, nil)
			g := shopUnderLoad(t, src)
			w := newWorld(t)
			m := w.newMigration("shop", src, dst, shopSpec)
			m.start()
			m.await(c.phase)
			c.strike(t, m)
			m.await(contract.PhaseInSync)
			require.Eventually(t, func() bool { return g.Stats().Committed > 200 }, time.Minute, 50*time.Millisecond)
			m.cutOverUnderLoad(g)
		})
	}
}

func killAndRestart(_ *testing.T, m *migration) {
	m.killWorker()
	m.startWorker()
}

func crashTarget(t *testing.T, m *migration) {
	require.NoError(t, m.dst.Server.Kill())
	require.NoError(t, m.dst.Server.Start(context.Background()))
}

// cutOverUnderLoad switches while the application writes, and checks that every transaction it was told of as committed is
// on the target exactly once.
func (m *migration) cutOverUnderLoad(g *load.Generator) {
	m.t.Helper()
	require.Eventually(m.t, func() bool {
		_, code := m.try(shared.starter, contract.SignalCutover, m.name)
		return code == 0
	}, time.Minute, 500*time.Millisecond, "cutover is refused")
	m.await(contract.PhaseCutOver)
	summary := g.Stop()
	require.Empty(m.t, summary.Failures)
	require.False(m.t, summary.FencedAt.IsZero(), "the application has met the fence")
	require.NoError(m.t, load.Check(context.Background(), m.dst.Conn(m.t), summary))
	m.order(contract.SignalComplete)
	r := m.report()
	require.Equal(m.t, contract.PhaseCompleted, r.Outcome)
	require.True(m.t, r.Verification.Equal)
	m.requireEqual()
	m.requireNothingLeft()
}

// TestTwoAtOnce migrates two databases of the same server by one worker at the same time.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	setup(t)
	w := newWorld(t)
	var both []*migration
	for _, name := range []string{"first", "second"} {
		src, dst := pgtest.Source(t), pgtest.Target(t)
		asMaster(t, src, small)
		asMaster(t, src, "INSERT INTO notes VALUES (1, 'only in "+name+"')")
		both = append(both, w.newMigration(name, src, dst, nil))
	}
	for _, m := range both {
		m.start()
	}
	for _, m := range both {
		m.await(contract.PhaseInSync)
		asMaster(t, m.src, "INSERT INTO notes SELECT g, 'late' FROM generate_series(1, 100) g")
	}
	for _, m := range both {
		m.finish()
	}
}
