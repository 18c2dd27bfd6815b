package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"timeferry/internal/contract"
	"timeferry/internal/temporalclient"
)

// withClient runs do with a connection to Temporal; a starter has nothing to log but errors. When do takes long and no worker
// is there to answer, it says so: the wait could be for ever.
func withClient(cmd *cobra.Command, do func(client.Client) error) error {
	c, err := temporalclient.Dial(slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return failed(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(cmd.Context())
	var telling sync.WaitGroup
	telling.Go(func() { tellOfMissingWorker(ctx, cmd.ErrOrStderr(), c) })
	defer telling.Wait()
	defer cancel()
	return do(c)
}

const (
	// workerPatience is how long a command may take before it is asked whether there is a worker at all.
	workerPatience = 3 * time.Second
	// workerSilence is how long ago a worker that runs can have asked for work: it asks at least once a minute.
	workerSilence = 75 * time.Second
)

const noWorker = "no worker asks for work on the task queue " + contract.TaskQueue + " of this namespace: start one (worker --data-dir DIR), with the same TEMPORAL_* variables"

// tellOfMissingWorker looks again and again until ctx ends, and says it once.
func tellOfMissingWorker(ctx context.Context, errOut io.Writer, c client.Client) {
	ticker := time.NewTicker(workerPatience)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if there, err := workerThere(ctx, c); err == nil && !there {
			fmt.Fprintf(errOut, "starter: waiting: %s\n", noWorker)
			return
		}
	}
}

// workerThere is true when a worker has asked for work lately.
func workerThere(ctx context.Context, c client.Client) (bool, error) {
	queue, err := c.DescribeTaskQueue(ctx, contract.TaskQueue, enums.TASK_QUEUE_TYPE_WORKFLOW)
	if err != nil {
		return false, err
	}
	for _, p := range queue.GetPollers() {
		if time.Since(p.GetLastAccessTime().AsTime()) < workerSilence {
			return true, nil
		}
	}
	return false, nil
}
