package rdsctl

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	smithy "github.com/aws/smithy-go"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
)

const statusRebooting = "rebooting"

// Reboot reboots the instance, the writer of the Aurora cluster, or the Multi-AZ cluster if it is pending-reboot, without
// failover, and waits until it has been seen available and in-sync. What is in-sync is left alone. Once notAfter is past no
// reboot is asked for any more, but one that was asked for before is waited for; zero is no limit.
func (c *Client) Reboot(ctx context.Context, id contract.RDS, notAfter time.Time, onProgress func(Instance)) (Instance, error) {
	r := reboot{watcher: c.watch(id, "reboot", onProgress), notAfter: notAfter}
	for {
		in, err := r.look(ctx)
		if err != nil {
			return in, err
		}
		done, message, err := r.step(ctx, in)
		if done || err != nil {
			return in, err
		}
		if err := r.wait(ctx, in, message); err != nil {
			return in, err
		}
	}
}

// reboot is one call of Reboot.
type reboot struct {
	*watcher
	notAfter time.Time
	asked    string // what RDS was told to reboot; another writer after a failover has to be asked for anew
	gone     bool   // it was seen not available since
	unseen   int    // looks since it was asked for, or since it came back, that show it pending-reboot
}

// step does what the state asks for; message is what is waited for then.
func (r *reboot) step(ctx context.Context, in Instance) (done bool, message string, err error) {
	asked := r.asked != "" && r.asked == in.rebooted()
	if in.Status != StatusAvailable {
		r.gone, r.unseen = r.asked != "", 0
		if r.asked == "" && in.Status != statusRebooting { // rebooting: a call that died may have asked for it
			err = r.checkWindow()
		}
		return false, "the " + in.noun() + " is " + in.Status, err
	}
	switch {
	case in.ApplyStatus == ApplyInSync:
		return r.settled() || asked && r.gone, "RDS shows the parameters as in force", nil
	case in.ApplyStatus != ApplyPendingReboot:
		return false, "RDS applies the parameter group", r.c.checkApplied(ctx, in, r.op)
	case !asked && !r.settled():
		// A reboot that was just asked for, or has just ended, may not show in a single look.
		return false, "a reboot is due", nil
	case !asked:
		message, err = r.ask(ctx, in)
		return false, message, err
	}
	if r.unseen++; r.unseen >= unseenLooks {
		return false, "", rebootWithoutEffect(in, r.gone)
	}
	// The status stays available for a moment after the request, and a lagging look shows pending-reboot after it.
	return false, "RDS begins the reboot", nil
}

func (r *reboot) ask(ctx context.Context, in Instance) (message string, err error) {
	if err := r.checkWindow(); err != nil {
		return "", err
	}
	if err := checkNothingPending(in, r.op); err != nil {
		return "", err
	}
	err = r.db.reboot(ctx, in)
	switch {
	case err == nil, ctx.Err() == nil && !answered(err): // RDS may have heard it: the looks that follow tell
		r.asked, r.gone, r.unseen, r.looks = in.rebooted(), false, 0, 1
		return "RDS begins the reboot", nil
	case failedInside(err): // it may be under way all the same: it is asked for again when several looks do not show it
		r.looks = 0
		return "RDS could not say whether it reboots the " + in.noun() + "; it is looked at", nil
	case hasCode(err, busyCodes...):
		// A backup is running, or an earlier request of ours is under way.
		return "RDS cannot reboot the " + in.noun() + " now; it is asked again", nil
	}
	return "", r.c.explain(ctx, err, r.op, in.ID)
}

// once keeps the SDK from sending a request again of which nobody knows whether it was heard, or has taken effect: by then the reboot
// that it asked for may be over, and another one would follow.
func once(o *rds.Options) { o.Retryer = answeredOnly{o.Retryer} }

type answeredOnly struct{ aws.Retryer }

func (r answeredOnly) IsErrorRetryable(err error) bool {
	return answered(err) && !failedInside(err) && r.Retryer.IsErrorRetryable(err)
}

// answered is true for an error that AWS has sent.
func answered(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api)
}

func (r *reboot) checkWindow() error {
	if r.notAfter.IsZero() || time.Now().Before(r.notAfter) {
		return nil
	}
	return fault.New(fault.Operator, r.op, r.id, "resume to wait for the next time, or allow the reboot at another time",
		"the time in which it may be rebooted ended at %s, and RDS could not begin before", r.notAfter.UTC().Format(time.RFC3339)).WithCode(CodeWindowClosed)
}

// rebootWithoutEffect tells a reboot that never began, which may be asked for again, from one that changed nothing.
func rebootWithoutEffect(in Instance, rebooted bool) error {
	if !rebooted {
		return fault.New(fault.NotReady, "reboot", in.ID, "it is asked for again", "RDS took the request but has not begun")
	}
	return fault.New(fault.Operator, "reboot", in.ID, "see the events of the "+in.noun()+"; a failover reboot does not apply static parameters",
		"parameter group %s is still pending-reboot after the reboot", in.ParameterGroup).WithCode(CodeStillPending)
}
