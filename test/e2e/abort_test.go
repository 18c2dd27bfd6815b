package e2e

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgtest"
)

// withoutKeys adds tables whose replica identity a migration changes.
const withoutKeys = small + `
	CREATE TABLE keyless (a int, b text);
	CREATE TABLE unique_only (a int NOT NULL UNIQUE, b text);
	CREATE TABLE parts (k int, v text) PARTITION BY LIST (k);
	CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
	INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (NULL, NULL);
	INSERT INTO parts VALUES (1, 'one');`

// TestAbortLeavesNothing aborts in each phase and compares both servers with what they were. A phase that would pass too
// quickly is held by a lock that a test's session takes beforehand.
func TestAbortLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		phase contract.Phase
		spec  func(map[string]any)
		start func(h *holder) // and hold it
	}{
		{contract.PhaseCreatingSlot, nil, func(h *holder) {
			h.lock(h.src, "LOCK TABLE keyless IN SHARE MODE") // its replica identity cannot be set
			h.start()
		}},
		{contract.PhaseMigratingSchema, nil, func(h *holder) {
			h.start()
			h.await(contract.PhaseCreatingSlot)
			h.lock(h.dst, "LOCK TABLE timeferry.entries IN ACCESS EXCLUSIVE MODE")
		}},
		{contract.PhaseAwaitingHypertables, gate, (*holder).start},
		{contract.PhaseCopying, gate, func(h *holder) {
			h.start()
			h.await(contract.PhaseAwaitingHypertables)
			h.lock(h.src, "LOCK TABLE people IN ACCESS EXCLUSIVE MODE")
			h.order(contract.SignalApproveHypertables)
		}},
		{contract.PhaseIndexing, gate, func(h *holder) {
			h.start()
			h.await(contract.PhaseAwaitingHypertables)
			h.lock(h.dst, "LOCK TABLE timeferry.entries IN ACCESS EXCLUSIVE MODE")
			h.order(contract.SignalApproveHypertables)
		}},
		{contract.PhaseCatchingUp, gate, func(h *holder) {
			h.start()
			h.await(contract.PhaseAwaitingHypertables)
			h.lock(h.dst, "LOCK TABLE timeferry.migration IN SHARE MODE")
			h.order(contract.SignalApproveHypertables)
		}},
		{contract.PhaseInSync, nil, (*holder).start},
	} {
		t.Run(string(c.phase), func(t *testing.T) {
			t.Parallel()
			setup(t)
			src, dst := pgtest.OwnSource(t, nil), pgtest.Target(t)
			asMaster(t, src, withoutKeys)
			sourceBefore, targetBefore := src.Dump(t, sourceState), dst.Dump(t, targetState)
			w := newWorld(t)
			h := &holder{migration: w.newMigration("doomed", src, dst, c.spec)}
			c.start(h)
			h.await(c.phase)
			asMaster(t, src, "UPDATE metrics SET value = -1 WHERE device = 1")
			h.order(contract.SignalAbort, "--by", "carol")
			h.release()
			r := h.report()
			require.Equal(t, contract.PhaseAborted, r.Outcome)
			require.Empty(t, r.Left)
			require.Equal(t, sourceBefore, src.Dump(t, sourceState))
			require.Equal(t, targetBefore, dst.Dump(t, targetState))
			h.requireNothingLeft()
			asMaster(t, src, "UPDATE people SET name = 'still writable' WHERE id = 2")
		})
	}
}

// TestNothingIsLeftBehindAnEnd has things come back after they were removed: the migration names them and waits, and ends when they are
// gone.
func TestNothingIsLeftBehindAnEnd(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.OwnSource(t, nil), pgtest.Target(t)
	asMaster(t, src, withoutKeys)
	w := newWorld(t)
	m := w.newMigration("lingering", src, dst, nil)
	m.start()
	m.await(contract.PhaseInSync)
	lingering, err := pgkit.Dial(context.Background(), src.Master, "guard lingering")
	require.NoError(t, err)
	m.order(contract.SignalAbort)
	s := m.awaitProblem(contract.CodeLeftover)
	require.Equal(t, contract.PhaseAborting, s.Phase)
	require.Equal(t, []string{contract.SignalResume}, s.Awaiting)
	var things []string
	for _, p := range s.Problems {
		if p.Code == contract.CodeLeftover && p.Severity == contract.Warning {
			things = append(things, p.Object)
			require.NotEmpty(t, p.Remedy)
		}
	}
	require.Equal(t, []string{"session timeferry guard lingering on the source"}, things)
	// A slot that came meanwhile is removed by the cleaning that comes with resume; the session was ended by a person.
	src.Exec(t, "SELECT pg_create_logical_replication_slot('timeferry_lingering', 'pgoutput')")
	require.NoError(t, lingering.Close(context.Background()))
	m.order(contract.SignalResume)
	r := m.report()
	require.Equal(t, contract.PhaseAborted, r.Outcome)
	require.Empty(t, r.Leftovers.Found)
	require.Empty(t, r.Left)
	m.requireNothingLeft()
}

func gate(spec map[string]any) { spec["hypertableGate"] = true }

// TestAbortWhileAwaitingReboot aborts at the gate, where the parameter group is all that was done.
func TestAbortWhileAwaitingReboot(t *testing.T) {
	t.Parallel()
	setup(t)
	src, _, env := rdsSource(t)
	dst := pgtest.Target(t)
	asMaster(t, src, withoutKeys)
	sourceBefore, targetBefore := src.Dump(t, sourceState), dst.Dump(t, targetState)
	w := newWorld(t, env...)
	m := w.newMigration("gate", src, dst, withRDS)
	m.start()
	m.await(contract.PhaseAwaitingReboot)
	m.order(contract.SignalAbort)
	r := m.report()
	require.Equal(t, contract.PhaseAborted, r.Outcome)
	require.Len(t, r.Left, 1)
	require.Contains(t, r.Left[0], "parameter group shop-prod-timeferry stays attached")
	require.Equal(t, sourceBefore, src.Dump(t, sourceState))
	require.Equal(t, targetBefore, dst.Dump(t, targetState))
}

// TestAbortKeepsTargetWhenAsked leaves the copied tables and drops only the bookkeeping.
func TestAbortKeepsTargetWhenAsked(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.Source(t), pgtest.Target(t)
	asMaster(t, src, withoutKeys)
	w := newWorld(t)
	m := w.newMigration("kept", src, dst, nil)
	m.start()
	m.await(contract.PhaseInSync)
	m.order(contract.SignalAbort, "--keep-target")
	require.Equal(t, contract.PhaseAborted, m.report().Outcome)
	m.requireEqual()
	m.requireNothingLeft()
}

// holder is a migration with a session of the test's that keeps it in a phase.
type holder struct {
	*migration
	tx pgx.Tx
}

func (h *holder) lock(db *pgtest.Database, sql string) {
	h.t.Helper()
	var err error
	h.tx, err = db.Conn(h.t).Begin(context.Background())
	require.NoError(h.t, err)
	_, err = h.tx.Exec(context.Background(), sql)
	require.NoError(h.t, err)
}

func (h *holder) release() {
	h.t.Helper()
	if h.tx != nil {
		require.NoError(h.t, h.tx.Rollback(context.Background()))
	}
}
