package redirect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
)

// Redirector leads clients. Its methods are called in this order, each perhaps several times and by several processes.
type Redirector interface {
	// Check says why a switch would not work, as far as that can be known. It changes nothing.
	Check(ctx context.Context) error
	// Hold lets clients wait, where that is possible, and gives them a moment to end what they have begun.
	Hold(ctx context.Context) error
	// Switch leads clients to the target. It tries until ctx ends. again: an earlier call may have done so.
	Switch(ctx context.Context, again bool) (Done, error)
	// Settle looks what became of a Switch whose process is gone, and ends it one way or the other. An error leaves that open.
	Settle(ctx context.Context) (switched bool, err error)
	// Release lets clients that Hold made wait go on where they were.
	Release(ctx context.Context) error
}

// Done is what a switch did.
type Done struct {
	Words    string // for people
	Previous string // where clients went before, without secrets
}

// Options of Open.
type Options struct {
	Switch    contract.Switch
	Target    contract.Address
	Migration string
	Attempt   int
	// Back: the application is led back to the source, which Target is then.
	Back bool
	// Admin is PgBouncer's console; only for pgbouncer.
	Admin pgkit.Endpoint
	// Secrets is only for secret.
	Secrets Secrets
	// Key gives the key that signs calls; only for http.
	Key func(context.Context) (string, error)
}

// to is where the application is led, in words.
func (o Options) to() string {
	if o.Back {
		return "the source"
	}
	return "the target"
}

// Open makes the one that the spec asks for.
func Open(o Options) Redirector {
	switch {
	case o.Switch.PgBouncer != nil:
		return &bouncer{Options: o, PgBouncerSwitch: *o.Switch.PgBouncer}
	case o.Switch.Secret != nil:
		return &secret{Options: o, SecretSwitch: *o.Switch.Secret}
	default:
		return &call{Options: o, HTTPSwitch: *o.Switch.HTTP}
	}
}

// retryPause is between two tries of a step while the application waits.
const retryPause = 200 * time.Millisecond

// refused is an error after which the application certainly is where it was.
func refused(subject, hint, format string, args ...any) error {
	return fault.New(fault.Operator, "switch the application by", subject, hint, format, args...).WithCode(contract.CodeSwitchRefused)
}

// unknown is an error after which the application may be on the target.
func unknown(subject string, err error) error {
	return fault.New(fault.Operator, "switch the application by", subject, "look where it is; if it is not on the target, lead it there by hand",
		"it may be switched or not: %w", err).WithCode(contract.CodeSwitchUnknown)
}

// IsRefused tells an error after which the application certainly is where it was.
func IsRefused(err error) bool {
	var f *fault.Error
	return errors.As(err, &f) && f.Code == contract.CodeSwitchRefused
}

// ended is why ctx ended, beside the last failure, which says more.
func ended(ctx context.Context, last error) error {
	if last == nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w (%w)", last, ctx.Err())
}
