package activities

import (
	"context"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
)

// heartbeatEvery is how often a long activity beats. The worker's MaxHeartbeatThrottleInterval lets beats through at about
// the same pace, so that status and cancellation follow within seconds.
const heartbeatEvery = time.Second

// live runs a long piece of work: it heartbeats the last Beat that do reported, and cancels do's context when the activity
// is cancelled or the worker is being stopped. The result is do's error, translated.
func (a *Activities) live(ctx context.Context, do func(ctx context.Context, report func(contract.Beat)) error) error {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var last contract.Beat
	waiting := "" // for a login that a rotation keeps out for the moment
	info := activity.GetInfo(ctx)
	migration := strings.TrimPrefix(info.WorkflowExecution.ID, contract.WorkflowID(""))
	report := func(b contract.Beat) {
		a.Metrics.Record(migration, info.ActivityType.Name, b)
		mu.Lock()
		defer mu.Unlock()
		last = b
	}
	work = pgkit.WithWaiting(work, func(message string) {
		mu.Lock()
		defer mu.Unlock()
		waiting = message
	})
	finished := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		ticker := time.NewTicker(heartbeatEvery)
		defer ticker.Stop()
		stop := activity.GetWorkerStopChannel(ctx)
		for {
			mu.Lock()
			beat := last
			if waiting != "" {
				beat.Message = waiting
			}
			mu.Unlock()
			activity.RecordHeartbeat(ctx, beat)
			select {
			case <-finished:
				return
			case <-stop:
				cancel(errWorkerStopping)
				return
			case <-ticker.C:
			}
		}
	})
	err := func() error {
		defer beating.Wait() // also when do panics: the SDK reports that, and the beats would go on for ever
		defer close(finished)
		return do(work, report)
	}()
	return translate(work, err)
}
