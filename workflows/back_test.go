package workflows_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

const (
	withReverse = `, "cutover": {"mode": "auto", "reverse": true, "maxDowntime": "5s"}`
	hookedBack  = `, "cutover": {"mode": "auto", "reverse": true, "maxDowntime": "5s", "switch": {"http": {"url": "https://hook.example", "key": {"env": "K"}}}}`
)

// rollBackOnce orders a rollback as soon as the stream back runs.
func (w *world) rollBackOnce() {
	w.when("FollowLag back", 1, func() error {
		w.SignalWorkflow(contract.SignalRollback, contract.Note{By: "alice", Reason: "slow queries"})
		return nil
	})
}

// requireWriting asserts where writing goes on, and that it never was both sides.
func (w *world) requireWriting(t *testing.T, source, target bool) {
	t.Helper()
	s := &w.fake.switching
	require.Empty(t, s.forbid)
	require.Equal(t, source, !s.fenced, "the source is open")
	require.Equal(t, target, !s.back.fenced, "the target is open")
}

func TestTheWayBackStreamsUntilComplete(t *testing.T) {
	w := newWorld(t)
	w.when("FollowLag back", 1, func() error {
		w.SignalWorkflow(contract.SignalComplete, nil)
		return nil
	})
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(withReverse))
	r := w.report(t)
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	require.EqualValues(t, 77, r.Back.Since)
	require.Nil(t, r.Rollback)
	requireOrder(t, w.fake.calls, "PrepareBack", "CutOff", "CompareTouched", "BeginBack", "HandOver",
		"CleanSource", "Receive back", "CleanSource back", "CleanLedger back", "CleanSource", "CleanLedger", "RemoveSpool back", "RemoveSpool")
	require.Zero(t, w.fake.called("CutOff back"))
	w.requireWriting(t, false, true)
}

func TestRollback(t *testing.T) {
	w := newWorld(t)
	w.rollBackOnce()
	w.signalIn(t, contract.PhaseRolledBack, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(withReverse))
	r := w.report(t)
	require.Equal(t, contract.PhaseRolledBack, r.Outcome)
	require.Equal(t, "checksum", r.Rollback.Verified)
	require.Empty(t, r.Problems)
	var steps []string
	for _, s := range r.Rollback.Steps {
		steps = append(steps, s.Step)
	}
	require.Equal(t, []string{"fence", "marker", "sequences", "drain", "verify", "seal", "open"}, steps)
	require.True(t, r.Rollback.Fenced)
	require.False(t, r.Cutover.Fenced)
	require.Len(t, r.Left, 1)
	require.Contains(t, r.Left[0], "target database tsdb stays read-only")
	requireOrder(t, w.fake.calls, "CompareAtBarrier back", "CutOff back", "CompareTouched back", "HandBack",
		"CleanSource back", "CleanLedger back", "CleanSource", "CleanLedger")
	require.Zero(t, w.fake.called("TakeBack back"))
	require.Zero(t, w.fake.called("CleanTarget"))
	w.requireWriting(t, true, false)
}

// A worker that is killed is an activity that ends in a timeout, once or until its time is over; a refusal is not tried again.
func TestAnEndInAnyStepOfARollbackLeavesOneSideOpen(t *testing.T) {
	lost := errors.New("the worker was lost")
	for _, at := range []string{"CutOff back", "CompareTouched back", "HandBack"} {
		for name, c := range map[string]struct {
			times  int // how often it ends so
			err    error
			source bool
		}{"lost once": {1, lost, true}, "lost for good": {1 << 30, lost, false}, "refused": {1, refusal("broken", "x"), false}} {
			t.Run(at+" "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.fake.before[at] = func(call int) error {
					if call <= c.times {
						return c.err
					}
					return nil
				}
				w.rollBackOnce()
				end := contract.PhaseCompleted
				if c.source {
					end = contract.PhaseRolledBack
					w.signalIn(t, end, contract.SignalComplete, nil)
				} else {
					w.completeAfter("TakeBack back")
				}
				w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(withReverse))
				r := w.report(t)
				require.Equal(t, end, r.Outcome)
				w.requireWriting(t, c.source, !c.source)
				if !c.source {
					require.Len(t, r.Problems, 1)
					require.Equal(t, "rollback", r.Problems[0].Object)
					require.Equal(t, contract.Warning, r.Problems[0].Severity)
				}
			})
		}
	}
}

// completeAfter completes a moment after an activity was called.
func (w *world) completeAfter(activity string) {
	w.when(activity, 1, func() error {
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalComplete, nil) }, 300*time.Millisecond)
		return nil
	})
}

func TestADrainThatIsStuckInARollbackIsGivenUpInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.stuck = "CutOff back"
	w.rollBackOnce()
	w.completeAfter("TakeBack back")
	began := time.Now()
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(withReverse))
	r := w.report(t)
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	require.Less(t, time.Since(began), 20*time.Second)
	w.requireWriting(t, false, true)
	require.Contains(t, []string{"max-downtime", "timeout"}, r.Problems[0].Code)
}

// Once the target's fence is sealed, the source is opened, whatever happens.
func TestASealedRollbackOpensTheSource(t *testing.T) {
	lost := errors.New("the worker was lost")
	hook := contract.Problem{Severity: contract.Warning, Code: contract.CodeSwitchUnknown, Object: "rollback", Message: "the hook failed"}
	for name, c := range map[string]struct {
		spec    string
		fail    func() (sealed, opened bool, problems []contract.Problem, err error)
		opens   int // by an order of its own, the first of which fails
		problem string
	}{
		"lost before the source was opened": {withReverse, func() (bool, bool, []contract.Problem, error) { return true, false, nil, lost }, 2, ""},
		"lost after that":                   {hookedBack, func() (bool, bool, []contract.Problem, error) { return true, true, nil, lost }, 2, contract.CodeSwitchUnknown},
		"the hook failed":                   {hookedBack, func() (bool, bool, []contract.Problem, error) { return true, true, []contract.Problem{hook}, nil }, 0, contract.CodeSwitchUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fake.switching.back.fail = c.fail
			w.fake.before["Unfence"] = func(call int) error {
				if call == 1 {
					w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalResume, nil) }, 100*time.Millisecond)
					return refusal("broken", "source")
				}
				return nil
			}
			w.rollBackOnce()
			w.signalIn(t, contract.PhaseRolledBack, contract.SignalComplete, nil)
			w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(c.spec))
			r := w.report(t)
			require.Equal(t, contract.PhaseRolledBack, r.Outcome)
			w.requireWriting(t, true, false)
			require.Equal(t, c.opens, w.fake.called("Unfence"))
			if c.problem == "" {
				require.Empty(t, r.Problems)
				return
			}
			require.Len(t, r.Problems, 1)
			require.Equal(t, c.problem, r.Problems[0].Code)
		})
	}
}

// A stream that stands is found out before the target is fenced.
func TestARollbackTriesTheStreamFirst(t *testing.T) {
	w := newWorld(t)
	w.rollBackOnce()
	w.fake.before["Drain back"] = func(int) error {
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalComplete, nil) }, 300*time.Millisecond)
		return refusal("it-stands", "stream")
	}
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(withReverse))
	r := w.report(t)
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	require.Equal(t, []string{"it-stands", "rollback"}, []string{r.Problems[0].Code, r.Problems[0].Object})
	require.Zero(t, w.fake.called("CutOff back"))
	w.requireWriting(t, false, true)
}

// The target is not fenced while the source is far behind.
func TestARollbackWaitsForTheSourceToBeClose(t *testing.T) {
	w := newWorld(t)
	w.when("CompareAtBarrier back", 2, func() error { w.fake.lag = 1 << 40; return nil }) // the rollback's
	w.rollBackOnce()
	w.completeAfter("MeasureLag back")
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(withReverse))
	r := w.report(t)
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	require.Len(t, r.Problems, 1)
	require.Equal(t, []string{"lag-too-high", "rollback"}, []string{r.Problems[0].Code, r.Problems[0].Object})
	require.Zero(t, w.fake.called("CutOff back"))
	w.requireWriting(t, false, true)
}

func TestARollbackThatFailedCanBeTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.fake.before["CompareTouched back"] = func(call int) error {
		if call == 1 {
			return refusal("not-equal", "public.t")
		}
		return nil
	}
	w.rollBackOnce()
	w.when("TakeBack back", 1, func() error {
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalRollback, nil) }, 300*time.Millisecond)
		return nil
	})
	w.signalIn(t, contract.PhaseRolledBack, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(withReverse))
	r := w.report(t)
	require.Equal(t, contract.PhaseRolledBack, r.Outcome)
	require.Empty(t, r.Problems, "the first one's is gone")
	require.Equal(t, 2, w.fake.called("CutOff back"))
}

func TestAFailedCutoverTakesTheWayBackAway(t *testing.T) {
	for _, step := range []string{"PrepareBack", "CutOff", "CompareTouched", "BeginBack", "HandOver"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.when(step, 1, func() error { return refusal("broken", "x") })
			w.when("CleanLedger back", 1, func() error {
				w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalAbort, nil) }, 300*time.Millisecond)
				return nil
			})
			w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(withReverse))
			r := w.report(t)
			require.Equal(t, contract.PhaseAborted, r.Outcome)
			require.Nil(t, r.Back)
			require.Equal(t, 1, w.fake.called("CleanSource back"))
			require.Equal(t, 1, w.fake.called("CleanLedger back"))
			require.Zero(t, w.fake.called("RemoveSpool back"), "nothing was received yet")
		})
	}
}

func TestRollbackIsRefusedWithoutReverse(t *testing.T) {
	w := newWorld(t)
	w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
	w.signalAt("FinishSchema", 2, contract.SignalRollback, nil)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	r := w.report(t)
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	require.Contains(t, r.Problems[0].Message, "it needs cutover.reverse in the spec")
	require.Zero(t, w.fake.called("PrepareBack"))
}

// A cancellation half way through must not leave both sides fenced, and one that comes later must not undo anything.
func TestCancellingARollbackLeavesOneSideOpen(t *testing.T) {
	for at, source := range map[string]bool{"CompareAtBarrier back": false, "CutOff back": true, "HandBack": true} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.rollBackOnce()
			w.fake.before[at] = func(call int) error {
				if call == 2 || at != "CompareAtBarrier back" { // the first one is not the rollback's
					w.CancelWorkflow()
				}
				return nil
			}
			w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(withReverse))
			r := w.report(t)
			w.requireWriting(t, source, !source)
			require.Equal(t, 1, w.fake.called("CleanSource back"))
			require.Zero(t, w.fake.called("CleanTarget"))
			require.Equal(t, map[bool]contract.Phase{true: contract.PhaseRolledBack, false: contract.PhaseCompleted}[source], r.Outcome)
		})
	}
}
