package activities_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
)

// A worker that is stopped gives the snapshot up, and the workflow must not hear that this was in order: nobody would hold it from then on.
func TestStoppedHolderIsNotDone(t *testing.T) {
	w := newCopyWorld(t, 1)
	w.a.HostID = "south"
	stop := make(chan struct{})
	w.env.SetWorkerStopChannel(stop)
	held := func() bool {
		return w.dst.QueryValue(t, "SELECT count(*) FROM timeferry.snapshots WHERE host = 'south'") == "1"
	}
	done := make(chan error, 1)
	go func() {
		_, err := w.env.ExecuteActivity(w.a.HoldSnapshotCopy, w.spec)
		done <- err
	}()
	require.Eventually(t, held, time.Minute, 20*time.Millisecond)
	close(stop)
	var stopped *temporal.ApplicationError
	err := <-done
	require.True(t, errors.As(err, &stopped), "%v", err)
	require.Equal(t, "worker-stopping", stopped.Type())
	require.False(t, stopped.NonRetryable())
}
