package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

// offer is what a stream of the copy does on a second worker.
func (w *world) offer() {
	w.SignalWorkflow(contract.SignalSecondWorker, contract.SecondWorker{HostID: "h2"})
}

func (w *world) abortInSync(t *testing.T) contract.Report {
	t.Helper()
	w.signalIn(t, contract.PhaseInSync, contract.SignalAbort, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	r := w.report(t)
	require.Equal(t, contract.PhaseAborted, r.Outcome)
	return r
}

func TestOneWorkerHoldsTheSnapshotAlone(t *testing.T) {
	w := newWorld(t)
	w.abortInSync(t)
	require.Zero(t, w.fake.called("HoldSnapshotCopy"))
}

// However often they offer themselves, one more worker holds the snapshot, and only as long as the copy lasts.
func TestASecondWorkerHoldsTheSnapshotToo(t *testing.T) {
	w := newWorld(t)
	held := make(chan struct{})
	w.when("HoldSnapshotCopy", 1, func() error { close(held); return nil })
	w.fake.before["CopyParts"] = func(int) error {
		w.offer()
		<-held
		return nil
	}
	w.when("RestorePostData", 1, func() error { w.offer(); return nil }) // too late to be of use
	r := w.abortInSync(t)
	require.Empty(t, r.Problems)
	require.Equal(t, 1, w.fake.called("HoldSnapshotCopy"))
}

// Without it the copy goes on all the same, and the next offer is taken.
func TestACopyOfTheSnapshotThatFailsHindersNothing(t *testing.T) {
	w := newWorld(t)
	second := make(chan struct{})
	w.fake.before["HoldSnapshotCopy"] = func(call int) error {
		if call == 1 {
			w.offer()
			return refusal("privilege", "role u")
		}
		close(second)
		return nil
	}
	w.when("CopyParts", 1, func() error {
		w.offer()
		for {
			select {
			case <-second:
				return nil
			default:
				w.offer() // as streams do that begin after the failure
				time.Sleep(10 * time.Millisecond)
			}
		}
	})
	require.Empty(t, w.abortInSync(t).Problems)
	require.Equal(t, 2, w.fake.called("HoldSnapshotCopy"))
}

func TestANewEpochIsAskedForAfterTheOldOne(t *testing.T) {
	w := newWorld(t)
	w.when("CopyParts", 1, func() error { return refusal("table-rewritten", "public.t") })
	w.abortInSync(t)
	require.Equal(t, []int{0, 2}, w.fake.after, "the first epoch of the fake is 2")
}

// An activity learns late that it is to end: what follows the copy goes on meanwhile.
func TestNothingWaitsForTheSnapshotToBeLetGo(t *testing.T) {
	w := newWorld(t)
	w.fake.lettingGo = func() {
		eventually(t, "the indexes come before the snapshot is gone", func() bool { return w.fake.called("RestorePostData") > 0 })
	}
	w.abortInSync(t)
}
