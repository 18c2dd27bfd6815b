package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

// thenAbort ends the migration once it is in sync for the n-th time.
func (w *world) thenAbort(n int) {
	before := w.fake.before["FollowLag"]
	w.fake.before["FollowLag"] = func(call int) error {
		if call == n {
			w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalAbort, nil) }, 50*time.Millisecond)
		}
		if before == nil {
			return nil
		}
		return before(call)
	}
}

// On wish: everything of the first round has ended before anything of it is removed, and the second round has no schema to make.
func TestResyncOnWish(t *testing.T) {
	w := newWorld(t)
	var answer answerTo
	w.fake.before["FollowLag"] = func(call int) error {
		switch call {
		case 1:
			w.RegisterDelayedCallback(func() { w.UpdateWorkflow(contract.SignalResync, "", answer.callback(), contract.Note{By: "alice"}) }, 50*time.Millisecond)
		case 2:
			w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalCutover, nil) }, 50*time.Millisecond)
		}
		return nil
	}
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	r := w.report(t)
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	require.NoError(t, answer.err)
	require.Empty(t, r.Problems)
	require.Equal(t, []int{0, 2, 2}, w.fake.after, "the holder's first, the epoch to forget, the holder's second")
	requireOrder(t, w.fake.calls, "HoldSnapshot", "CopyProgress", "Apply", "FollowLag", "RemoveSpool", "StartOver", "HoldSnapshot", "CopyProgress",
		"RestorePostData", "Apply", "FollowLag", "CutOff", "CleanSource")
	requireOrder(t, w.fake.calls, "HoldSnapshot", "Receive", "RemoveSpool", "StartOver", "HoldSnapshot", "Receive") // beside the copy
	for _, once := range []string{"CreateLedger", "FixIdentities", "CreatePublication", "MigrateRoles", "DumpSchema", "RestorePreData", "MakeHypertables", "StartOver", "CutOff"} {
		require.Equal(t, 1, w.fake.called(once), once)
	}
	for _, twice := range []string{"HoldSnapshot", "Receive", "Apply", "WatchSlot", "RemoveSpool", "RestorePostData", "BuildIndexes", "CompareSchema"} {
		require.Equal(t, 2, w.fake.called(twice), twice)
	}
	var phases []contract.Phase
	for _, p := range r.Phases {
		phases = append(phases, p.Phase)
	}
	require.Subset(t, phases, []contract.Phase{contract.PhaseCreatingSlot, contract.PhaseCopying, contract.PhaseCatchingUp, contract.PhaseInSync, contract.PhaseCutOver})
	require.Equal(t, contract.SignalResync, r.Decisions[0].Signal)
}

// The receiver has found the slot lost: status offers resync, which takes the problem away with its cause.
func TestResyncMendsALostSlot(t *testing.T) {
	for _, phase := range []string{"copying", "in sync"} {
		t.Run(phase, func(t *testing.T) {
			w := newWorld(t)
			w.when("Receive", 1, func() error {
				if phase == "in sync" {
					for w.fake.called("FollowLag") == 0 {
						time.Sleep(5 * time.Millisecond)
					}
				}
				return refusal(contract.CodeSlotLost, "timeferry_shop")
			})
			block := make(chan struct{})
			if phase == "copying" {
				w.fake.before["CopyParts"] = func(call int) error {
					if call == 1 {
						<-block
					}
					return nil
				}
			}
			var offered contract.Status
			w.RegisterDelayedCallback(func() {
				offered = w.status(t)
				w.SignalWorkflow(contract.SignalResync, nil)
				close(block)
			}, 500*time.Millisecond)
			n := 1
			if phase == "in sync" {
				n = 2
			}
			w.thenAbort(n)
			w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
			r := w.report(t)
			require.Equal(t, contract.PhaseAborted, r.Outcome)
			require.Equal(t, contract.CodeSlotLost, offered.Problems[0].Code)
			require.Subset(t, offered.Awaiting, []string{contract.SignalResume, contract.SignalResync, contract.SignalAbort})
			require.Empty(t, r.Problems)
			require.Equal(t, 1, w.fake.called("StartOver"))
			require.Equal(t, 2, w.fake.called("Receive"))
		})
	}
}

func TestResyncIsRefusedWhereItCannotBe(t *testing.T) {
	w := newWorld(t)
	var copying, cutOver answerTo
	w.when("CopyParts", 1, func() error {
		w.UpdateWorkflow(contract.SignalResync, "", copying.callback(), contract.Note{})
		return nil
	})
	w.when("HandOver", 1, func() error {
		w.RegisterDelayedCallback(func() {
			w.UpdateWorkflow(contract.SignalResync, "", cutOver.callback(), contract.Note{})
			w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalComplete, nil) }, 50*time.Millisecond)
		}, 300*time.Millisecond)
		return nil
	})
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "cutover": {"mode": "auto"}`))
	require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
	require.ErrorContains(t, copying.err, "the stream is whole")
	require.ErrorContains(t, cutOver.err, "may have written to the target already")
	require.Zero(t, w.fake.called("StartOver"))
}

// A step of the resync that fails waits for resume, and abort undoes all the same.
func TestAResyncThatFailsCanBeResumedOrAborted(t *testing.T) {
	for _, signal := range []string{contract.SignalResume, contract.SignalAbort} {
		t.Run(signal, func(t *testing.T) {
			w := newWorld(t)
			w.fake.before["FollowLag"] = func(call int) error {
				if call == 1 {
					w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalResync, nil) }, 50*time.Millisecond)
				}
				return nil
			}
			w.when("StartOver", 1, func() error {
				w.RegisterDelayedCallback(func() { w.SignalWorkflow(signal, nil) }, 300*time.Millisecond)
				return refusal("privilege", "role u")
			})
			w.thenAbort(2)
			w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
			require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
			want := map[string]int{contract.SignalResume: 2, contract.SignalAbort: 1}[signal]
			require.Equal(t, want, w.fake.called("StartOver"))
			require.Equal(t, want, w.fake.called("HoldSnapshot"))
			require.Equal(t, 1, w.fake.called("CleanTarget"))
		})
	}
}

// The worker with the spool is gone for good: another one keeps the next spool, and the report names what is left.
func TestResyncGoesToAnotherWorker(t *testing.T) {
	w := newWorld(t)
	w.OnActivity("RemoveSpool", mock.Anything, mock.Anything).Return(temporal.NewTimeoutError(enums.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)).Once()
	w.OnActivity("RemoveSpool", mock.Anything, mock.Anything).Return(nil)
	w.fake.before["FollowLag"] = func(call int) error {
		if call == 1 {
			w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalResync, nil) }, 50*time.Millisecond)
		}
		return nil
	}
	w.thenAbort(2)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	r := w.report(t)
	require.Equal(t, contract.PhaseAborted, r.Outcome)
	require.Equal(t, 2, w.fake.called("ClaimHost"))
	require.Contains(t, r.Left[0], "on worker h1, which did not answer at the resync")
}

func TestResyncWithTheBufferOnTheSource(t *testing.T) {
	w := newWorld(t)
	w.when("Apply", 1, func() error { return refusal(contract.CodeSlotLost, "timeferry_shop") })
	w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalResync, nil) }, 500*time.Millisecond)
	w.thenAbort(2)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "replication": {"buffer": "source"}`))
	r := w.report(t)
	require.Equal(t, contract.PhaseAborted, r.Outcome)
	require.Empty(t, r.Problems)
	require.Equal(t, 2, w.fake.called("Apply"))
	require.Zero(t, w.fake.called("RemoveSpool")+w.fake.called("Receive"))
}
