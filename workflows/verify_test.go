package workflows_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

// differing is a comparison that found public.t to differ.
func differing(in contract.BarrierInput) contract.Verification {
	v := contract.Verification{Method: in.Method, Tables: 3, Differences: []contract.TableDifference{{Table: "public.t", Message: "1 rows differ"}}}
	v.Unequal, v.UnequalCount = []string{"public.t"}, 1
	return v
}

func runsOf(barriers []contract.BarrierInput) (names []string) {
	for _, b := range barriers {
		names = append(names, b.Run)
	}
	return names
}

// once sends a signal once the status is as told.
func (w *world) once(t *testing.T, ready func(contract.Status) bool, signal string, payload any) {
	t.Helper()
	var look func()
	look = func() {
		if w.IsWorkflowCompleted() {
			return
		}
		if ready(w.status(t)) {
			w.SignalWorkflow(signal, payload)
			return
		}
		w.RegisterDelayedCallback(look, 10*time.Millisecond)
	}
	w.RegisterDelayedCallback(look, 10*time.Millisecond)
}

func stateOf(s contract.Status, run string) string {
	if s.Verify == nil {
		return ""
	}
	for _, r := range s.Verify.Runs {
		if r.Run == run {
			return r.State
		}
	}
	return ""
}

func TestVerifyOnceInSyncWhenOrderedAndBeforeTheFence(t *testing.T) {
	w := newWorld(t)
	w.once(t, func(s contract.Status) bool { return stateOf(s, "verify-1") == contract.VerifyEqual }, contract.SignalVerify,
		contract.Note{By: "alice", Tables: []string{"public.t"}, Full: true, ShowValues: true})
	w.once(t, func(s contract.Status) bool { return stateOf(s, "verify-2") == contract.VerifyEqual }, contract.SignalCutover, nil)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	r := w.report(t)
	require.Equal(t, []string{"verify-1", "verify-2", "before-cutover-1-1"}, runsOf(w.fake.barriers))
	ordered := w.fake.barriers[1]
	require.Equal(t, []string{"public.t"}, ordered.Tables)
	require.True(t, ordered.Full && ordered.KeepValues)
	require.False(t, w.fake.barriers[2].Full)
	require.Len(t, r.Verifications, 3)
	require.Equal(t, "tables: public.t; full; keeping values in the ledger", r.Decisions[0].Detail)
	requireOrder(t, w.fake.calls, "CompareAtBarrier", "CompareAtBarrier", "CompareAtBarrier", "CutOff", "CompareTouched")
	require.Zero(t, w.fake.called("Compare"))
	require.Equal(t, "checksum", r.Cutover.Verified)
}

// What takes long leaves much that was touched meanwhile: it is compared again, a bounded number of times.
func TestBarriersBeforeTheFenceAreRepeatedWhileTheyTakeLong(t *testing.T) {
	for _, c := range []struct {
		seconds []float64
		rounds  int
	}{{[]float64{100, 20, 1}, 3}, {[]float64{50, 50, 50, 50, 50, 50}, 4}} {
		w := newWorld(t)
		w.fake.barrier = func(_ context.Context, in contract.BarrierInput) (contract.Verification, error) {
			return contract.Verification{Method: in.Method, Equal: true, Seconds: c.seconds[w.fake.called("CompareAtBarrier")-1]}, nil
		}
		w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
		w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "cutover": {"mode": "auto"}`))
		w.report(t)
		require.Equal(t, c.rounds, w.fake.called("CompareAtBarrier"))
	}
}

func TestADifferenceKeepsTheCutoverFromBeingOrdered(t *testing.T) {
	w := newWorld(t)
	w.fake.barrier = func(_ context.Context, in contract.BarrierInput) (contract.Verification, error) {
		if in.Run == "verify-1" {
			return differing(in), nil
		}
		return contract.Verification{Method: in.Method, Tables: 3, Equal: true}, nil
	}
	w.once(t, func(s contract.Status) bool { return stateOf(s, "verify-1") == contract.VerifyDiffers }, contract.SignalCutover, nil)
	refused := func(s contract.Status) bool {
		for _, p := range s.Problems {
			if p.Code == "refused" && strings.Contains(p.Message, "public.t") {
				return true
			}
		}
		return false
	}
	w.once(t, refused, contract.SignalVerify, nil)
	w.once(t, func(s contract.Status) bool { return stateOf(s, "verify-2") == contract.VerifyEqual }, contract.SignalCutover, nil)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	r := w.report(t)
	require.Equal(t, 1, w.fake.called("CutOff"))
	for _, p := range r.Problems {
		require.NotEqual(t, "not-equal", p.Code, "it was mended")
	}
}

func TestADifferenceBeforeTheFenceLeavesTheSourceOpen(t *testing.T) {
	w := newWorld(t)
	w.fake.barrier = func(_ context.Context, in contract.BarrierInput) (contract.Verification, error) {
		return differing(in), nil
	}
	w.when("FollowLag", 1, func() error {
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalAbort, nil) }, 500*time.Millisecond)
		return nil
	})
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "cutover": {"mode": "auto"}`))
	r := w.report(t)
	require.Equal(t, contract.PhaseAborted, r.Outcome)
	require.Zero(t, w.fake.called("CutOff"))
	require.Equal(t, 1, w.fake.called("CompareAtBarrier"))
}

// A comparison that cannot be made is no obstacle to the migration, and not taken for one that was made.
func TestAFailedComparisonIsAWarning(t *testing.T) {
	w := newWorld(t)
	w.when("CompareAtBarrier", 1, func() error { return refusal("no-free-slot", "timeferry_shop") })
	var s contract.Status
	w.once(t, func(now contract.Status) bool {
		s = now
		return stateOf(now, "verify-1") == contract.VerifyFailed
	}, contract.SignalAbort, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	r := w.report(t)
	require.Equal(t, contract.PhaseAborted, r.Outcome)
	require.Empty(t, r.Verifications)
	require.Contains(t, s.Problems[0].Code, "verify-failed")
	require.Equal(t, contract.Warning, s.Problems[0].Severity)
}

func TestAbortWaitsForTheComparisonToEnd(t *testing.T) {
	w := newWorld(t)
	w.fake.barrier = func(ctx context.Context, _ contract.BarrierInput) (contract.Verification, error) {
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalAbort, nil) }, 10*time.Millisecond)
		return contract.Verification{}, w.fake.wait(ctx)
	}
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	r := w.report(t)
	require.Equal(t, contract.PhaseAborted, r.Outcome)
	require.Empty(t, r.Problems)
}

func TestVerifyIsRefusedWhileRowsAreCopied(t *testing.T) {
	w := newWorld(t)
	w.signalAt("CopyParts", 1, contract.SignalVerify, nil)
	w.once(t, func(s contract.Status) bool { return s.Phase == contract.PhaseInSync }, contract.SignalAbort, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "cutover": {"verify": "none"}`))
	r := w.report(t)
	require.Zero(t, w.fake.called("CompareAtBarrier"))
	require.Equal(t, "refused", r.Problems[0].Code)
}
