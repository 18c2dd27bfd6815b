package workflows_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

const securityGroup = `, "prepare": {"reboot": "auto", "securityGroup": "sg-1"}, "cutover": {"mode": "auto", "fence": "none", "verify": "none"}`

func TestTheWayInIsClosedAtTheEnd(t *testing.T) {
	w := newWorld(t)
	w.fake.rule = contract.IngressRule{ID: "sgr-1", CIDR: "10.0.0.5/32", Ours: true}
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, spec(securityGroup))
	r := w.report(t)
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	require.Empty(t, r.Source.IngressRule)
	requireOrder(t, w.fake.calls, "Inspect", "OpenIngress", "PlanParameters", "Preflight", "CleanSource", "CloseIngress sgr-1")
}

func TestARuleThatWasThereStays(t *testing.T) {
	w := newWorld(t)
	w.fake.rule = contract.IngressRule{ID: "sgr-1", CIDR: "10.0.0.5/32"}
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, spec(securityGroup))
	w.report(t)
	require.NotContains(t, w.fake.calls, "CloseIngress sgr-1")
}

func TestTheWayInIsClosedWhenPreflightRefuses(t *testing.T) {
	w := newWorld(t)
	w.fake.rule = contract.IngressRule{ID: "sgr-1", Ours: true}
	w.fake.found = []contract.Problem{{Severity: contract.Fatal, Code: "target-not-empty", Object: "public.t", Message: "it has rows"}}
	w.ExecuteWorkflow(workflows.LiveMigration, spec(securityGroup))
	require.ErrorContains(t, w.GetWorkflowError(), "it has rows")
	requireOrder(t, w.fake.calls, "OpenIngress", "Preflight", "CloseIngress sgr-1")
}

// The rule's id is unknown when the worker dies between making it and telling: what carries the migration's name is revoked.
func TestAnOpeningThatFailedIsClosedByName(t *testing.T) {
	w := newWorld(t)
	w.fake.before["OpenIngress"] = func(int) error {
		return temporal.NewNonRetryableApplicationError("no right", "aws-access-denied", nil)
	}
	w.ExecuteWorkflow(workflows.LiveMigration, spec(securityGroup))
	require.ErrorContains(t, w.GetWorkflowError(), "no right")
	requireOrder(t, w.fake.calls, "OpenIngress", "CloseIngress ")
}

// The rule is closed last, since without it the source may be out of reach; while it is there the migration does not end.
func TestAWayInThatCannotBeClosedKeepsTheMigration(t *testing.T) {
	w := newWorld(t)
	w.fake.rule, w.fake.openRules = contract.IngressRule{ID: "sgr-1", Ours: true}, 1
	w.fake.before["CloseIngress sgr-1"] = func(int) error {
		return temporal.NewNonRetryableApplicationError("no right", "aws-access-denied", nil)
	}
	var seen contract.Status
	w.when("FindRules", 1, func() error {
		w.RegisterDelayedCallback(func() {
			seen = w.status(t)
			w.SignalWorkflow(contract.SignalResume, nil)
		}, time.Second)
		return nil
	})
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, spec(securityGroup))
	r := w.report(t)
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	require.Equal(t, []string{contract.SignalResume}, seen.Awaiting)
	require.Contains(t, seen.Message, "rule of sg-1")
	requireOrder(t, w.fake.calls, "CleanSource", "FindLeftovers", "FindFiles", "CloseIngress sgr-1", "FindRules", "CloseIngress ", "FindRules")
	require.Equal(t, 1, w.fake.called("CleanSource"), "the source may be out of reach by then")
	require.NotContains(t, strings.Join(r.Left, "\n"), "sg-1", "it was closed")
	require.Empty(t, r.Problems)
	require.Equal(t, []string{"rules", "everything", "files"}, r.Leftovers.Sought)
}

func TestPreflightAloneOpensNothing(t *testing.T) {
	w := newWorld(t)
	w.fake.before["PlanParameters"] = func(int) error {
		return temporal.NewNonRetryableApplicationError("no answer from shop.example:5432", "unreachable", nil)
	}
	w.ExecuteWorkflow(workflows.Preflight, spec(securityGroup))
	require.NoError(t, w.GetWorkflowError())
	var found []contract.Problem
	require.NoError(t, w.GetWorkflowResult(&found))
	require.Len(t, found, 1)
	require.Contains(t, found[0].Remedy, "a start does")
	require.Zero(t, w.fake.called("OpenIngress"))
}

const windowed = `, "prepare": {"reboot": "auto", "window": "Sun 03:00-04:00 UTC"}, "cutover": {"mode": "auto", "fence": "none", "verify": "none"}`

// opensIn gives a window that opens after d, by the workflow's clock, and lasts an hour.
func (w *world) opensIn(d time.Duration) {
	opens := w.Now().Add(d)
	w.fake.window = func() contract.RebootWindow {
		return contract.RebootWindow{Open: !opens.After(w.Now()), Opens: opens, Closes: opens.Add(time.Hour)}
	}
}

// completeAfterTheSwitch does what signalIn would do, without looking every few milliseconds of days that the clock skips.
func (w *world) completeAfterTheSwitch() { w.signalAt("FinishSchema", 2, contract.SignalComplete, nil) }

func TestTheRebootWaitsForItsWindow(t *testing.T) {
	w := newWorld(t)
	w.opensIn(50 * time.Hour)
	began := w.Now()
	w.RegisterDelayedCallback(func() {
		s := w.status(t)
		require.Equal(t, contract.PhaseAwaitingReboot, s.Phase)
		require.Contains(t, s.Message, "it waits for the window Sun 03:00-04:00 UTC, which opens "+began.Add(50*time.Hour).Format("Mon 2006-01-02 15:04"))
		require.Contains(t, s.Awaiting, contract.SignalApproveReboot)
		require.Zero(t, w.fake.called("RebootSource"))
	}, 49*time.Hour)
	w.completeAfterTheSwitch()
	w.ExecuteWorkflow(workflows.LiveMigration, spec(windowed))
	w.report(t)
	require.Equal(t, 1, w.fake.called("RebootSource"))
	require.Equal(t, 2, w.fake.called("PlanWindow"))
	require.WithinDuration(t, began.Add(51*time.Hour), *w.fake.notAfter[0], time.Second)
}

func TestApprovalComesBeforeTheWindow(t *testing.T) {
	w := newWorld(t)
	w.opensIn(50 * time.Hour)
	w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalApproveReboot, nil) }, time.Hour)
	w.completeAfterTheSwitch()
	w.ExecuteWorkflow(workflows.LiveMigration, spec(windowed))
	w.report(t)
	require.Equal(t, 1, w.fake.called("RebootSource"))
	require.Nil(t, w.fake.notAfter[0], "a person's word holds at any time")
}

func TestAWindowThatClosedIsWaitedForAgain(t *testing.T) {
	w := newWorld(t)
	w.opensIn(0)
	w.when("RebootSource", 1, func() error {
		w.opensIn(7 * 24 * time.Hour)
		return temporal.NewNonRetryableApplicationError("the window closed", "window-closed", nil)
	})
	w.completeAfterTheSwitch()
	w.ExecuteWorkflow(workflows.LiveMigration, spec(windowed))
	r := w.report(t)
	require.Equal(t, 2, w.fake.called("RebootSource"))
	require.Equal(t, 3, w.fake.called("PlanWindow"))
	require.True(t, r.Source.Rebooted)
	for _, p := range r.Problems {
		require.NotEqual(t, "window-closed", p.Code, "it is no problem of anybody's")
	}
}

func TestTheGateIsWatched(t *testing.T) {
	w := newWorld(t)
	w.signalAt("WatchSource", 1, contract.SignalApproveReboot, nil)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, spec(`, "cutover": {"mode": "auto", "fence": "none", "verify": "none"}`))
	w.report(t)
	requireOrder(t, w.fake.calls, "WatchSource", "RebootSource")
}
