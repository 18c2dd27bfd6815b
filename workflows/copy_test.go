package workflows_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

// A new epoch makes parts free again: also the streams that found none before take part, and orders are obeyed.
func TestANewEpochBeginsAllStreamsAgain(t *testing.T) {
	w := newWorld(t)
	c := newCopier(w, 100)
	var order sync.WaitGroup
	c.atPart[0] = func() { // who is at the last part is alone, as the source comes back
		eventually(t, "the others have ended", func() bool { return c.streams() == 1 })
		c.mu.Lock()
		c.left, c.most, c.atPart[0] = 2000, 1, nil
		c.mu.Unlock()
		w.SignalWorkflow(contract.SignalSnapshot, contract.SnapshotHeld{Epoch: 3, Slot: "timeferry_shop", ConsistentPoint: 2})
		order.Go(func() {
			eventually(t, "four streams", func() bool { return c.streams() == 4 })
			w.SignalWorkflow(contract.SignalSetConcurrency, contract.Note{Copy: 6})
		})
	}
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(auto))
	require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
	order.Wait()
	require.Zero(t, c.remaining())
	require.Equal(t, 6, c.most)
}

// A stream's word that no part is free may come only after the epoch that made some free.
func TestNothingFreeOfAnEarlierEpochDoesNotCount(t *testing.T) {
	w := newWorld(t)
	c := newCopier(w, 0)
	calls := 0
	w.fake.stream = func(ctx context.Context, in contract.CopyInput) (contract.CopyResult, error) {
		if calls++; calls > 1 {
			return c.stream(ctx, in)
		}
		c.left = 20
		w.SignalWorkflow(contract.SignalSnapshot, contract.SnapshotHeld{Epoch: 3, Slot: "timeferry_shop", ConsistentPoint: 2})
		return contract.CopyResult{}, nil
	}
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "copy": {"concurrency": 1}, "cutover": {"mode": "auto"}`))
	require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
	require.Zero(t, c.remaining())
}
