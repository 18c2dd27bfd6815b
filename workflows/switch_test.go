package workflows_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

const hooked = `, "cutover": {"mode": "auto", "maxDowntime": "5s", "switch": {"http": {"url": "https://hook.example", "key": {"env": "K"}}}}`

// endAfterTakeBack aborts once the source is open again.
func (w *world) endAfterTakeBack() {
	w.when("FollowLag", 1, func() error {
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalAbort, nil) }, 300*time.Millisecond)
		return nil
	})
}

// requireOneSide asserts where writing goes on, and that it never was both sides or a fence that nobody lowers.
func (w *world) requireOneSide(t *testing.T, target bool) {
	t.Helper()
	s := &w.fake.switching
	require.Empty(t, s.forbid)
	require.Equal(t, target, s.fenced, "the source is fenced if and only if writing goes on at the target")
}

// A worker that is killed is an activity that ends in a timeout, once or until its time is over.
func TestAnEndOfAWorkerInAnyStepLeavesOneSideOpen(t *testing.T) {
	lost := errors.New("the worker was lost")
	for _, at := range []string{"CutOff", "CompareTouched", "HandOver"} {
		for name, c := range map[string]struct {
			times  int // how often it dies
			target bool
		}{"once": {1, true}, "for good": {1 << 30, false}} {
			t.Run(at+" "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.fake.before[at] = func(call int) error {
					if call <= c.times {
						return lost
					}
					return nil
				}
				if c.target {
					w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
				} else {
					w.endAfterTakeBack()
				}
				w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(hooked))
				r := w.report(t)
				w.requireOneSide(t, c.target)
				want := contract.PhaseAborted
				if c.target {
					want = contract.PhaseCompleted
				}
				require.Equal(t, want, r.Outcome)
			})
		}
	}
}

// Errors that trying again does not mend.
func TestAFailureInAnyStepOpensTheSourceAgain(t *testing.T) {
	for _, at := range []string{"CutOff", "CompareTouched", "HandOver"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.when(at, 1, func() error { return refusal("it-failed", "x") })
			w.endAfterTakeBack()
			w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(hooked))
			require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
			w.requireOneSide(t, false)
			require.Equal(t, 1, w.fake.called("CutOff"), "mode auto does not repeat it")
			require.Equal(t, 1, w.fake.called("TakeBack"))
		})
	}
}

func TestADrainThatIsStuckIsGivenUpInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.stuck = "CutOff"
	var seen contract.Status
	w.when("TakeBack", 1, func() error {
		w.RegisterDelayedCallback(func() {
			seen = w.status(t)
			w.SignalWorkflow(contract.SignalAbort, nil)
		}, 300*time.Millisecond)
		return nil
	})
	began := time.Now()
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "cutover": {"mode": "auto", "maxDowntime": "5s"}`))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	w.requireOneSide(t, false)
	require.Equal(t, contract.PhaseInSync, seen.Phase)
	require.Less(t, time.Since(began), 15*time.Second)
	require.Len(t, seen.Problems, 1)
	require.Contains(t, []string{"max-downtime", "timeout"}, seen.Problems[0].Code)
	require.Equal(t, contract.Warning, seen.Problems[0].Severity)
}

// What the switch says, and what it can be asked, decide; and nothing else.
func TestTheSwitchDecidesWhereWritingGoesOn(t *testing.T) {
	refused, unknown := refusal(contract.CodeSwitchRefused, "hook"), refusal(contract.CodeSwitchUnknown, "hook")
	lost := errors.New("the worker was lost")
	answers := func(switched, certain bool) func() (bool, bool) {
		return func() (bool, bool) { return switched, certain }
	}
	for name, c := range map[string]struct {
		fail    func() (sealed, led bool, err error)
		settled func() (switched, certain bool)
		target  bool
		problem string
	}{
		"refused":                           {func() (bool, bool, error) { return true, false, refused }, nil, false, ""},
		"unknown, and it was led":           {func() (bool, bool, error) { return true, true, unknown }, answers(false, false), true, contract.CodeSwitchUnknown},
		"unknown, and it was not led":       {func() (bool, bool, error) { return true, false, unknown }, answers(false, false), true, contract.CodeSwitchUnknown},
		"unknown, then it says yes":         {func() (bool, bool, error) { return true, true, unknown }, answers(true, true), true, ""},
		"unknown, then it says no":          {func() (bool, bool, error) { return true, false, unknown }, answers(false, true), false, ""},
		"the fence was lifted":              {func() (bool, bool, error) { return false, false, refusal("fence-lifted", "shop") }, nil, false, ""},
		"lost for good before the seal":     {func() (bool, bool, error) { return false, false, lost }, nil, false, ""},
		"lost for good after it was sealed": {func() (bool, bool, error) { return true, true, lost }, answers(false, false), true, contract.CodeSwitchUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fake.switching.fail, w.fake.switching.settled = c.fail, c.settled
			if c.target {
				w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
			} else {
				w.endAfterTakeBack()
			}
			w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(hooked))
			r := w.report(t)
			w.requireOneSide(t, c.target)
			if !c.target {
				require.Equal(t, contract.PhaseAborted, r.Outcome)
				return
			}
			require.Equal(t, contract.PhaseCompleted, r.Outcome)
			require.True(t, r.Cutover.Fenced)
			require.Equal(t, 1, w.fake.called("RestoreAtCutover"), "it may have died before they were committed")
			if c.problem == "" {
				require.Empty(t, r.Problems)
				return
			}
			require.Len(t, r.Problems, 1)
			require.Equal(t, c.problem, r.Problems[0].Code)
		})
	}
}

// Cancelling must not open the source under an application that is on the target, and must not drop that target.
func TestCancellingWhileItIsHandedOverEndsAtTheTarget(t *testing.T) {
	for name, fail := range map[string]func() (bool, bool, error){
		"switched": nil,
		"unknown":  func() (bool, bool, error) { return true, true, refusal(contract.CodeSwitchUnknown, "hook") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.fake.switching.fail = fail
			w.when("HandOver", 1, func() error { w.CancelWorkflow(); return nil })
			w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(hooked))
			require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
			w.requireOneSide(t, true)
			require.Zero(t, w.fake.called("CleanTarget"))
		})
	}
	t.Run("refused", func(t *testing.T) {
		w := newWorld(t)
		w.fake.switching.fail = func() (bool, bool, error) { return true, false, refusal(contract.CodeSwitchRefused, "hook") }
		w.when("HandOver", 1, func() error { w.CancelWorkflow(); return nil })
		w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(hooked))
		require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
		w.requireOneSide(t, false)
	})
}

// Triggers that fire on every statement stand on the target, and changes come again: they must not be applied.
func TestTheStreamIsHeldWhereTriggersStandAlready(t *testing.T) {
	w := newWorld(t)
	w.fake.switching.fail = func() (bool, bool, error) { return true, false, refusal(contract.CodeSwitchRefused, "hook") }
	w.fake.switching.pending, w.fake.switching.restored = 2, 2
	var seen contract.Status
	w.when("FollowLag", 1, func() error {
		w.RegisterDelayedCallback(func() {
			seen = w.status(t)
			w.SignalWorkflow(contract.SignalAbort, nil)
		}, 300*time.Millisecond)
		return nil
	})
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(hooked))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	require.True(t, seen.Paused)
	require.Len(t, seen.Problems, 2)
	require.Equal(t, "restored-at-cutover", seen.Problems[0].Code)
	require.Equal(t, 1, w.fake.called("Apply"), "not begun again")
}

func TestAnApplierThatWasHeldInVainGoesOn(t *testing.T) {
	w := newWorld(t)
	w.fake.switching.fail = func() (bool, bool, error) { return true, false, refusal(contract.CodeSwitchRefused, "hook") }
	w.fake.switching.pending = 2
	w.when("Apply", 2, func() error {
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalAbort, nil) }, 100*time.Millisecond)
		return nil
	})
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(hooked))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	require.Equal(t, 2, w.fake.called("Apply"))
}

func TestReadinessJoinsWhatIsKnown(t *testing.T) {
	for name, c := range map[string]struct {
		arrange func(*world)
		ready   bool
		blocked string
	}{
		"ready": {func(*world) {}, true, ""},
		"the lag": {func(w *world) {
			w.fake.checks = []contract.ReadinessCheck{{Name: "lag", State: contract.CheckBlocking}}
		}, false, "lag"},
		"a problem": {func(w *world) { w.when("Receive", 1, func() error { return refusal("spool-full", "spool") }) }, false, "problems"},
		"no answer": {func(w *world) { w.when("CheckReadiness", 1, func() error { return refusal("unreachable", "s") }) }, false, "databases"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.arrange(w)
			var got contract.Readiness
			done := false
			w.when("FollowLag", 1, func() error {
				w.UpdateWorkflow(contract.UpdateReadiness, "", &testsuite.TestUpdateCallback{OnAccept: func() {},
					OnReject: func(err error) { t.Error(err) }, OnComplete: func(answer any, err error) {
						if err == nil {
							got, done = answer.(contract.Readiness), true
						}
					}})
				w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalAbort, nil) }, 500*time.Millisecond)
				return nil
			})
			w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
			require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
			require.True(t, done)
			require.Equal(t, c.ready, got.Ready, "%+v", got)
			var blocking []string
			for _, check := range got.Checks {
				if check.State == contract.CheckBlocking {
					blocking = append(blocking, check.Name)
				}
			}
			if c.blocked != "" {
				require.Equal(t, []string{c.blocked}, blocking)
			}
			require.Zero(t, w.fake.called("CutOff"), "it changes nothing")
		})
	}
}
