package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgtest"
)

// equalParts are some 40 parts of 512 KiB, too large to be copied many in one transaction.
const equalParts = `CREATE TABLE equal_parts (id int PRIMARY KEY, v text);
	INSERT INTO equal_parts SELECT g, repeat('x', 1000) FROM generate_series(1, 20000) g; ANALYZE equal_parts`

// partsDone waits until so many parts are in the ledger; it returns the target's time.
func (m *migration) partsDone(least int) (at string) {
	m.t.Helper()
	require.Eventually(m.t, func() bool {
		return m.dst.QueryValue(m.t, fmt.Sprintf("SELECT count(done_at) >= %d FROM timeferry.parts", least)) == "t"
	}, 2*time.Minute, 50*time.Millisecond, "%d parts", least)
	return m.dst.QueryValue(m.t, "SELECT clock_timestamp()")
}

// streams is how many streams of the copy run, or are about to.
func (m *migration) streams() (n int) {
	m.t.Helper()
	described, err := m.client.DescribeWorkflowExecution(context.Background(), contract.WorkflowID(m.name), "")
	require.NoError(m.t, err)
	for _, a := range described.GetPendingActivities() {
		if a.GetActivityType().GetName() == "CopyParts" {
			n++
		}
	}
	return n
}

// doneBetween is how many parts were completed between two times of the target.
func (m *migration) doneBetween(from, to string) string {
	m.t.Helper()
	return m.dst.QueryValue(m.t, fmt.Sprintf("SELECT count(*) FROM timeferry.parts WHERE done_at BETWEEN '%s' AND '%s'", from, to))
}

// atOnce is how many parts were being copied at the same time, of those that were begun between two times of the target.
func (m *migration) atOnce(from, to string) string {
	m.t.Helper()
	return m.dst.QueryValue(m.t, fmt.Sprintf(`WITH p AS (SELECT done_at - seconds * interval '1 second' AS began, done_at FROM timeferry.parts)
		SELECT max((SELECT count(*) FROM p o WHERE o.began <= p.began AND o.done_at > p.began)) FROM p WHERE began BETWEEN '%s' AND '%s'`, from, to))
}

// TestCopyIsSteered pauses a copy by one stream, resumes it, and has three streams copy from then on.
func TestCopyIsSteered(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.Source(t), pgtest.Target(t)
	asMaster(t, src, equalParts)
	m := newWorld(t).newMigration("steered", src, dst, func(spec map[string]any) {
		spec["copy"] = map[string]any{"partSize": "512KiB", "concurrency": 1, "maxBytesPerSecond": "512KiB"}
	})
	m.start()
	m.await(contract.PhaseCopying)
	begun := m.partsDone(2)
	m.order(contract.SignalPause)
	var s contract.Status
	require.Eventually(t, func() bool {
		var err error
		s, err = m.status()
		return err == nil && s.Paused
	}, time.Minute, 50*time.Millisecond)
	require.Equal(t, contract.PhaseCopying, s.Phase)
	require.Contains(t, s.Awaiting, contract.SignalResume)
	require.Contains(t, m.run(shared.starter, "status", m.name), "paused")
	require.Eventually(t, func() bool { return m.streams() == 0 }, time.Minute, 50*time.Millisecond, "what is under way does not end")
	paused := dst.QueryValue(t, "SELECT clock_timestamp()")
	count := m.dst.QueryValue(t, "SELECT count(done_at) FROM timeferry.parts")
	require.Never(t, func() bool { return dst.QueryValue(t, "SELECT count(done_at) FROM timeferry.parts") != count }, 3*time.Second, 200*time.Millisecond)
	resumed := dst.QueryValue(t, "SELECT clock_timestamp()")
	m.order(contract.SignalResume)
	var done int
	_, err := fmt.Sscan(count, &done)
	require.NoError(t, err)
	alone := m.partsDone(done + 4)
	require.Equal(t, "0", m.doneBetween(paused, resumed))
	require.Equal(t, "1", m.atOnce(begun, alone))

	m.order(contract.SignalSetConcurrency, "3")
	require.Eventually(t, func() bool { return m.streams() == 3 }, time.Minute, 50*time.Millisecond, "three streams")
	several := dst.QueryValue(t, "SELECT clock_timestamp()")
	m.await(contract.PhaseInSync)
	require.Equal(t, "3", m.atOnce(several, "infinity"), "parts that were copied at the same time")
	r := m.finish()
	var decided []string
	for _, d := range r.Decisions {
		decided = append(decided, d.Signal)
	}
	require.Equal(t, []string{contract.SignalPause, contract.SignalResume, contract.SignalSetConcurrency, contract.SignalCutover, contract.SignalComplete}, decided)
}

// TestLateWorkerTakesPart starts a second worker when a tenth is copied: it gets streams of the first one's.
func TestLateWorkerTakesPart(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.Source(t), pgtest.Target(t)
	asMaster(t, src, equalParts)
	w := newWorld(t)
	m := w.newTeam(w.newMigration("late", src, dst, func(spec map[string]any) {
		spec["copy"] = map[string]any{"partSize": "512KiB", "concurrency": 4, "maxBytesPerSecond": "256KiB"}
	}), "north")
	m.start()
	m.await(contract.PhaseCopying)
	m.partsDone(4)
	m.startHost("south")
	m.requireCopying()
	m.await(contract.PhaseInSync)
	counts := dst.Dump(t, "SELECT worker, count(*) FROM timeferry.parts GROUP BY 1 ORDER BY 1")
	t.Log(counts)
	require.Len(t, counts, 2, "the second worker copied nothing: %v", counts)
	m.requireEqual()
	m.order(contract.SignalAbort)
	require.Equal(t, contract.PhaseAborted, m.report().Outcome)
	m.requireNothingLeft()
}
