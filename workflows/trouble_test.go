package workflows_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

// refusal is a failure that trying again does not mend, as activities make it.
func refusal(code, object string) error {
	return temporal.NewNonRetryableApplicationError("it went wrong", code, nil,
		contract.Problem{Severity: contract.Fatal, Code: code, Object: object, Message: "it went wrong"})
}

// answerTo keeps what became of an update.
type answerTo struct {
	err  error
	done bool
}

func (a *answerTo) callback() *testsuite.TestUpdateCallback {
	end := func(err error) { a.err, a.done = err, true }
	return &testsuite.TestUpdateCallback{OnAccept: func() {}, OnReject: end, OnComplete: func(_ any, err error) { end(err) }}
}

// Ending here would leave the slot behind.
func TestALagThatCannotBeMeasuredDoesNotEndTheMigration(t *testing.T) {
	w := newWorld(t)
	w.when("MeasureLag", 1, func() error { return refusal("wrong-credentials", "u@s") })
	w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
	var seen contract.Status
	w.fake.before["FollowLag"] = func(int) error { // the order may come before the first one, or during it
		w.RegisterDelayedCallback(func() {
			if s := w.status(t); len(s.Problems) > 0 && seen.Phase == "" { // back in sync
				seen = s
				w.SignalWorkflow(contract.SignalCutover, nil)
			}
		}, time.Millisecond)
		return nil
	}
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	r := w.report(t)
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	require.Equal(t, contract.PhaseInSync, seen.Phase)
	require.Len(t, seen.Problems, 1)
	require.Equal(t, "lag-unknown", seen.Problems[0].Code)
	require.Equal(t, contract.Warning, seen.Problems[0].Severity, "it does not forbid the next cutover")
	require.Empty(t, r.Problems, "the next cutover has worked")
}

// A second order that comes while the first is being taken must not start another downtime after the first has failed.
func TestAnOrderThatComesTwiceSwitchesOnce(t *testing.T) {
	w := newWorld(t)
	w.fake.differ = true
	var second answerTo
	w.fake.before["MeasureLag"] = func(call int) error {
		switch call {
		case 1: // of the order
			w.SignalWorkflow(contract.SignalCutover, nil)
			w.UpdateWorkflow(contract.SignalCutover, "", second.callback(), contract.Note{})
			time.Sleep(100 * time.Millisecond)
		case 2: // of the update: it ends while the order's switch is under way
			time.Sleep(300 * time.Millisecond)
		}
		return nil
	}
	w.when("CutOff", 1, func() error { time.Sleep(600 * time.Millisecond); return nil })
	w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
	w.when("TakeBack", 1, func() error {
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalAbort, nil) }, 300*time.Millisecond)
		return nil
	})
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	require.Equal(t, 1, w.fake.called("CutOff"))
	require.True(t, second.done)
	require.ErrorContains(t, second.err, "cutover refused: the migration is in phase cutting-over")
}

// Ending half way would leave the slot behind.
func TestCancellingDuringTheCleanupStillCleansUp(t *testing.T) {
	for _, at := range []string{"CleanSource", "CleanLedger", "RemoveSpool"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t)
			w.when(at, 1, func() error { w.CancelWorkflow(); return nil })
			w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
			w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "cutover": {"mode": "auto"}`))
			require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
			requireOrder(t, w.fake.calls, "CleanSource", "CleanLedger", "RemoveSpool")
		})
	}
}

func TestCancellingTheWorkflowDuringTheSwitchOpensTheSource(t *testing.T) {
	for _, at := range []string{"CutOff", "CompareTouched"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t)
			w.when(at, 1, func() error { w.CancelWorkflow(); return temporal.NewCanceledError() })
			w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "cutover": {"mode": "auto"}`))
			r := w.report(t)
			require.Equal(t, contract.PhaseAborted, r.Outcome)
			require.False(t, r.Cutover.Fenced)
			requireOrder(t, w.fake.calls, "CutOff", "TakeBack", "CleanSource", "CleanTarget")
		})
	}
}

// Nobody is there to order a cutover in mode auto: a problem that was open when the stream came into sync only delays it.
func TestModeAutoSwitchesOnceTheProblemIsMended(t *testing.T) {
	w := newWorld(t)
	w.when("Receive", 1, func() error { return refusal("spool-full", "spool") })
	w.when("FollowLag", 1, func() error {
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalResume, nil) }, 300*time.Millisecond)
		return nil
	})
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "cutover": {"mode": "auto"}`))
	require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
	require.Equal(t, 1, w.fake.called("CutOff"))
}

func TestModeAutoDoesNotRepeatAFailedSwitch(t *testing.T) {
	w := newWorld(t)
	w.fake.differ = true
	w.when("FollowLag", 1, func() error {
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalAbort, nil) }, 500*time.Millisecond)
		return nil
	})
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "cutover": {"mode": "auto"}`))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	require.Equal(t, 1, w.fake.called("CutOff"))
	require.Equal(t, 1, w.fake.called("TakeBack"))
}

// Two steps stop, one resume starts both: the message is again what the story does, not one of the problems.
func TestAfterResumeTheMessageIsTheStorysOwn(t *testing.T) {
	w := newWorld(t)
	w.when("Receive", 1, func() error { return refusal("spool-full", "spool") })
	var stopped, resumed contract.Status
	w.fake.before["MigrateRoles"] = func(call int) error {
		if call == 1 {
			return refusal("privilege", "role app")
		}
		time.Sleep(50 * time.Millisecond) // the other one has resumed as well
		resumed = w.status(t)
		return nil
	}
	w.RegisterDelayedCallback(func() {
		stopped = w.status(t)
		w.SignalWorkflow(contract.SignalResume, nil)
	}, 300*time.Millisecond)
	w.signalIn(t, contract.PhaseInSync, contract.SignalAbort, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	w.report(t)
	require.Len(t, stopped.Problems, 2)
	require.Contains(t, stopped.Message, "stopped: ")
	require.Empty(t, resumed.Problems)
	require.Equal(t, "migrating roles and schema", resumed.Message)
}

func TestAStoppedStepOutlivesAPhaseButNotItsMessage(t *testing.T) {
	w := newWorld(t)
	w.when("Receive", 1, func() error { return refusal("spool-full", "spool") })
	var stopped, resumed contract.Status
	w.when("FollowLag", 1, func() error {
		w.RegisterDelayedCallback(func() {
			stopped = w.status(t)
			w.SignalWorkflow(contract.SignalResume, nil)
		}, 300*time.Millisecond)
		w.RegisterDelayedCallback(func() {
			resumed = w.status(t)
			w.SignalWorkflow(contract.SignalAbort, nil)
		}, 2*300*time.Millisecond)
		return nil
	})
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	w.report(t)
	require.Contains(t, stopped.Awaiting, contract.SignalResume)
	require.Equal(t, "in sync: the target follows the source", resumed.Message)
}

func TestAbortWhileAProblemWaitsForResume(t *testing.T) {
	for _, at := range []string{"CreateLedger", "FixIdentities", "HoldSnapshot", "Receive", "CopyParts", "BuildIndexes", "RestorePostData", "Apply", "FinishSchema"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t)
			w.fake.before[at] = func(int) error { return refusal("slot-lost", "slot") }
			if at == "HoldSnapshot" {
				w.fake.holding = func() {} // it fails before there is a snapshot
			}
			var stopped contract.Status
			w.RegisterDelayedCallback(func() {
				stopped = w.status(t)
				w.SignalWorkflow(contract.SignalAbort, nil)
			}, 300*time.Millisecond)
			w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
			require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
			require.Equal(t, "slot-lost", stopped.Problems[0].Code)
			require.Subset(t, stopped.Awaiting, []string{contract.SignalResume, contract.SignalAbort})
			require.Equal(t, 1, w.fake.called("CleanSource"))
		})
	}
}

// What cannot be ended may go on writing: that must not stay between the activity and the history.
func TestSessionsThatTheFenceSparedAreNamed(t *testing.T) {
	w := newWorld(t)
	w.fake.spared = []string{"pid 7 of postgres (psql)"}
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "cutover": {"mode": "auto"}`))
	r := w.report(t)
	require.Len(t, r.Problems, 1)
	require.Equal(t, "sessions-spared", r.Problems[0].Code)
	require.Equal(t, contract.Warning, r.Problems[0].Severity)
	require.Contains(t, r.Problems[0].Message, "pid 7 of postgres (psql)")
}

// The person who sent the cutover gets an answer within bounds, though the source is gone.
func TestACutoverUpdateIsAnsweredThoughTheLagCannotBeMeasured(t *testing.T) {
	t.Parallel() // it takes as long as such an answer may take
	w := newWorld(t)
	w.fake.before["MeasureLag"] = func(int) error { return errors.New("the server does not answer") }
	var answer answerTo
	w.when("FollowLag", 1, func() error {
		w.UpdateWorkflow(contract.SignalCutover, "", answer.callback(), contract.Note{})
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalAbort, nil) }, 300*time.Millisecond)
		return nil
	})
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	require.True(t, answer.done, "answered before the workflow ended")
	require.ErrorContains(t, answer.err, "the server does not answer")
	require.Zero(t, w.fake.called("CutOff"))
}
