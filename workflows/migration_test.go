package workflows_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

// world is one workflow under test with its fake activities.
type world struct {
	*testsuite.TestWorkflowEnvironment
	fake *fakeActivities
}

func newWorld(t *testing.T) *world {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(time.Minute)
	env.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: 30 * time.Second}) // a busy machine is no deadlock
	w := &world{env, &fakeActivities{before: map[string]func(int) error{}, end: make(chan struct{}), parts: 2,
		plan: contract.ParameterPlan{Group: "shop-timeferry", Previous: "default.postgres15", NeedsAttach: true, NeedsReboot: true,
			Changes: []contract.ParameterChange{{Name: "rds.logical_replication", Old: "0", New: "1"}}}}}
	w.fake.holding = func() {
		env.SignalWorkflow(contract.SignalSnapshot, contract.SnapshotHeld{Epoch: w.fake.called("HoldSnapshot") + 1, Slot: "timeferry_shop", ConsistentPoint: 1})
	}
	env.RegisterActivity(w.fake)
	t.Cleanup(func() { close(w.fake.end) })
	return w
}

// when does something at the moment an activity is called for the n-th time.
func (w *world) when(activity string, n int, do func() error) {
	w.fake.before[activity] = func(call int) error {
		if call != n {
			return nil
		}
		return do()
	}
}

// signalAt sends a signal when an activity is called for the n-th time.
func (w *world) signalAt(activity string, n int, signal string, payload any) {
	w.when(activity, n, func() error {
		w.SignalWorkflow(signal, payload)
		return nil
	})
}

// signalIn sends a signal once the migration is in a phase and waits for the signal; in sync, once it follows the lag, too: an activity
// that is cancelled before it has begun is never called, and hooks count calls.
func (w *world) signalIn(t *testing.T, phase contract.Phase, signal string, payload any) {
	t.Helper()
	var look func()
	look = func() {
		s := w.status(t)
		for _, a := range s.Awaiting {
			if s.Phase == phase && a == signal && (phase != contract.PhaseInSync || w.fake.called("FollowLag") > 0) {
				w.SignalWorkflow(signal, payload)
				return
			}
		}
		if !w.IsWorkflowCompleted() {
			w.RegisterDelayedCallback(look, 10*time.Millisecond)
		}
	}
	w.RegisterDelayedCallback(look, 10*time.Millisecond)
}

func (w *world) status(t *testing.T) contract.Status {
	t.Helper()
	value, err := w.QueryWorkflow(contract.QueryStatus)
	require.NoError(t, err)
	var s contract.Status
	require.NoError(t, value.Get(&s))
	return s
}

func (w *world) report(t *testing.T) contract.Report {
	t.Helper()
	require.True(t, w.IsWorkflowCompleted(), "calls: %v", w.fake.calls)
	require.NoError(t, w.GetWorkflowError())
	var r contract.Report
	require.NoError(t, w.GetWorkflowResult(&r))
	return r
}

func spec(extra string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"name": "shop",
		"source": {"rds": {"instance": "shop-prod"}, "database": "shop", "user": "u", "password": {"env": "P"}},
		"target": {"host": "t", "database": "tsdb", "user": "tsdbadmin", "password": {"env": "P"}}%s}`, extra))
}

func plainSpec(extra string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"name": "shop",
		"source": {"host": "s", "database": "shop", "user": "u", "password": {"env": "P"}},
		"target": {"host": "t", "database": "tsdb", "user": "tsdbadmin", "password": {"env": "P"}}%s}`, extra))
}

func TestWholeStory(t *testing.T) {
	w := newWorld(t)
	w.signalIn(t, contract.PhaseAwaitingReboot, contract.SignalApproveReboot, contract.Note{By: "alice", Reason: "quiet hour"})
	w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, spec(""))
	r := w.report(t)
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	require.Equal(t, "alice", r.Decisions[0].By)
	require.Equal(t, []string{"app"}, r.RolesWithoutPassword)
	require.Equal(t, []string{"public.metrics"}, r.Hypertables)
	require.True(t, r.Verification.Equal)
	require.True(t, r.Cutover.Fenced)
	require.Len(t, r.Cutover.Steps, 6)
	require.Equal(t, []contract.SessionGroup{{User: "app", Count: 2}}, r.Cutover.Ended)
	require.EqualValues(t, 7, r.Copy.Rows)
	require.Len(t, r.Left, 2, "the fence and the parameter group: %v", r.Left)
	require.Equal(t, []contract.Phase{contract.PhasePreflight, contract.PhasePreparingSource, contract.PhaseAwaitingReboot, contract.PhasePreparingSource,
		contract.PhaseCreatingSlot, contract.PhaseMigratingSchema, contract.PhaseCopying, contract.PhaseIndexing, contract.PhaseCatchingUp,
		contract.PhaseInSync, contract.PhaseCuttingOver, contract.PhaseCutOver, contract.PhaseCompleted}, phases(r.Phases))
	requireOrder(t, w.fake.calls, "Inspect", "PlanParameters", "Preflight", "CreateLedger", "ApplyParameterGroup", "AttachParameterGroup", "RebootSource",
		"VerifySource", "FixIdentities", "CreatePublication", "HoldSnapshot", "MigrateRoles", "DumpSchema", "RestorePreData", "MakeHypertables", "CopyParts",
		"RestorePostData", "FinishSchema", "CutOff", "CompareTouched", "HandOver", "FinishSchema", "CleanSource", "CleanLedger", "RemoveSpool")
	requireOrder(t, w.fake.calls, "RestorePostData", "Apply") // beside the story: it may begin late
	require.Equal(t, 4, w.fake.called("CopyParts"), "one per stream")
	require.Zero(t, w.fake.called("CleanTarget"), "complete keeps the target")
}

func TestPlainSourceNeedsNoRDS(t *testing.T) {
	w := newWorld(t)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "cutover": {"mode": "auto", "fence": "none", "verify": "none"}`))
	r := w.report(t)
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	require.Empty(t, r.Left)
	require.Empty(t, r.Cutover.Verified)
	for _, never := range []string{"Inspect", "PlanParameters", "RebootSource", "CompareTouched", "TakeBack"} {
		require.Zero(t, w.fake.called(never), never)
	}
}

func TestRebootAutoNeedsNoApproval(t *testing.T) {
	w := newWorld(t)
	w.signalAt("FinishSchema", 1, contract.SignalAbort, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, spec(`, "prepare": {"reboot": "auto"}`))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	require.Equal(t, 1, w.fake.called("RebootSource"))
}

func TestBadInputFailsWithItsOwnType(t *testing.T) {
	for name, c := range map[string]struct {
		input   string
		code    string
		message string
	}{
		"unknown key":   {`{"nmae": "shop"}`, contract.CodeBadSpec, `unknown key "nmae"`},
		"password":      {`{"name": "shop", "source": {"password": "hunter2"}}`, contract.CodePasswordInSpec, "source.password"},
		"URL":           {`{"name": "shop", "source": {"host": "postgres://u:hunter2@h/db"}}`, contract.CodePasswordInSpec, "source.host"},
		"not an object": {`[1]`, contract.CodeBadSpec, "one JSON object"},
		"no name":       {`{}`, contract.CodeBadSpec, "name"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.ExecuteWorkflow(workflows.LiveMigration, json.RawMessage(c.input))
			requireFailure(t, w, c.code, c.message)
			require.NotContains(t, w.GetWorkflowError().Error(), "hunter2")
			require.Empty(t, w.fake.calls)
		})
	}
}

func TestPreflightErrorsStopBeforeAnyChange(t *testing.T) {
	w := newWorld(t)
	w.fake.found = []contract.Problem{{Severity: contract.Warning, Code: "full", Object: "public.log", Message: "no key"},
		{Severity: contract.Fatal, Code: "target-not-empty", Object: "public.orders", Message: "the table holds rows", Remedy: "empty it"}}
	w.ExecuteWorkflow(workflows.LiveMigration, spec(""))
	requireFailure(t, w, "target-not-empty", "public.orders: the table holds rows (empty it)")
	require.Equal(t, []string{"Inspect", "PlanParameters", "Preflight"}, w.fake.calls)
}

func TestUnreachableHostFailsAfterAFewAttempts(t *testing.T) {
	w := newWorld(t)
	w.fake.before["Preflight"] = func(int) error { return temporal.NewApplicationError("connect to u@s: no answer", "unreachable") }
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	requireFailure(t, w, "unreachable", "no answer")
	require.Equal(t, 3, w.fake.called("Preflight"))
}

func TestAbortUndoesInEveryPhase(t *testing.T) {
	for _, at := range []string{"CreateLedger", "ApplyParameterGroup", "RebootSource", "FixIdentities", "CreatePublication", "HoldSnapshot", "MigrateRoles",
		"RestorePreData", "MakeHypertables", "CopyParts", "RestorePostData", "Apply", "FinishSchema", "FollowLag"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t)
			w.signalAt(at, 1, contract.SignalAbort, contract.Note{By: "bob"})
			w.ExecuteWorkflow(workflows.LiveMigration, spec(`, "prepare": {"reboot": "auto"}`))
			r := w.report(t)
			require.Equal(t, contract.PhaseAborted, r.Outcome)
			require.Equal(t, 1, w.fake.called("CleanSource"))
			require.Equal(t, 1, w.fake.called("CleanTarget"))
			requireOrder(t, w.fake.calls, "CleanSource", "CleanTarget")
			require.Zero(t, w.fake.called("CutOff"))
		})
	}
}

func TestAbortWhileWaiting(t *testing.T) {
	t.Run("for the reboot", func(t *testing.T) {
		w := newWorld(t)
		w.signalIn(t, contract.PhaseAwaitingReboot, contract.SignalAbort, contract.Note{KeepTarget: true})
		w.ExecuteWorkflow(workflows.LiveMigration, spec(""))
		require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
		require.Zero(t, w.fake.called("RebootSource"))
		require.Equal(t, 1, w.fake.called("CleanLedger"), "keepTarget drops the bookkeeping only")
	})
	t.Run("for the hypertables", func(t *testing.T) {
		w := newWorld(t)
		w.signalIn(t, contract.PhaseAwaitingHypertables, contract.SignalAbort, nil)
		w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "hypertableGate": true`))
		require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
		require.Zero(t, w.fake.called("CopyParts"))
	})
	t.Run("before any change", func(t *testing.T) {
		w := newWorld(t)
		w.signalAt("Preflight", 1, contract.SignalAbort, nil)
		w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
		require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
		require.Zero(t, w.fake.called("CleanSource"), "there is nothing to undo")
	})
}

func TestCancellingTheWorkflowIsAnAbort(t *testing.T) {
	w := newWorld(t)
	w.when("CopyParts", 1, func() error { w.CancelWorkflow(); return nil })
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	require.Equal(t, 1, w.fake.called("CleanSource"))
}

func TestHypertableGate(t *testing.T) {
	w := newWorld(t)
	w.signalIn(t, contract.PhaseAwaitingHypertables, contract.SignalApproveHypertables, nil)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "hypertableGate": true, "cutover": {"mode": "auto"}`))
	require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
}

func TestAProblemWaitsForResume(t *testing.T) {
	w := newWorld(t)
	w.when("FixIdentities", 1, func() error {
		return temporal.NewNonRetryableApplicationError("must be owner of table orders", "privilege", nil,
			contract.Problem{Severity: contract.Fatal, Code: "privilege", Object: "public.orders", Message: "must be owner of table orders"})
	})
	var seen contract.Status
	w.RegisterDelayedCallback(func() { seen = w.status(t) }, 5*time.Second)
	w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalResume, nil) }, 6*time.Second)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "cutover": {"mode": "auto"}`))
	r := w.report(t)
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	require.Equal(t, 2, w.fake.called("FixIdentities"))
	require.Equal(t, []string{contract.SignalResume, contract.SignalAbort}, seen.Awaiting)
	require.Equal(t, "public.orders", seen.Problems[0].Object)
	require.Empty(t, r.Problems, "mended")
}

func TestARewrittenTableGetsANewSnapshot(t *testing.T) {
	w := newWorld(t)
	w.when("CopyParts", 1, func() error {
		return temporal.NewNonRetryableApplicationError("the table was rewritten", "table-rewritten", nil)
	})
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "cutover": {"mode": "auto"}`))
	require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
	require.Equal(t, 2, w.fake.called("HoldSnapshot"))
	require.Equal(t, 8, w.fake.called("CopyParts"), "four streams twice")
}

func TestAFailedCutoverOpensTheSourceAgain(t *testing.T) {
	w := newWorld(t)
	w.fake.differ = true
	w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
	w.when("FollowLag", 2, func() error { // back in sync
		w.SignalWorkflow(contract.SignalCutover, nil)
		return nil
	})
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	r := w.report(t)
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	requireOrder(t, w.fake.calls, "CutOff", "CompareTouched", "TakeBack", "CutOff", "CompareTouched", "HandOver")
	require.Equal(t, "cutover", r.Problems[0].Object)
	require.True(t, r.Verification.Equal)
}

func TestCutoverIsRefusedWhileTooFarBehind(t *testing.T) {
	w := newWorld(t)
	w.fake.lag = 17 << 20
	var answer error
	w.when("FollowLag", 1, func() error {
		w.UpdateWorkflow(contract.SignalCutover, "", &testsuite.TestUpdateCallback{
			OnAccept: func() {}, OnReject: func(err error) { answer = err },
			OnComplete: func(_ any, err error) {
				answer = err
				w.SignalWorkflow(contract.SignalAbort, nil)
			}}, contract.Note{})
		return nil
	})
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	require.ErrorContains(t, answer, "cutover refused: the target is 17825792 bytes behind")
	require.Zero(t, w.fake.called("CutOff"))
}

func TestOrdersAreRefusedInTheWrongPhase(t *testing.T) {
	w := newWorld(t)
	answers := map[string]error{}
	w.when("CopyParts", 1, func() error {
		for _, name := range []string{contract.SignalApproveReboot, contract.SignalCutover, contract.SignalComplete, contract.SignalRollback, contract.SignalResume} {
			w.UpdateWorkflow(name, "", &testsuite.TestUpdateCallback{OnAccept: func() {}, OnReject: func(err error) { answers[name] = err },
				OnComplete: func(any, error) {}}, contract.Note{})
		}
		w.SignalWorkflow(contract.SignalCutover, nil)
		return nil
	})
	w.signalIn(t, contract.PhaseInSync, contract.SignalAbort, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	r := w.report(t)
	require.Len(t, answers, 5)
	require.ErrorContains(t, answers[contract.SignalCutover], "cutover refused: the migration is in phase copying")
	require.ErrorContains(t, answers[contract.SignalRollback], "cutover.reverse")
	require.Zero(t, w.fake.called("CutOff"), "a cutover signal that came too early does not wait for its hour")
	require.Equal(t, "refused", r.Problems[0].Code)
}

func TestAbortAfterTheSwitchIsRefused(t *testing.T) {
	w := newWorld(t)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.RegisterDelayedCallback(func() {}, time.Millisecond)
	var refused error
	w.when("CompareTouched", 1, func() error {
		w.UpdateWorkflow(contract.SignalAbort, "", &testsuite.TestUpdateCallback{OnAccept: func() {}, OnReject: func(err error) { refused = err },
			OnComplete: func(any, error) {}}, contract.Note{})
		return nil
	})
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "cutover": {"mode": "auto"}`))
	require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
	require.ErrorContains(t, refused, "abort refused")
}

func TestPreflightAlone(t *testing.T) {
	w := newWorld(t)
	w.fake.found = []contract.Problem{{Severity: contract.Fatal, Code: "target-not-empty", Object: "public.orders", Message: "the table holds rows"}}
	w.ExecuteWorkflow(workflows.Preflight, spec(""))
	require.NoError(t, w.GetWorkflowError())
	var found []contract.Problem
	require.NoError(t, w.GetWorkflowResult(&found))
	require.Equal(t, w.fake.found, found)
	require.Zero(t, w.fake.called("CreateLedger"))
}

func phases(times []contract.PhaseTime) []contract.Phase {
	var p []contract.Phase
	for _, t := range times {
		p = append(p, t.Phase)
	}
	return p
}

// requireOrder asserts that the words come in this order, with anything between.
func requireOrder(t *testing.T, calls []string, words ...string) {
	t.Helper()
	next := 0
	for _, c := range calls {
		if next < len(words) && c == words[next] {
			next++
		}
	}
	require.Equal(t, len(words), next, "missing or out of order from %q: %v", words[min(next, len(words)-1)], calls)
}

func requireFailure(t *testing.T, w *world, code, message string) {
	t.Helper()
	require.True(t, w.IsWorkflowCompleted())
	var app *temporal.ApplicationError
	require.True(t, errors.As(w.GetWorkflowError(), &app), "%v", w.GetWorkflowError())
	require.Equal(t, code, app.Type())
	require.ErrorContains(t, app, message)
	require.True(t, app.NonRetryable())
}
