package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

// Alarms come and go without anything being stopped by them, and never stand beside a problem of the receiver as one.
func TestSlotAlarmsAreProblems(t *testing.T) {
	w := newWorld(t)
	endangered := contract.Problem{Severity: contract.Warning, Code: contract.CodeSlotEndangered, Object: contract.SlotObject("shop"), Message: "3 GiB", Remedy: "room"}
	w.fake.alarms = []contract.Problem{endangered}
	var seen contract.Status
	w.when("FollowLag", 1, func() error {
		w.RegisterDelayedCallback(func() {
			seen = w.status(t)
			w.SignalWorkflow(contract.SignalAbort, nil)
		}, 300*time.Millisecond)
		return nil
	})
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	r := w.report(t)
	require.Equal(t, contract.PhaseAborted, r.Outcome)
	require.Equal(t, []contract.Problem{endangered}, seen.Problems)
	require.NotContains(t, seen.Awaiting, contract.SignalResume, "nothing is stopped")
	require.Empty(t, r.Problems, "the slot is gone, and so are its alarms")
	require.Equal(t, 2, w.fake.called("WatchSlot"))
}

// That nobody looks is said, and hinders nothing.
func TestASlotThatCannotBeWatchedIsNamed(t *testing.T) {
	w := newWorld(t)
	w.when("WatchSlot", 1, func() error { return refusal("privilege", "role u") })
	var seen contract.Status
	w.when("FollowLag", 1, func() error {
		w.RegisterDelayedCallback(func() {
			seen = w.status(t)
			w.SignalWorkflow(contract.SignalAbort, nil)
		}, 300*time.Millisecond)
		return nil
	})
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	require.Len(t, seen.Problems, 1)
	require.Equal(t, contract.CodeSlotUnwatched, seen.Problems[0].Code)
	require.Equal(t, contract.Warning, seen.Problems[0].Severity)
}

// With buffer: source nothing is received before it is applied, wherever that is, and no worker's spool is waited for at the end.
func TestBufferOnTheSourceNeedsNoSpool(t *testing.T) {
	w := newWorld(t)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "replication": {"buffer": "source"}, "cutover": {"mode": "auto"}`))
	require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
	require.Zero(t, w.fake.called("Receive"))
	require.Zero(t, w.fake.called("RemoveSpool"))
	require.Equal(t, 1, w.fake.called("Apply"))
	requireOrder(t, w.fake.calls, "HoldSnapshot", "CopyParts", "RestorePostData", "Apply", "CleanSource")
}
