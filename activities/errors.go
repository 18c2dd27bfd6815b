package activities

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"timeferry/internal/bulk"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
)

// maxUnknownAttempts bounds the retries of an error that no rule recognises: it may be a passing one, or ours.
const (
	maxUnknownAttempts = 8
	soonAfterStart     = time.Minute
)

// errWorkerStopping ends an activity on a worker that is being stopped; it goes on at once on the next one.
var errWorkerStopping = errors.New("the worker is stopping")

// translate makes err what Temporal's retry policy understands: the fault's code (or else its class) is the error's type,
// and only what may pass by itself is retried. The details hold a contract.Problem for people.
func translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(context.Cause(ctx), errWorkerStopping) {
		return temporal.NewApplicationErrorWithOptions(errWorkerStopping.Error(), "worker-stopping",
			temporal.ApplicationErrorOptions{NextRetryDelay: time.Second, Category: temporal.ApplicationErrorCategoryBenign})
	}
	if ctx.Err() != nil {
		return temporal.NewCanceledError()
	}
	class := fault.Classify(err)
	options := temporal.ApplicationErrorOptions{Details: []any{problemOf(class, err)}}
	switch class {
	case fault.Operator, fault.Integrity, fault.Bug:
		options.NonRetryable = true
	case fault.NotReady:
		options.NextRetryDelay = 5 * time.Second
		options.Category = temporal.ApplicationErrorCategoryBenign
	case fault.Transient:
		// The copy cannot mend it by trying again: the workflow takes a new snapshot.
		options.NonRetryable = typeOf(class, err) == bulk.CodeTableRewritten
	default:
		// A stream's attempts count over weeks of restarts: only those that fail soon after their start speak against it.
		info := activity.GetInfo(ctx)
		options.NonRetryable = info.Attempt >= maxUnknownAttempts && time.Since(info.StartedTime) < soonAfterStart
	}
	return temporal.NewApplicationErrorWithOptions(err.Error(), typeOf(class, err), options)
}

func typeOf(class fault.Class, err error) string {
	var own *fault.Error
	for rest := err; errors.As(rest, &own); rest = own.Err {
		if own.Code != "" {
			return own.Code
		}
	}
	return string(class)
}

func problemOf(class fault.Class, err error) contract.Problem {
	p := contract.Problem{Severity: contract.Fatal, Code: typeOf(class, err), Message: err.Error(), Remedy: fault.HintOf(err)}
	var own *fault.Error
	if errors.As(err, &own) {
		p.Object = own.Subject
	}
	return p
}
