package workflows

import (
	"fmt"

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
	left, err := m.undo(ctx, true)
	if err != nil {
		return contract.Report{}, err
	}
	m.report.Left = append(m.report.Left, left...)
	if m.status.Cutover.Fenced {
		m.report.Left = append(m.report.Left, fmt.Sprintf("the source database %s stays read-only; to lift that: SET default_transaction_read_only = off; ALTER DATABASE %s RESET default_transaction_read_only",
			m.spec.Source.Database, ident.Quote(m.spec.Source.Database)))
	}
	m.leaveParameterGroup()
	m.closeIngress(ctx)
	m.enter(ctx, contract.PhaseCompleted, "completed")
	return m.finish(ctx, contract.PhaseCompleted), nil
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
		left, err := m.undo(ctx, m.keepTarget)
		if err != nil {
			return contract.Report{}, err
		}
		m.report.Left = append(m.report.Left, left...)
		m.leaveParameterGroup()
	}
	m.closeIngress(ctx)
	m.enter(ctx, contract.PhaseAborted, "aborted")
	return m.finish(ctx, contract.PhaseAborted), nil
}

// undo undoes what the ledger has recorded: on the source, on the target (unless keepTarget), then the ledger itself, and
// last the spool on the worker that keeps it.
func (m *migration) undo(ctx workflow.Context, keepTarget bool) ([]string, error) {
	input := contract.UndoInput{Spec: m.spec, KeepTarget: keepTarget}
	var left []string
	err := m.persist(ctx, func(ctx workflow.Context) error {
		var source, target contract.UndoResult
		if err := workflow.ExecuteActivity(on(ctx, quick, "slot, publication, replica identities"), acts.CleanSource, input).Get(ctx, &source); err != nil {
			return err
		}
		if err := workflow.ExecuteActivity(on(ctx, quick, "bookkeeping"), acts.CleanTarget, input).Get(ctx, &target); err != nil {
			return err
		}
		left = append(source.Left, target.Left...)
		return nil
	})
	if err != nil || m.hostID == "" {
		return left, err
	}
	err = m.removeSpool(ctx)
	return left, err
}

// removeSpool waits a bounded time for the worker that keeps the spool: if its machine is gone for good, so is the spool,
// and the migration must still be able to end.
func (m *migration) removeSpool(ctx workflow.Context) error {
	o := options(quick, "spool")
	o.TaskQueue = contract.HostQueue(m.hostID)
	o.ScheduleToStartTimeout = spoolOwnerPatience
	err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, o), acts.RemoveSpool, m.spec).Get(ctx, nil)
	if err == nil {
		return nil
	}
	if temporal.IsTimeoutError(err) {
		m.report.Left = append(m.report.Left, fmt.Sprintf("the spool directory of %s on worker %s, which did not answer", m.spec.Name, m.hostID))
		return nil
	}
	m.report.Left = append(m.report.Left, "the spool directory: "+problemOf(err).Message)
	return nil
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
	r.Problems, r.Decisions = m.status.Problems, m.status.Decisions
	return r
}

func notEqual(tables int, d contract.TableDifference) error {
	p := contract.Problem{Severity: contract.Fatal, Code: "not-equal", Object: d.Table,
		Message: fmt.Sprintf("%d tables differ, first %s: %s", tables, d.Table, d.Message),
		Remedy:  "nothing was switched; look at the table on both sides, then abort, or cut over again"}
	return temporal.NewApplicationErrorWithOptions(p.Message, p.Code, temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{p}})
}
