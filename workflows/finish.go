package workflows

import (
	"fmt"
	"slices"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
)

// complete removes what the migration needed: the streams, slot, publication, changed identities, ledger and spool.
// It runs to its end whatever is cancelled: ending half way would leave the slot behind.
func (m *migration) complete(ctx workflow.Context) (contract.Report, error) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	m.say(ctx, "cleaning up")
	if err := m.stopAll(ctx); err != nil {
		return contract.Report{}, err
	}
	if err := m.cleanUp(ctx, true); err != nil {
		return contract.Report{}, err
	}
	if m.status.Cutover.Fenced {
		m.leaveFence("source", m.spec.Source.Database)
	}
	if r := m.status.Rollback; r != nil && r.Fenced {
		m.leaveFence("target", m.spec.Target.Database)
	}
	m.leaveParameterGroup()
	if m.status.Phase == contract.PhaseRolledBack {
		m.say(ctx, "rolled back, and cleaned up")
		return m.finish(ctx, contract.PhaseRolledBack), nil
	}
	m.enter(ctx, contract.PhaseCompleted, "completed")
	return m.finish(ctx, contract.PhaseCompleted), nil
}

// leaveFence says that a database stays read-only: two that take writes are what must never be.
func (m *migration) leaveFence(side, database string) {
	m.report.Left = append(m.report.Left, fmt.Sprintf("the %s database %s stays read-only; to lift that: SET default_transaction_read_only = off; ALTER DATABASE %s RESET default_transaction_read_only",
		side, database, ident.Quote(database)))
}

// abort leaves the source as it was found and, unless told otherwise, the target too. It runs to its end whatever is cancelled.
func (m *migration) abort(ctx workflow.Context) (contract.Report, error) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	m.aborting = true
	m.enter(ctx, contract.PhaseAborting, "aborting: undoing what was done")
	if err := m.stopAll(ctx); err != nil {
		return contract.Report{}, err
	}
	if err := m.unfence(ctx); err != nil {
		return contract.Report{}, err
	}
	if m.changed {
		if err := m.cleanUp(ctx, m.keepTarget); err != nil {
			return contract.Report{}, err
		}
		m.leaveParameterGroup()
	} else {
		m.closeIngress(ctx)
	}
	m.enter(ctx, contract.PhaseAborted, "aborted")
	return m.finish(ctx, contract.PhaseAborted), nil
}

// cleanUp undoes everything that was done outside, and makes sure of it: while something is left the migration does not end, and each
// resume cleans and looks again.
func (m *migration) cleanUp(ctx workflow.Context, keepTarget bool) error {
	before := slices.Clip(m.report.Left)
	err := m.persist(ctx, func(ctx workflow.Context) error {
		m.report.Left = before
		left, err := m.undo(ctx, keepTarget)
		if err != nil {
			return err
		}
		m.report.Left = append(m.report.Left, left...)
		return m.requireNothingLeft(ctx, left)
	})
	if err != nil {
		return err
	}
	// Last: without the rule the source may be out of reach.
	before = slices.Clip(m.report.Left)
	return m.persist(ctx, func(ctx workflow.Context) error {
		m.report.Left = before
		m.closeIngress(ctx)
		return m.requireClosed(ctx)
	})
}

// undo undoes what the ledger has recorded: on the source, on the target (unless keepTarget), then the ledger itself, and
// last the spool on the worker that keeps it.
func (m *migration) undo(ctx workflow.Context, keepTarget bool) ([]string, error) {
	input := contract.UndoInput{Spec: m.spec, KeepTarget: keepTarget}
	var left []string
	if m.back.prepared && !m.back.cleaned { // first: its bookkeeping is on the source, and refers to the target
		var err error
		if left, err = m.undoBack(ctx); err != nil {
			return nil, err
		}
	}
	err := m.persist(ctx, func(ctx workflow.Context) error {
		var source, target contract.UndoResult
		if err := workflow.ExecuteActivity(on(ctx, quick, "slot, publication, replica identities"), acts.CleanSource, input).Get(ctx, &source); err != nil {
			return err
		}
		if err := workflow.ExecuteActivity(on(ctx, quick, "bookkeeping"), acts.CleanTarget, input).Get(ctx, &target); err != nil {
			return err
		}
		left = append(append(left, source.Left...), target.Left...)
		return nil
	})
	if err != nil || m.hostID == "" {
		return left, err
	}
	m.spoolOutOfReach = false
	for _, spec := range m.spooled() {
		m.removeSpool(ctx, spec)
	}
	return left, nil
}

// spooled are the orders whose changes wait on the worker's disk.
func (m *migration) spooled() []contract.Spec {
	var orders []contract.Spec
	if m.back.prepared {
		orders = append(orders, m.back.spec)
	}
	if !m.fromSource() {
		orders = append(orders, m.spec)
	}
	return orders
}

// removeSpool waits a bounded time for the worker that keeps the spool: if its machine is gone for good, so is the spool,
// and the migration must still be able to end.
func (m *migration) removeSpool(ctx workflow.Context, spec contract.Spec) {
	o := options(quick, "spool")
	o.TaskQueue = contract.HostQueue(m.hostID)
	o.ScheduleToStartTimeout = spoolOwnerPatience
	err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, o), acts.RemoveSpool, spec).Get(ctx, nil)
	if temporal.IsTimeoutError(err) {
		m.spoolOutOfReach = true
		m.report.Left = append(m.report.Left, fmt.Sprintf("the spool directory of %s on worker %s, which did not answer", spec.Name, m.hostID))
	} else if err != nil {
		m.report.Left = append(m.report.Left, "the spool directory: "+problemOf(err).Message)
	}
}

func (m *migration) leaveParameterGroup() {
	switch {
	case m.groupAttached && m.plan.Group != m.plan.Previous:
		m.report.Left = append(m.report.Left, fmt.Sprintf("parameter group %s stays attached to %s (before: %s), since taking it away costs another reboot",
			m.plan.Group, m.sourceName(), m.plan.Previous))
	case m.groupAsked && m.plan.Group != m.plan.Previous:
		m.report.Left = append(m.report.Left, fmt.Sprintf("parameter group %s, if it was made: delete it, unless %s shows it as attached", m.plan.Group, m.sourceName()))
	}
}

// finish makes the report.
func (m *migration) finish(ctx workflow.Context, outcome contract.Phase) contract.Report {
	r := m.report
	r.Outcome, r.Ended = outcome, workflow.Now(ctx)
	r.Phases, r.Source, r.Copy, r.Replication, r.Cutover = m.status.Phases, m.status.Source, m.status.Copy, m.status.Replication, m.status.Cutover
	r.Back, r.Rollback = m.status.Back, m.status.Rollback
	r.Problems, r.Decisions, r.SchemaChanges = m.status.Problems, m.status.Decisions, m.status.SchemaChanges
	m.history.note(r.Problems, r.Ended)
	r.History = m.history.times
	return r
}

func notEqual(tables int, d contract.TableDifference) error {
	p := contract.Problem{Severity: contract.Fatal, Code: "not-equal", Object: d.Table,
		Message: fmt.Sprintf("%d tables differ, first %s: %s", tables, d.Table, d.Message),
		Remedy:  "nothing was switched; look at the table on both sides, then abort, or cut over again"}
	return temporal.NewApplicationErrorWithOptions(p.Message, p.Code, temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{p}})
}
