package rdsctl

import (
	"context"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
)

// Attach lets the instance or cluster use the group and waits until RDS has taken that in: available, and the group
// pending-reboot or in-sync. If the group is attached already it only waits. It never reboots.
//
// The group is attached with ApplyImmediately, which would set off every other modification that waits for the maintenance
// window; if there are any it refuses with an Operator error that names them.
func (c *Client) Attach(ctx context.Context, rds contract.RDS, group string, onProgress func(Instance)) (Instance, error) {
	group = strings.ToLower(group)
	a := attachment{watcher: c.watch(rds, "attach parameter group "+group+" to", onProgress), group: group}
	for {
		in, err := a.look(ctx)
		if err != nil {
			return in, err
		}
		done, message, err := a.step(ctx, in)
		if done || err != nil {
			return in, err
		}
		if err := a.wait(ctx, in, message); err != nil {
			return in, err
		}
	}
}

// attachment is one call of Attach.
type attachment struct {
	*watcher
	group   string
	asked   bool
	unseen  int // looks since it was asked for that do not show the group
	unknown int // how often RDS did not know the group
}

// step does what the state asks for; message is what is waited for then.
func (a *attachment) step(ctx context.Context, in Instance) (done bool, message string, err error) {
	switch {
	case in.ParameterGroup != a.group && !a.asked:
		message, err = a.ask(ctx, in)
		return false, message, err
	case in.ParameterGroup != a.group:
		if a.unseen++; a.unseen >= unseenLooks {
			return false, "", fault.New(fault.NotReady, a.op, a.id, "it is asked for again", "RDS took the request but shows group %s", in.ParameterGroup)
		}
		return false, "RDS takes in the new parameter group", nil
	case in.Status != StatusAvailable || in.ApplyStatus == ApplyApplying:
		return false, "RDS applies the parameter group, the " + in.noun() + " is " + in.Status, nil
	case in.ApplyStatus == ApplyInSync && !a.settled():
		// A newly attached group ends in pending-reboot, and an early look may not show it yet.
		return false, "RDS applies the parameter group", nil
	}
	return true, "", a.c.checkApplied(ctx, in, a.op)
}

// ask asks for the group if the database is in a state to take it.
func (a *attachment) ask(ctx context.Context, in Instance) (message string, err error) {
	if err := checkNothingPending(in, a.op); err != nil {
		return "", err
	}
	if in.Status != StatusAvailable {
		return "the " + in.noun() + " is " + in.Status, nil
	}
	err = a.db.attach(ctx, a.group)
	switch {
	case err == nil:
		a.asked, a.looks = true, 1
		return "RDS takes in the new parameter group", nil
	case hasCode(err, busyCodes...):
		return "RDS is busy with the " + in.noun() + "; the group is attached as soon as it is free", nil
	case hasCode(err, noGroupCodes...) && a.unknown < settleAttempts:
		a.unknown++
		return "RDS does not know the new parameter group everywhere yet", nil
	}
	return "", a.c.explain(ctx, err, a.op, in.ID)
}

// checkNothingPending refuses what would set off other people's modifications.
func checkNothingPending(in Instance, op string) error {
	if len(in.Pending) == 0 {
		return nil
	}
	return fault.New(fault.Operator, op, in.ID, "let these modifications be applied, or take them back, then resume or start again",
		"modifications that are not ours wait for the maintenance window and would be applied at once: %s", strings.Join(in.Pending, ", ")).WithCode(CodePendingModifications)
}
