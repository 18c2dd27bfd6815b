package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

// The copy ends, and with it the snapshot, while indexes are still built; what comes after the indexes waits for them.
func TestIndexesAreBuiltBesideTheCopy(t *testing.T) {
	w := newWorld(t)
	began, release := make(chan struct{}), make(chan struct{})
	w.when("BuildIndexes", 1, func() error {
		close(began)
		<-release
		return nil
	})
	w.fake.before["CopyParts"] = func(int) error { <-began; return nil }
	var waiting contract.Status
	restored := -1
	var look func()
	look = func() {
		if waiting = w.status(t); waiting.Phase != contract.PhaseIndexing {
			w.RegisterDelayedCallback(look, 10*time.Millisecond)
			return
		}
		w.RegisterDelayedCallback(func() {
			restored = w.fake.called("RestorePostData")
			close(release)
		}, 100*time.Millisecond)
	}
	w.RegisterDelayedCallback(look, 10*time.Millisecond)
	r := w.abortInSync(t)
	require.Empty(t, r.Problems)
	require.Equal(t, 2, waiting.Copy.PartsDone)
	require.Zero(t, restored)
	require.Equal(t, 1, w.fake.called("RestorePostData"))
	requireOrder(t, w.fake.calls, "BuildIndexes", "RestorePostData")
	require.Equal(t, 4, r.Copy.IndexesDone, "the last one by RestorePostData")
}

// The copy goes on meanwhile, and the person who resumes has it tried again.
func TestAnIndexThatCannotBeBuiltWaitsForResume(t *testing.T) {
	w := newWorld(t)
	w.when("BuildIndexes", 1, func() error { return refusal("restore-failed", "INDEX public.x") })
	var stopped contract.Status
	var look func()
	look = func() {
		if stopped = w.status(t); stopped.Phase != contract.PhaseIndexing {
			w.RegisterDelayedCallback(look, 10*time.Millisecond)
			return
		}
		w.SignalWorkflow(contract.SignalResume, nil)
	}
	w.RegisterDelayedCallback(look, 10*time.Millisecond)
	w.signalIn(t, contract.PhaseInSync, contract.SignalAbort, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	require.Len(t, stopped.Problems, 1)
	require.Equal(t, "INDEX public.x", stopped.Problems[0].Object)
	require.Contains(t, stopped.Awaiting, contract.SignalResume)
	require.Equal(t, 2, w.fake.called("BuildIndexes"))
	require.Equal(t, 1, w.fake.called("RestorePostData"))
}

func TestAbortEndsTheBuildingOfIndexes(t *testing.T) {
	w := newWorld(t)
	began := make(chan struct{})
	w.when("CopyParts", 1, func() error {
		<-began
		w.SignalWorkflow(contract.SignalAbort, nil)
		return nil
	})
	w.fake.building = func() { close(began) }
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	require.Zero(t, w.fake.called("RestorePostData"))
	require.Equal(t, 1, w.fake.called("BuildIndexes"))
}
