package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// The switch as three steps, since the application waits: CutOff (fence, marker, drain, sequences), the comparison, and
// HandOver (triggers, seal, cutover.switch). Until HandOver every failure, and the end of cutover.maxDowntime, opens the source
// again. After that the seal decides: an unsealed fence can be taken back, since nobody was led to the target; a sealed one only
// if the switch was refused for certain. Otherwise the target is where writing goes on, and the source stays fenced.

const (
	// codeMaxDowntime: the switch took longer than cutover.maxDowntime.
	codeMaxDowntime = "max-downtime"
	// codeRestoredAtCutover: what fires on the applier's statements stands on the target, and the cutover came to nothing.
	codeRestoredAtCutover = "restored-at-cutover"
	// switchHeartbeat is shorter than others: a worker that dies in the downtime must be noticed in time.
	switchHeartbeat = 5 * time.Second
	// leastHandOver is what HandOver is given in any case: with less it could only fail.
	leastHandOver = 5 * time.Second
	// applierPatience is how long the applier may take to stop while the source waits to be opened.
	applierPatience = 5 * time.Second
)

// briefly makes a context for one activity of the switch, which is given up after d.
func briefly(ctx workflow.Context, d time.Duration, summary string) workflow.Context {
	o := options(downtime, summary)
	o.StartToCloseTimeout, o.ScheduleToCloseTimeout, o.HeartbeatTimeout = d, d, switchHeartbeat
	o.WaitForCancellation = false // TakeBack ends what its worker still has under way
	return workflow.WithActivityOptions(ctx, o)
}

// switchInTime is the downtime, at most cutover.maxDowntime.
func (m *migration) switchInTime(ctx workflow.Context, attempt int) error {
	m.enter(ctx, contract.PhaseCuttingOver, "switching over: fence, drain, sequences")
	m.removeProblem(contract.Problem{Code: codeLagTooHigh, Object: "cutover"})
	m.removeProblem(contract.Problem{Code: codeLagUnknown, Object: "cutover"})
	c := &m.status.Cutover
	*c = contract.CutoverStatus{Fenced: m.spec.Cutover.Fence != "none"} // before it is so: if an answer is lost, it must be lifted all the same
	m.attempt, m.handing, m.handedOver = attempt, false, false
	began := workflow.Now(ctx)
	token := ""
	err := m.inTime(ctx, c, "cutover", func(ctx workflow.Context) error {
		var err error
		if token, err = m.cutOff(ctx); err != nil {
			return err
		}
		m.say(ctx, "switching over: comparing")
		if err := timed(ctx, c, began, "verify", func() error { return m.compare(ctx, attempt) }); err != nil || !m.spec.Cutover.Reverse {
			return err
		}
		return timed(ctx, c, began, "way back", func() error { return m.beginBack(ctx) })
	})
	if err != nil {
		return err
	}
	return m.handOver(ctx, began, token)
}

// inTime runs do, and gives it up after cutover.maxDowntime. object is cutover or rollback, and c what becomes of it.
func (m *migration) inTime(ctx workflow.Context, c *contract.CutoverStatus, object string, do func(workflow.Context) error) error {
	own, cancel := workflow.WithCancel(ctx)
	defer cancel()
	limit := m.spec.Cutover.MaxDowntimeDuration()
	done, overdue := false, false
	var result error
	workflow.GoNamed(own, "max-downtime", func(ctx workflow.Context) {
		overdue = workflow.NewTimer(ctx, limit).Get(ctx, nil) == nil
	})
	workflow.GoNamed(own, "switch", func(ctx workflow.Context) {
		err := do(ctx)
		if !overdue { // nobody waits for it any more
			result, done = err, true
		}
	})
	if err := workflow.Await(ctx, func() bool { return done || overdue }); err != nil {
		return err
	}
	if done {
		return result
	}
	addSteps(c, 0, []contract.StepTime{{Step: "given up", MS: limit.Milliseconds()}})
	p := contract.Problem{Severity: contract.Fatal, Code: codeMaxDowntime, Object: object,
		Message: fmt.Sprintf("it was not done within cutover.maxDowntime, %s; it was at: %s", limit, m.doing),
		Remedy:  "look what took so long (status has the steps); the comparison is the longest one on large databases: cutover.verify: count is quicker"}
	return temporal.NewApplicationErrorWithOptions(p.Message, p.Code, temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{p}})
}

// timed notes how long a step of the workflow's own takes.
func timed(ctx workflow.Context, c *contract.CutoverStatus, began time.Time, name string, do func() error) error {
	start := workflow.Now(ctx)
	err := do()
	c.Steps = append(c.Steps, contract.StepTime{Step: name, AtMS: start.Sub(began).Milliseconds(),
		MS: workflow.Now(ctx).Sub(start).Milliseconds()})
	return err
}

// addSteps takes over the steps that an activity timed, which ended just now.
func addSteps(c *contract.CutoverStatus, offset time.Duration, steps []contract.StepTime) {
	for _, s := range steps {
		s.AtMS += offset.Milliseconds()
		c.Steps = append(c.Steps, s)
	}
}

// cutOff ends writing on the source and brings over what is left.
func (m *migration) cutOff(ctx workflow.Context) (token string, err error) {
	r, err := cutOffBy(ctx, contract.CutOffInput{Spec: m.spec, Attempt: m.attempt}, &m.status.Cutover)
	if err != nil {
		return "", err
	}
	m.status.Replication, m.pending = r.Replication, r.Pending
	m.nameSpared("cutover", "source", r.Spared)
	return r.Token, nil
}

// cutOffBy runs CutOff, and notes in c what it did.
func cutOffBy(ctx workflow.Context, input contract.CutOffInput, c *contract.CutoverStatus) (r contract.CutOffResult, err error) {
	start := workflow.Now(ctx)
	err = workflow.ExecuteActivity(briefly(ctx, input.Spec.Cutover.MaxDowntimeDuration(), "fence, marker, drain, sequences"), acts.CutOff, input).Get(ctx, &r)
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	if err != nil { // its own times are lost with its result
		addSteps(c, 0, []contract.StepTime{{Step: "cut off", MS: workflow.Now(ctx).Sub(start).Milliseconds()}})
		return r, err
	}
	c.MarkerLSN, c.Sequences, c.Ended, c.Spared = r.MarkerLSN, r.Sequences, r.Ended, r.Spared
	addSteps(c, 0, r.Steps)
	return r, nil
}

// handOver lets the application write to the target. It runs to its end whatever is cancelled: what may have been switched
// must be known.
func (m *migration) handOver(ctx workflow.Context, began time.Time, token string) error {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	m.say(ctx, "switching over: handing over to the target")
	m.handing = true
	calling := m.forSwitch(ctx, began, "triggers, seal, switch")
	start := workflow.Now(ctx)
	var r contract.HandOverResult
	err := workflow.ExecuteActivity(calling, acts.HandOver, contract.HandOverInput{Spec: m.spec, Attempt: m.attempt, Token: token}).Get(ctx, &r)
	if err == nil {
		for _, p := range r.Problems {
			m.addProblem(p)
		}
		addSteps(&m.status.Cutover, start.Sub(began), r.Steps)
		m.status.Cutover.Switch, m.status.Cutover.SwitchPrevious = r.Switch, r.Previous
		m.reachTarget(ctx, began)
		return nil
	}
	refused := problemOf(err).Code == contract.CodeSwitchRefused
	if backErr := m.takeBack(ctx, refused); backErr != nil {
		return backErr
	}
	if !m.handedOver {
		return err
	}
	m.reachTarget(ctx, began)
	return m.explainHandOver(ctx, problemOf(err))
}

// forSwitch makes a context for the activity that leads the application away, in what is left of cutover.maxDowntime.
func (m *migration) forSwitch(ctx workflow.Context, began time.Time, summary string) workflow.Context {
	calling := briefly(ctx, max(m.spec.Cutover.MaxDowntimeDuration()-workflow.Now(ctx).Sub(began)-applierPatience, leastHandOver), summary)
	if s := m.spec.Cutover.Switch; s != nil && s.PgBouncer != nil { // its file is on that worker's machine
		calling = workflow.WithTaskQueue(calling, contract.HostQueue(m.hostID))
	}
	return calling
}

// explainHandOver is for a HandOver that failed after the seal: it may have died before its triggers were committed, and what
// became of its switch may not be known.
func (m *migration) explainHandOver(ctx workflow.Context, p contract.Problem) error {
	if m.status.Cutover.Switch == "" && m.spec.Cutover.Switch != nil {
		m.addProblem(contract.Problem{Severity: contract.Warning, Code: contract.CodeSwitchUnknown, Object: "cutover",
			Message: "the target has everything and is open, the source stays fenced, but whether the application was led there is not known: " + p.Message,
			Remedy:  "look where the application is; if it is not on the target, lead it there by hand"})
	}
	return m.persist(ctx, func(ctx workflow.Context) error {
		return m.restoring(ctx, quick, "triggers that always fire", acts.RestoreAtCutover)
	})
}

// reachTarget is from where on nothing is undone any more.
func (m *migration) reachTarget(ctx workflow.Context, began time.Time) {
	m.handedOver = true
	measureDowntime(ctx, &m.status.Cutover, began)
	m.enter(ctx, contract.PhaseCutOver, "cut over")
}

func measureDowntime(ctx workflow.Context, c *contract.CutoverStatus, began time.Time) {
	before := int64(0)
	if len(c.Steps) > 0 {
		before = c.Steps[0].AtMS // what was prepared while the application still wrote
	}
	c.DowntimeMS = workflow.Now(ctx).Sub(began).Milliseconds() - before
}

// takeBack opens the source again, and goes on until it has succeeded, or until it is known that the application may be on the
// target: then handedOver is set, and nothing is opened.
func (m *migration) takeBack(ctx workflow.Context, refused bool) error {
	if m.handedOver || !m.status.Cutover.Fenced && !m.handing {
		return nil
	}
	held := false
	if m.handing && m.pending > 0 { // what fires on the applier's statements may stand on the target already
		held = m.holdApplier(ctx)
	}
	input := contract.TakeBackInput{Spec: m.spec, Attempt: m.attempt, Refused: refused}
	var r contract.TakeBackResult
	err := m.persist(ctx, func(ctx workflow.Context) error {
		o := options(urgent, "open the source for writes again")
		o.HeartbeatTimeout = switchHeartbeat
		return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, o), acts.TakeBack, input).Get(ctx, &r)
	})
	if err != nil {
		return err
	}
	if m.handedOver = r.HandedOver; m.handedOver {
		if r.Switched {
			m.status.Cutover.Switch = "the application was led to the target"
		}
		m.releaseApplier(ctx, held)
		return nil
	}
	m.status.Cutover.Fenced, m.handing = false, false
	for _, p := range r.Problems {
		m.addProblem(p)
	}
	if r.Restored == 0 {
		m.releaseApplier(ctx, held)
	} else if held {
		m.addProblem(contract.Problem{Severity: contract.Warning, Code: codeRestoredAtCutover, Object: "apply",
			Message: "the cutover came to nothing after triggers, rules or policies that must not be there while changes are applied were made on the target; the stream is paused",
			Remedy:  "drop or disable them on the target, then resume; or abort"})
	}
	return nil
}

// holdApplier pauses the stream's application, and waits a moment until it has stopped.
func (m *migration) holdApplier(ctx workflow.Context) (held bool) {
	if m.steering.Paused {
		return false
	}
	m.pause(ctx, contract.Note{})
	_, _ = workflow.AwaitWithTimeout(ctx, applierPatience, func() bool { return m.applying == 0 }) // its worker may be dead: then nothing is applied
	return true
}

func (m *migration) releaseApplier(_ workflow.Context, held bool) {
	if held {
		m.steering.Serial++
		m.steering.Paused = false
	}
}
