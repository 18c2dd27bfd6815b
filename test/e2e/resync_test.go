package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgtest"
	"timeferry/sandbox/load"
)

// awaitProblem waits for a problem that stops something.
func (m *migration) awaitProblem(code string) contract.Status {
	m.t.Helper()
	var s contract.Status
	require.Eventually(m.t, func() bool {
		var err error
		s, err = m.status()
		return err == nil && slices.ContainsFunc(s.Problems, func(p contract.Problem) bool { return p.Code == code && p.Severity == contract.Fatal })
	}, 2*time.Minute, 100*time.Millisecond, "problem %s", code)
	return s
}

// TestResync loses the stream in three ways, while the application writes, and wants it equal in the end.
func TestResync(t *testing.T) {
	for _, c := range []struct {
		name, buffer, code string
		lose               func(t *testing.T, m *migration, g *load.Generator)
	}{
		{"slot dropped by hand", "disk", contract.CodeSlotLost, dropSlot},
		{"slot dropped by hand, buffer on the source", "source", contract.CodeSlotLost, dropSlot},
		{"on wish", "disk", "", func(*testing.T, *migration, *load.Generator) {}},
		{"spool gone", "disk", "spool-gap", loseSpool},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			setup(t)
			src, dst := pgtest.OwnSource(t, nil), pgtest.OwnTarget(t, nil)
			g := shopUnderLoad(t, src)
			w := newWorld(t)
			m := w.newMigration("shop", src, dst, func(spec map[string]any) {
				shopSpec(spec)
				spec["replication"] = map[string]any{"buffer": c.buffer}
			})
			m.start()
			m.await(contract.PhaseInSync)
			c.lose(t, m, g)
			if c.code != "" {
				s := m.awaitProblem(c.code)
				require.Contains(t, s.Awaiting, contract.SignalResync)
			}
			m.order(contract.SignalResync)
			require.Eventually(t, func() bool { s, err := m.status(); return err == nil && s.Copy.Epoch == 2 }, time.Minute, 50*time.Millisecond)
			m.await(contract.PhaseInSync)
			before := g.Stats().Committed
			require.Eventually(t, func() bool { return g.Stats().Committed > before+100 }, time.Minute, 50*time.Millisecond)
			m.cutOverUnderLoad(g)
		})
	}
}

// loseSpool removes a spool with changes that the source was told are safe, and that are not applied.
func loseSpool(t *testing.T, m *migration, g *load.Generator) {
	m.order(contract.SignalPause)
	before := g.Stats().Committed
	require.Eventually(t, func() bool { return g.Stats().Committed > before+200 }, time.Minute, 50*time.Millisecond)
	m.killWorker()
	require.NoError(t, os.RemoveAll(filepath.Join(m.dir, "data", "spool", m.name)))
	m.startWorker()
	m.order(contract.SignalResume)
}

func dropSlot(t *testing.T, m *migration, _ *load.Generator) {
	slot := contract.SlotName(m.name)
	conn := m.src.Conn(t)
	require.Eventually(t, func() bool { // it is in use: whoever reads from it comes back at once
		_, err := conn.Exec(context.Background(), "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL", slot)
		if err == nil {
			_, err = conn.Exec(context.Background(), "SELECT pg_drop_replication_slot($1)", slot)
		}
		return err == nil
	}, time.Minute, 10*time.Millisecond)
}

// TestBufferOnTheSource has the WAL wait on the source during the copy, and kills the worker while it applies.
func TestBufferOnTheSource(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.OwnSource(t, nil), pgtest.OwnTarget(t, nil)
	g := shopUnderLoad(t, src)
	w := newWorld(t)
	m := w.newMigration("shop", src, dst, func(spec map[string]any) {
		shopSpec(spec)
		spec["replication"] = map[string]any{"buffer": "source"}
	})
	m.start()
	m.await(contract.PhaseCopying)
	active := src.QueryValue(t, "SELECT active FROM pg_replication_slots WHERE slot_name = 'timeferry_shop'")
	if s, err := m.status(); err == nil && s.Phase == contract.PhaseCopying { // and was before
		require.Equal(t, "f", active, "nobody reads from it yet")
	}
	m.await(contract.PhaseInSync)
	for range 3 {
		killAndRestart(t, m)
		before := g.Stats().Committed
		require.Eventually(t, func() bool { return g.Stats().Committed > before+50 }, time.Minute, 20*time.Millisecond)
	}
	require.NoDirExists(t, filepath.Join(m.dir, "data", "spool", m.name))
	m.await(contract.PhaseInSync)
	m.cutOverUnderLoad(g)
}

// TestCompressedSpool kills the worker over a compressed spool, looks into it beside the running one, and reads in status and report what
// the stream has done.
func TestCompressedSpool(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.OwnSource(t, nil), pgtest.OwnTarget(t, nil)
	g := shopUnderLoad(t, src)
	w := newWorld(t)
	m := w.newMigration("shop", src, dst, func(spec map[string]any) {
		shopSpec(spec)
		spec["replication"] = map[string]any{"compress": "zstd", "lanes": 3}
	})
	m.start()
	m.await(contract.PhaseCopying)
	killAndRestart(t, m)
	m.await(contract.PhaseInSync)
	out := m.run(shared.worker, "spool", "inspect", filepath.Join(m.dir, "data", "spool", m.name))
	require.Contains(t, out, "zstd")
	require.Contains(t, out, "public.orders: ")
	require.NotContains(t, out, "DAMAGED")
	var s contract.Status
	require.Eventually(t, func() bool {
		if err := json.Unmarshal([]byte(m.run(shared.starter, "status", m.name, "-o", "json")), &s); err != nil {
			return false
		}
		r := s.Replication
		return r.SpooledLSN != 0 && r.SpoolSegments > 0 && r.ChangesPerSecond > 0 && r.TransactionsPerSecond > 0 && len(r.Busiest) > 0 && r.Slot != nil
	}, time.Minute, 200*time.Millisecond, "%+v", fmt.Sprint(s.Replication))
	require.NotEmpty(t, s.Replication.Slot.WALStatus)
	for _, table := range s.Replication.Busiest {
		require.Positive(t, table.Changes, table.Table)
	}
	killAndRestart(t, m)
	m.await(contract.PhaseInSync)
	m.cutOverUnderLoad(g)
	r := m.report()
	require.Positive(t, r.Replication.Transactions)
	require.Greater(t, r.Replication.Changes, r.Replication.Transactions/2)
}
