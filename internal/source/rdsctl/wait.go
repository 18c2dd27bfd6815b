package rdsctl

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"

	"timeferry/internal/fault"
)

// stuckStatuses are the statuses that do not end by themselves, with what a person has to do.
var stuckStatuses = map[string]string{
	"incompatible-parameters":             "a value in the parameter group keeps PostgreSQL from starting: correct or reset it (the instance's events name it), then reboot the instance",
	"incompatible-network":                "give the instance's subnet group free addresses and working subnets again",
	"incompatible-option-group":           "correct the instance's option group",
	"incompatible-restore":                "the instance could not be restored; see its events",
	"incompatible-create":                 "the instance could not be created; see its events",
	"incompatible-credentials":            "set the credentials of the instance's domain join again; see its events",
	"insufficient-capacity":               "choose another instance class or wait until AWS has capacity",
	"restore-error":                       "the instance could not be restored; see its events",
	"storage-full":                        "enlarge the instance's storage (ModifyDBInstance AllocatedStorage, apply immediately), wait until it is available, then resume",
	"failed":                              "the instance has failed; restore it from a snapshot or ask AWS",
	"deleting":                            "the instance is being deleted",
	"stopped":                             "start the instance, then resume",
	"stopping":                            "start the instance once it has stopped, then resume",
	"inaccessible-encryption-credentials": "give RDS access to the KMS key again, then restore the instance",
	"inaccessible-encryption-credentials-recoverable": "give RDS access to the KMS key again and start the instance, then resume",
}

// checkNotStuck gives an Operator error for a state that waiting does not change.
func checkNotStuck(in Instance, op string) error {
	hint, stuck := stuckStatuses[in.Status]
	if !stuck {
		return nil
	}
	return fault.New(fault.Operator, op, in.ID, hint, "the instance is %s", in.Status).WithCode(CodeInstanceState)
}

func checkApplied(in Instance, op string) error {
	if in.ApplyStatus != ApplyFailed {
		return nil
	}
	return fault.New(fault.Operator, op, in.ID, "see the instance's events, correct the parameter group, then resume",
		"RDS could not apply parameter group %s", in.ParameterGroup).WithCode(CodeInstanceState)
}

// watcher polls one instance. Every look goes to onProgress, which may be nil.
type watcher struct {
	c          *Client
	id         string
	op         string
	onProgress func(Instance)
}

// look reads the instance and stops at states that need a person.
func (w watcher) look(ctx context.Context) (Instance, error) {
	in, err := w.c.describe(ctx, w.id)
	if err != nil {
		return in, err
	}
	return in, checkNotStuck(in, w.op)
}

// wait tells what is being waited for and lets one poll interval pass.
func (w watcher) wait(ctx context.Context, in Instance, format string, args ...any) error {
	in.Message = fmt.Sprintf(format, args...)
	if w.onProgress != nil {
		w.onProgress(in)
	}
	if err := w.c.pause(ctx); err != nil {
		return fmt.Errorf("%s %s, while %s: %w", w.op, w.id, in.Message, err)
	}
	return nil
}

const (
	// freshInSyncPolls is how often a group that this call attached must be seen in-sync before that is believed: a newly
	// attached group always ends in pending-reboot, and an early read may not show it yet.
	freshInSyncPolls = 3
	// unseenPolls is after how many polls a request that has left no trace is taken for lost: two minutes in production.
	unseenPolls = 24
)

// Attach lets the instance use the group and waits until RDS has taken that in: available, and the group pending-reboot or
// in-sync. If the group is attached already it only waits. It never reboots.
//
// The group is attached with ApplyImmediately, which would set off every other modification that waits for the maintenance
// window; if there are any it refuses with an Operator error that names them.
func (c *Client) Attach(ctx context.Context, id, group string, onProgress func(Instance)) (Instance, error) {
	w := watcher{c: c, id: id, op: "attach parameter group " + group + " to", onProgress: onProgress}
	group = strings.ToLower(group)
	asked, fresh, unseen := false, 0, 0
	for {
		in, err := w.look(ctx)
		if err != nil {
			return in, err
		}
		var message string
		switch {
		case in.ParameterGroup != group && !asked:
			if asked, message, err = c.tryAttach(ctx, in, group); err != nil {
				return in, err
			}
		case in.ParameterGroup != group:
			if unseen++; unseen >= unseenPolls {
				return in, fault.New(fault.NotReady, w.op, id, "it is asked for again", "RDS took the request but shows group %s", in.ParameterGroup)
			}
			message = "RDS takes in the new parameter group"
		case in.Status != StatusAvailable || in.ApplyStatus == ApplyApplying:
			message = "RDS applies the parameter group, the instance is " + in.Status
		case in.ApplyStatus == ApplyInSync && asked && fresh < freshInSyncPolls:
			fresh++
			message = "RDS applies the parameter group"
		default:
			return in, checkApplied(in, w.op)
		}
		if err := w.wait(ctx, in, "%s", message); err != nil {
			return in, err
		}
	}
}

// tryAttach asks for the group if the instance is in a state to take it; otherwise it says what is being waited for.
func (c *Client) tryAttach(ctx context.Context, in Instance, group string) (asked bool, message string, err error) {
	if len(in.Pending) > 0 {
		return false, "", fault.New(fault.Operator, "attach parameter group "+group+" to", in.ID,
			"let these modifications be applied, or take them back, then resume",
			"modifications that are not ours wait for the maintenance window and would be applied at once: %s", strings.Join(in.Pending, ", ")).WithCode(CodePendingModifications)
	}
	if in.Status != StatusAvailable {
		return false, "the instance is " + in.Status, nil
	}
	_, err = c.rds.ModifyDBInstance(ctx, &rds.ModifyDBInstanceInput{DBInstanceIdentifier: &in.ID, DBParameterGroupName: &group, ApplyImmediately: aws.Bool(true)})
	switch {
	case err == nil:
		return true, "RDS takes in the new parameter group", nil
	case hasCode(err, "InvalidDBInstanceState"):
		return false, "RDS is busy with the instance; the group is attached as soon as it is free", nil
	}
	return false, "", c.explain(ctx, err, "attach parameter group "+group+" to", in.ID)
}

// Reboot reboots the instance if it is pending-reboot, without failover, and waits until it has been seen available and
// in-sync. An instance that is in-sync is left alone.
func (c *Client) Reboot(ctx context.Context, id string, onProgress func(Instance)) (Instance, error) {
	w := watcher{c: c, id: id, op: "reboot", onProgress: onProgress}
	asked, gone, polls := false, false, 0
	for {
		in, err := w.look(ctx)
		if err != nil {
			return in, err
		}
		var message string
		switch {
		case in.Status != StatusAvailable:
			gone, polls, message = asked, 0, "the instance is "+in.Status
		case in.ApplyStatus == ApplyInSync:
			return in, nil
		case in.ApplyStatus != ApplyPendingReboot:
			if err := checkApplied(in, w.op); err != nil {
				return in, err
			}
			message = "RDS applies the parameter group"
		case !asked:
			if asked, message, err = c.tryReboot(ctx, in); err != nil {
				return in, err
			}
		default:
			if polls++; polls >= unseenPolls {
				return in, rebootWithoutEffect(in, gone)
			}
			// The status stays available for a moment after the request, and a lagging read shows pending-reboot after it.
			message = "RDS begins the reboot"
		}
		if err := w.wait(ctx, in, "%s", message); err != nil {
			return in, err
		}
	}
}

func (c *Client) tryReboot(ctx context.Context, in Instance) (asked bool, message string, err error) {
	_, err = c.rds.RebootDBInstance(ctx, &rds.RebootDBInstanceInput{DBInstanceIdentifier: &in.ID})
	switch {
	case err == nil:
		return true, "RDS begins the reboot", nil
	case hasCode(err, "InvalidDBInstanceState"):
		// A backup is running, or an earlier request of ours is under way.
		return false, "RDS cannot reboot the instance now; it is asked again", nil
	}
	return false, "", c.explain(ctx, err, "reboot", in.ID)
}

// rebootWithoutEffect tells a reboot that never began, which may be asked for again, from one that changed nothing.
func rebootWithoutEffect(in Instance, rebooted bool) error {
	if !rebooted {
		return fault.New(fault.NotReady, "reboot", in.ID, "it is asked for again", "RDS took the request but has not begun")
	}
	return fault.New(fault.Operator, "reboot", in.ID, "see the instance's events; a failover reboot does not apply static parameters",
		"parameter group %s is still pending-reboot after the reboot", in.ParameterGroup).WithCode(CodeStillPending)
}
