package activities

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/activity"

	"timeferry/internal/config"
	"timeferry/internal/contract"
	"timeferry/internal/cutover"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/redirect"
	"timeferry/internal/source/rdsctl"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/provision"
)

// answerMargin is left of an activity's time for its answer.
const answerMargin = 2 * time.Second

// HandOver lets the application write to the target.
//
//	Does: makes on the target what must not be there while changes are applied (triggers that fire in every session, and the
//	like), in one transaction that commits only if the fence could be sealed, by which it is certain that it was up all the
//	time and will stay; then does cutover.switch.
//	Safe to repeat because: entries are marked, sealing twice is sealing once, and so is switching.
//	Heartbeats: nothing of its own.
//	Undone by: TakeBack, if the application certainly was not switched.
func (a *Activities) HandOver(ctx context.Context, input contract.HandOverInput) (out contract.HandOverResult, err error) {
	spec, watch := input.Spec, newStopwatch()
	info := activity.GetInfo(ctx)
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		err := a.withBoth(ctx, spec, purposeHandOver+spec.Name, func(source, target *pgx.Conn) error {
			if err := dismissCutOff(ctx, target, spec); err != nil {
				return err
			}
			return watch.time("triggers", func() (err error) {
				out.Problems, err = provision.AtCutoverIf(ctx, target, func() error {
					if spec.Cutover.Fence == "none" {
						return nil
					}
					return watch.time("seal", func() error { return cutover.Seal(ctx, source, attemptOf(spec, input.Attempt), input.Token) })
				})
				return err
			})
		})
		if err != nil || spec.Cutover.Switch == nil {
			return err
		}
		return watch.time("switch", func() error {
			switching, cancel := context.WithDeadline(ctx, info.Deadline.Add(-answerMargin))
			defer cancel()
			done, err := a.redirector(spec, input.Attempt).Switch(switching, info.Attempt > 1)
			out.Switch, out.Previous = done.Words, done.Previous
			return err
		})
	})
	out.Steps = watch.steps()
	return out, err
}

// dismissCutOff ends what could still change the target behind the application's back.
func dismissCutOff(ctx context.Context, target *pgx.Conn, spec contract.Spec) error {
	for _, suffix := range []string{"", " 2"} {
		if err := dismissOnTarget(ctx, target, spec, suffix); err != nil {
			return err
		}
	}
	return nil
}

// TakeBack opens the source for writes again, unless the application may be on the target.
//
//	Does: ends the attempt's sessions, lowers its fence, lets held clients go on. A sealed fence is lowered only if it is
//	certain that nobody was switched: from what HandOver said, or from what the switch can be asked.
//	Safe to repeat because: what is lowered stays so, and a later attempt's fence is left alone.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) TakeBack(ctx context.Context, input contract.TakeBackInput) (out contract.TakeBackResult, err error) {
	spec := input.Spec
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		r := a.redirector(spec, input.Attempt)
		err := a.withSource(ctx, spec, "takeback "+spec.Name, func(source *pgx.Conn) error {
			attempt := attemptOf(spec, input.Attempt)
			if spec.Cutover.Fence == "none" {
				return nil
			}
			sealed, err := cutover.TakeBack(ctx, source, attempt, input.Refused)
			if err != nil || !sealed {
				return err
			}
			out.HandedOver = true
			if r == nil || spec.IsBack() { // the other side may be open, and is opened in any case
				return nil
			}
			switched, certain := settle(ctx, r)
			out.Switched = switched
			if !certain || switched {
				return nil
			}
			if _, err = cutover.TakeBack(ctx, source, attempt, true); err == nil {
				out.HandedOver = false
			}
			return err
		})
		if err != nil || out.HandedOver {
			return err
		}
		if !spec.IsBack() {
			out.Restored = a.countRestored(ctx, spec)
		}
		if r != nil {
			out.Problems = release(ctx, r)
		}
		return nil
	})
	return out, err
}

// release lets held clients go on. A switch that cannot be reached must not keep the migration from going on.
func release(ctx context.Context, r redirect.Redirector) []contract.Problem {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	for {
		err := r.Release(ctx)
		if err == nil {
			return nil
		}
		if pgkit.Sleep(ctx, time.Second) != nil {
			return []contract.Problem{{Severity: contract.Warning, Code: "clients-held", Object: "cutover",
				Message: "the source is open again, but clients may be waiting still: " + err.Error(), Remedy: "RESUME the database on PgBouncer's console"}}
		}
	}
}

// settlePatience is how long the switch is asked what became of it.
const settlePatience = 10 * time.Second

// settle is certain when the switch itself says where the application is.
func settle(ctx context.Context, r redirect.Redirector) (switched, certain bool) {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	switched, err := r.Settle(ctx)
	return switched, err == nil
}

// countPatience bounds a look at the target, while the source waits to be written to no more.
const countPatience = 5 * time.Second

// unknownCount stands for a target that cannot be asked.
const unknownCount = -1

// countRestored counts what HandOver has made on the target that must not be there while changes are applied.
func (a *Activities) countRestored(ctx context.Context, spec contract.Spec) int {
	ctx, cancel := context.WithTimeout(ctx, countPatience)
	defer cancel()
	n := unknownCount
	err := a.withTarget(ctx, spec, "takeback", func(target *pgx.Conn) error {
		replica, err := pgkit.CanSetReplicationRole(ctx, target)
		if err != nil {
			return err
		}
		n, err = ledger.CountRestoredAtCutover(ctx, target, replica)
		return err
	})
	if err != nil {
		return unknownCount
	}
	return n
}

// redirector is what cutover.switch asks for, or nil.
func (a *Activities) redirector(spec contract.Spec, attempt int) redirect.Redirector {
	s := spec.Cutover.Switch
	if s == nil {
		return nil
	}
	o := redirect.Options{Switch: *s, Target: spec.SwitchTarget(), Migration: spec.Migration(), Back: spec.IsBack(), Attempt: attempt}
	switch {
	case s.PgBouncer != nil:
		admin, err := config.ResolveLazily(s.PgBouncer.Admin, lazySecrets{a, spec})
		if err != nil { // it shows when the password is asked for
			admin.PasswordFunc = func(context.Context) (string, error) { return "", err }
		}
		o.Admin = admin
	case s.Secret != nil:
		o.Secrets = lazyVault{a, s.Secret.ARN}
	case s.HTTP != nil:
		o.Key = func(ctx context.Context) (string, error) {
			return config.ReadSecret(ctx, s.HTTP.Key, lazySecrets{a, spec})
		}
	}
	return redirect.Open(o)
}

// lazyVault reaches for AWS, in the secret's own region, only when the secret is asked for.
type lazyVault struct {
	a   *Activities
	arn string
}

func (v lazyVault) open(ctx context.Context) (*rdsctl.Client, error) {
	region := ""
	if parts := strings.Split(v.arn, ":"); len(parts) > 3 && parts[0] == "arn" {
		region = parts[3]
	}
	c, err := rdsctl.Open(ctx, rdsctl.Options{Region: region, PollInterval: v.a.AWSPoll, MaxBackoff: v.a.AWSMaxBackoff})
	if err != nil && fault.Classify(err) == fault.Unknown {
		return nil, &fault.Error{Class: fault.Operator, Op: "reach", Subject: v.arn, Err: err}
	}
	return c, err
}

func (v lazyVault) SecretVersion(ctx context.Context, arn string) (text, version string, err error) {
	c, err := v.open(ctx)
	if err != nil {
		return "", "", err
	}
	return c.SecretVersion(ctx, arn)
}

func (v lazyVault) PutSecret(ctx context.Context, arn, text, token string) (version string, err error) {
	c, err := v.open(ctx)
	if err != nil {
		return "", err
	}
	return c.PutSecret(ctx, arn, text, token)
}
