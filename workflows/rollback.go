package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/change"
	"timeferry/internal/contract"
)

// A rollback is a switch in the other direction: CutOff of the target, the comparison, and HandBack. Until the target's fence is
// sealed every failure, and the end of cutover.maxDowntime, opens the target again, and the migration is cut over as before. Once
// it is sealed, the source is opened, whatever happens: both sides are never open at once, and never neither for good.

// objectRollback is what a rollback's problems stand under.
const objectRollback = "rollback"

// rollBack tries once. That it failed is no error: the phase tells.
func (m *migration) rollBack(ctx workflow.Context) error {
	m.status.Problems = slices.DeleteFunc(m.status.Problems, func(p contract.Problem) bool { return p.Object == objectRollback })
	m.back.attempt++
	m.nameLeftBehind(ctx)
	err := m.verifyBeforeRollback(ctx)
	if err == nil {
		err = m.requireCloseSource(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m.explainRollback(ctx, err)
		return nil
	}
	ctx, _ = workflow.NewDisconnectedContext(ctx) // half way neither side could be written to
	m.enter(ctx, contract.PhaseRollingBack, "rolling back: fence, drain, sequences")
	c := &contract.CutoverStatus{Fenced: true} // before it is so: if an answer is lost, it must be lifted all the same
	m.status.Rollback = c
	began := workflow.Now(ctx)
	token := ""
	err = m.inTime(ctx, c, objectRollback, func(ctx workflow.Context) error {
		r, err := cutOffBy(ctx, contract.CutOffInput{Spec: m.back.spec, Attempt: m.back.attempt}, c)
		if err != nil {
			return err
		}
		token, m.status.Back.Replication = r.Token, r.Replication
		m.nameSpared(objectRollback, "target", r.Spared)
		m.say(ctx, "rolling back: comparing")
		return timed(ctx, c, began, "verify", func() error { return m.compareBack(ctx, c) })
	})
	if err == nil {
		m.say(ctx, "rolling back: opening the source")
		err = m.handBack(ctx, c, began, token)
	}
	if err == nil {
		return m.reachSource(ctx, c, began)
	}
	return m.stayOnTarget(ctx, c, began, err)
}

// verifyBeforeRollback compares while the application still writes to the target, until little is left to compare behind the fence.
func (m *migration) verifyBeforeRollback(ctx workflow.Context) error {
	if m.spec.Cutover.Verify == "none" {
		return nil
	}
	m.say(ctx, "verifying before the rollback, the application goes on")
	err := workflow.Await(ctx, func() bool { return m.back.first.done || m.openProblem() != nil })
	if p := m.openProblem(); p != nil && err == nil {
		err = temporal.NewNonRetryableApplicationError("a problem is open: "+p.Message, p.Code, nil)
	}
	if err != nil {
		return err
	}
	return untilLittleIsLeft(func(round int) (contract.Verification, error) {
		return m.compareBackAtBarrier(ctx, fmt.Sprintf("before-rollback-%d-%d", m.back.attempt, round), verifyBeforeBack)
	})
}

// requireCloseSource keeps the target from being fenced while the source is far behind, or the stream stands: a marker must come
// through first. The worker that keeps the spool may have been started again a moment ago.
func (m *migration) requireCloseSource(ctx workflow.Context) error {
	var lag contract.ReplicationStatus
	err := workflow.ExecuteActivity(on(ctx, asked, "lag of the way back"), acts.WatchLag, contract.LagInput{Spec: m.back.spec}).Get(ctx, &lag)
	if err != nil {
		return err
	}
	m.status.Back.Replication = lag
	if lag.LagBytes > m.spec.Cutover.MaxLagBytes() {
		return temporal.NewNonRetryableApplicationError(fmt.Sprintf("rollback not begun: the source is %d bytes behind the target, cutover.maxLag is %s", lag.LagBytes, m.spec.Cutover.MaxLag),
			codeLagTooHigh, nil)
	}
	m.say(ctx, "trying the stream back, the application goes on")
	var marker change.LSN
	if err := workflow.ExecuteActivity(on(ctx, downtime, "is the stream moving"), acts.EmitMarker, m.back.spec).Get(ctx, &marker); err != nil {
		return err
	}
	return workflow.ExecuteActivity(on(ctx, downtime, "apply up to "+marker.String()), acts.Drain, contract.DrainInput{Spec: m.back.spec, LSN: marker}).
		Get(ctx, &m.status.Back.Replication)
}

// compareBack holds both sides against each other behind the target's fence.
func (m *migration) compareBack(ctx workflow.Context, c *contract.CutoverStatus) error {
	method := m.spec.Cutover.Verify
	if method == "none" {
		return nil
	}
	var v contract.Verification
	input := contract.CompareInput{Spec: m.back.spec, Run: fmt.Sprintf("rollback-%d", m.back.attempt), Method: method}
	if err := workflow.ExecuteActivity(on(ctx, comparison, method+" of what was touched"), acts.CompareTouched, input).Get(ctx, &v); err != nil {
		return err
	}
	if !v.Equal || v.UnequalCount > 0 {
		return unequal(v)
	}
	c.Verified = method
	return nil
}

// handBack opens the source, and leads the application there.
func (m *migration) handBack(ctx workflow.Context, c *contract.CutoverStatus, began time.Time, token string) error {
	start := workflow.Now(ctx)
	var r contract.HandOverResult
	input := contract.HandOverInput{Spec: m.back.spec, Attempt: m.back.attempt, Token: token}
	err := workflow.ExecuteActivity(m.forSwitch(ctx, began, "seal, open the source, switch"), acts.HandBack, input).Get(ctx, &r)
	if err != nil {
		return err
	}
	for _, p := range r.Problems {
		m.addProblem(p)
	}
	addSteps(c, start.Sub(began), r.Steps)
	c.Switch, c.SwitchPrevious = r.Switch, r.Previous
	return nil
}

// stayOnTarget opens the target again after a rollback that failed; or the source, if the target's fence is sealed.
func (m *migration) stayOnTarget(ctx workflow.Context, c *contract.CutoverStatus, began time.Time, why error) error {
	var r contract.TakeBackResult
	err := m.persist(ctx, func(ctx workflow.Context) error {
		o := options(urgent, "open the target for writes again")
		o.HeartbeatTimeout = switchHeartbeat
		input := contract.TakeBackInput{Spec: m.back.spec, Attempt: m.back.attempt}
		return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, o), acts.TakeBack, input).Get(ctx, &r)
	})
	if err != nil {
		return err
	}
	if r.HandedOver {
		return m.openSource(ctx, c, began, why)
	}
	c.Fenced = false
	for _, p := range r.Problems {
		p.Object = objectRollback
		m.addProblem(p)
	}
	m.enter(ctx, contract.PhaseCutOver, "cut over")
	m.explainRollback(ctx, why)
	return nil
}

// openSource is for a HandBack that failed after the seal: the source may be open already, and any worker can see to it.
func (m *migration) openSource(ctx workflow.Context, c *contract.CutoverStatus, began time.Time, why error) error {
	err := m.persist(ctx, func(ctx workflow.Context) error {
		o := options(urgent, "open the source for writes again")
		o.HeartbeatTimeout = switchHeartbeat
		return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, o), acts.Unfence, m.spec).Get(ctx, nil)
	})
	if err != nil {
		return err
	}
	if m.spec.Cutover.Switch != nil {
		m.addProblem(contract.Problem{Severity: contract.Warning, Code: contract.CodeSwitchUnknown, Object: objectRollback,
			Message: "the source has everything and is open, the target stays fenced, but whether the application was led back is not known: " + problemOf(why).Message,
			Remedy:  "look where the application is; if it is not on the source, lead it there by hand"})
	}
	return m.reachSource(ctx, c, began)
}

// reachSource is from where on nothing is undone any more.
func (m *migration) reachSource(ctx workflow.Context, c *contract.CutoverStatus, began time.Time) error {
	m.status.Cutover.Fenced = false
	measureDowntime(ctx, c, began)
	m.enter(ctx, contract.PhaseRolledBack, "%s", m.rolledBackWords())
	if err := m.stopAll(ctx); err != nil {
		return err
	}
	left, err := m.undoBack(ctx) // nobody reads the slot any more: the target would keep its WAL
	if err == nil {
		m.back.cleaned = true
		m.report.Left = append(m.report.Left, left...)
	}
	return err
}

// explainRollback makes a failure a problem that stops nothing.
func (m *migration) explainRollback(ctx workflow.Context, why error) {
	problem := problemOf(why)
	problem.Severity, problem.Object = contract.Warning, objectRollback
	if problem.Code == codeNotEqual {
		problem.Remedy = "nothing was rolled back; look at the table on both sides, mend it on the source, then roll back again; or complete"
	}
	m.addProblem(problem)
	workflow.GetLogger(ctx).Warn("rollback failed, back to cut-over", "err", problem.Message)
}

func (m *migration) refuseRollback() string {
	switch {
	case !m.spec.Cutover.Reverse:
		return "it needs cutover.reverse in the spec, so that what was written to the target since the switch comes along; without it nothing streams back"
	case m.status.Phase != contract.PhaseCutOver:
		return fmt.Sprintf("the migration is in phase %s, rollback needs cut-over", m.status.Phase)
	case m.completeWanted:
		return "the migration is being completed"
	case m.rollbackWanted:
		return "it is under way already"
	}
	if p := m.openProblem(); p != nil {
		return "a problem is open: " + p.Message
	}
	return ""
}

func (m *migration) refuseComplete() string {
	switch {
	case m.status.Phase != contract.PhaseCutOver && m.status.Phase != contract.PhaseRolledBack:
		return fmt.Sprintf("the migration is in phase %s", m.status.Phase)
	case m.rollbackWanted && m.status.Phase == contract.PhaseCutOver:
		return "a rollback has been ordered and begins"
	}
	return ""
}
