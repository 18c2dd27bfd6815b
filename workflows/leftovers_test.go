package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

// While something is left the migration does not end: each thing is a problem, and resume cleans and looks again.
func TestAMigrationEndsOnlyWhenNothingIsLeft(t *testing.T) {
	for _, c := range []struct {
		name    string
		end     func(*world, *testing.T)
		clean   string
		outcome contract.Phase
	}{
		{"complete", func(w *world, t *testing.T) {
			w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
			w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
		}, "CleanLedger", contract.PhaseCompleted},
		{"abort", func(w *world, t *testing.T) { w.signalIn(t, contract.PhaseInSync, contract.SignalAbort, nil) }, "CleanTarget", contract.PhaseAborted},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			slot := contract.Leftover{Thing: "slot timeferry_shop on the source", Remedy: "drop it"}
			w.fake.leftovers = []contract.Leftover{slot}
			c.end(w, t)
			var seen contract.Status
			w.when("FindFiles", 1, func() error {
				w.RegisterDelayedCallback(func() {
					seen = w.status(t)
					w.fake.mu.Lock()
					w.fake.leftovers = nil
					w.fake.mu.Unlock()
					w.SignalWorkflow(contract.SignalResume, contract.Note{By: "bob"})
				}, time.Second)
				return nil
			})
			w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
			r := w.report(t)
			require.Equal(t, []string{contract.SignalResume}, seen.Awaiting)
			require.Equal(t, []contract.Problem{{Severity: contract.Warning, Code: contract.CodeLeftover, Object: slot.Thing, Message: "it is still there after everything was undone", Remedy: "drop it"},
				{Severity: contract.Fatal, Code: contract.CodeLeftover, Object: "cleanup", Message: "not everything is removed: slot timeferry_shop on the source",
					Remedy: "remove them, or what keeps them from being removed, then resume: it is cleaned and looked for again"}}, seen.Problems)
			require.Equal(t, c.outcome, r.Outcome)
			require.Empty(t, r.Problems)
			require.Equal(t, &contract.Leftovers{Sought: []string{"everything", "files"}}, r.Leftovers)
			for _, again := range []string{"CleanSource", c.clean, "RemoveSpool", "FindLeftovers"} {
				require.Equal(t, 2, w.fake.called(again), again)
			}
			require.Equal(t, c.outcome == contract.PhaseCompleted, w.fake.sought[0].FenceStays, "the application is on the target")
			require.Len(t, w.fake.sought[0].Identities, 1, "the one that was changed")
			require.Len(t, r.History, 2)
			for _, p := range r.History {
				require.NotNil(t, p.Ended, "over: %+v", p)
			}
		})
	}
}
