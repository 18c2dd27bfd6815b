package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// kind groups activities that live alike.
type kind int

const (
	// probe is a check before anything was changed: a few attempts, then the person is told.
	probe kind = iota
	// quick ends within minutes.
	quick
	// poll waits for something outside, heartbeating.
	poll
	// bulk moves data for hours or days, heartbeating.
	bulk
	// stream runs until it is cancelled, heartbeating.
	stream
	// urgent is short and retried often.
	urgent
	// asked is urgent while a person waits for the answer.
	asked
	// downtime is urgent while the application waits: given up after maxStep, so that the fence is lifted again.
	downtime
	// comparison reads both sides while the application waits.
	comparison
)

// year is longer than any migration: the liveness of long activities is checked by their heartbeats.
const year = 365 * 24 * time.Hour

// maxStep bounds each step of a cutover but the comparison, and maxComparison that one.
const (
	maxStep       = time.Minute
	maxComparison = time.Hour
)

// maxAnswer bounds what is looked up for a person: an order must not be carried out hours after it was given.
const maxAnswer = 10 * time.Second

// spoolOwnerPatience is how long the end of a migration waits for the worker that keeps the spool.
const spoolOwnerPatience = 10 * time.Minute

// heartbeatTimeout is how long a worker may be silent before its long activities are given to another.
const heartbeatTimeout = 20 * time.Second

// options is the one table of activity options. Errors that cannot pass by themselves are non-retryable by their own
// making (activities/errors.go), so attempts are bounded only where a person waits for an answer.
func options(k kind, summary string) workflow.ActivityOptions {
	o := workflow.ActivityOptions{
		TaskQueue:           contract.TaskQueue,
		Summary:             summary,
		WaitForCancellation: true,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute},
	}
	switch k {
	case probe:
		o.StartToCloseTimeout = 15 * time.Minute // preflight dumps the schema: a very large one takes minutes
		o.HeartbeatTimeout = heartbeatTimeout
		o.RetryPolicy.MaximumAttempts = 3
	case quick:
		o.StartToCloseTimeout = 30 * time.Minute
		o.HeartbeatTimeout = heartbeatTimeout
		o.RetryPolicy.MaximumInterval = 15 * time.Second
	case poll:
		o.StartToCloseTimeout = year
		o.HeartbeatTimeout = heartbeatTimeout
		o.RetryPolicy.MaximumInterval = 15 * time.Second
	case bulk, stream:
		o.StartToCloseTimeout = year
		o.HeartbeatTimeout = heartbeatTimeout
		o.RetryPolicy.MaximumInterval = 10 * time.Second
	case comparison:
		o.StartToCloseTimeout = maxComparison
		o.ScheduleToCloseTimeout = maxComparison
		o.HeartbeatTimeout = heartbeatTimeout
	case urgent, asked, downtime:
		o.StartToCloseTimeout = 30 * time.Minute
		o.HeartbeatTimeout = heartbeatTimeout
		o.RetryPolicy.InitialInterval = 100 * time.Millisecond
		o.RetryPolicy.MaximumInterval = 2 * time.Second
		switch k {
		case asked:
			o.ScheduleToCloseTimeout = maxAnswer
		case downtime:
			o.ScheduleToCloseTimeout = maxStep
		}
	}
	return o
}

// on makes a context for one activity of kind k; summary is what the UI shows beside it.
func on(ctx workflow.Context, k kind, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, options(k, summary))
}

// onHost is on for activities that must run on the worker that owns the spool.
func onHost(ctx workflow.Context, k kind, hostID, summary string) workflow.Context {
	o := options(k, summary)
	o.TaskQueue = contract.HostQueue(hostID)
	return workflow.WithActivityOptions(ctx, o)
}
