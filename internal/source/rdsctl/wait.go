package rdsctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
)

// stuckStatuses are the statuses that do not end by themselves, with what a person has to do.
var stuckStatuses = map[string]string{
	"incompatible-parameters":             "a value in the parameter group keeps PostgreSQL from starting: correct or reset it, then reboot",
	"incompatible-network":                "give the database's subnet group free addresses and working subnets again",
	"incompatible-option-group":           "correct its option group",
	"incompatible-restore":                "it could not be restored; see its events",
	"incompatible-create":                 "it could not be created; see its events",
	"incompatible-credentials":            "set the credentials of its domain join again; see its events",
	"insufficient-capacity":               "choose another class or wait until AWS has capacity",
	"restore-error":                       "it could not be restored; see its events",
	"storage-full":                        "enlarge its storage (AllocatedStorage, applied immediately), wait until it is available, then resume or start again",
	"failed":                              "it has failed; restore it from a snapshot or ask AWS",
	"deleting":                            "it is being deleted; name another source",
	"stopped":                             "start it, then resume or start again",
	"stopping":                            "start it once it has stopped, then resume or start again",
	"inaccessible-encryption-credentials": "give RDS access to the KMS key again, then restore it",
	"inaccessible-encryption-credentials-recoverable": "give RDS access to the KMS key again and start it, then resume or start again",
}

// checkNotStuck gives an Operator error for a state that waiting does not change.
func (c *Client) checkNotStuck(ctx context.Context, in Instance, op string) error {
	hint, stuck := stuckStatuses[in.Status]
	if !stuck {
		return nil
	}
	why := ""
	if in.Status == "incompatible-parameters" {
		why = c.eventWords(ctx, in)
	}
	return fault.New(fault.Operator, op, in.ID, hint, "the %s is %s%s", in.noun(), in.Status, why).WithCode(CodeInstanceState)
}

func (c *Client) checkApplied(ctx context.Context, in Instance, op string) error {
	if in.ApplyStatus != ApplyFailed {
		return nil
	}
	return fault.New(fault.Operator, op, in.ID, "correct the parameter group (the events of the "+in.noun()+" say what is wrong with it), then resume or start again",
		"RDS could not apply parameter group %s%s", in.ParameterGroup, c.eventWords(ctx, in)).WithCode(CodeInstanceState)
}

const (
	// settledLooks is how many looks in a row must agree before a state is believed that an action follows from: some twenty
	// seconds in production.
	settledLooks = 4
	// unseenLooks is after how many a request that has left no trace is taken for lost: some three minutes in production.
	unseenLooks = 14
)

// watcher polls one database. Every look goes to onProgress, which may be nil.
type watcher struct {
	c          *Client
	db         database
	id         string
	op         string
	onProgress func(Instance)
	began      time.Time
	state      string // as last seen
	looks      int    // how often that state was seen
}

func (c *Client) watch(rds contract.RDS, op string, onProgress func(Instance)) *watcher {
	return &watcher{c: c, db: c.open(rds), id: nameOf(rds), op: op, onProgress: onProgress, began: time.Now()}
}

// look reads the state and stops at one that needs a person.
func (w *watcher) look(ctx context.Context) (Instance, error) {
	in, err := w.db.describe(ctx)
	if err != nil {
		return in, err
	}
	if state := strings.Join([]string{in.Status, in.ParameterGroup, in.ApplyStatus, in.Writer}, " "); state != w.state {
		w.state, w.looks = state, 0
	}
	w.looks++
	return in, w.c.checkNotStuck(ctx, in, w.op)
}

// settled says that the last looks all saw the same. One look may come before what was done shortly before it shows, also
// what was done by a call that died.
func (w *watcher) settled() bool { return w.looks >= settledLooks }

// wait tells what is being waited for and lets some time pass, the more the longer nothing has changed.
func (w *watcher) wait(ctx context.Context, in Instance, message string) error {
	in.Message, in.Waited = message, time.Since(w.began)
	if w.onProgress != nil {
		w.onProgress(in)
	}
	if err := w.c.pause(ctx, w.looks-1); err != nil {
		return fmt.Errorf("%s %s, while %s: %w", w.op, w.id, in.Message, err)
	}
	return nil
}
