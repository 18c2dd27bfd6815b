package workflows

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// check looks at both ends. It changes nothing but, where the spec names a security group and mayOpen, the rule that lets the
// worker in. Whatever it finds wrong fails the workflow.
func (m *migration) check(ctx workflow.Context, mayOpen bool) error {
	m.enter(ctx, contract.PhasePreflight, "checking source and target")
	if m.spec.Source.RDS != nil {
		if err := m.checkRDS(ctx, mayOpen); err != nil {
			return err
		}
	}
	var found contract.PreflightResult
	input := contract.PreflightInput{Spec: m.spec, CanReboot: m.plan.NeedsReboot && m.spec.Prepare.Reboot != "never", Changes: m.plan.Changes}
	if err := workflow.ExecuteActivity(on(ctx, probe, "preflight"), acts.Preflight, input).Get(ctx, &found); err != nil {
		return m.explainNoWay(err, mayOpen)
	}
	m.status.Source.Version, m.report.Target.Version = found.SourceVersion, found.TargetVersion
	m.status.Copy.Tables, m.status.Copy.Bytes = found.Tables, found.Bytes
	m.status.Problems = append(m.status.Problems, found.Problems...)
	m.activity, m.mostStreams, m.targetConnections = found.Activity, found.MostStreams, found.TargetConnections
	return preflightError(found.Problems)
}

// checkRDS finds the source through RDS, opens the way to it, and plans its parameters.
func (m *migration) checkRDS(ctx workflow.Context, mayOpen bool) error {
	if err := m.inspect(ctx); err != nil {
		return err
	}
	if m.spec.Prepare.SecurityGroup != "" && mayOpen {
		if err := m.openIngress(ctx); err != nil {
			return err
		}
	}
	if err := workflow.ExecuteActivity(on(ctx, probe, "compare parameters"), acts.PlanParameters, m.spec).Get(ctx, &m.plan); err != nil {
		return m.explainNoWay(err, mayOpen)
	}
	m.status.Source.ParameterGroup = m.plan.Group
	m.status.Source.PreviousGroup = m.plan.Previous
	m.status.Source.Changes = m.plan.Changes
	m.status.Problems = append(m.status.Problems, m.plan.Problems...)
	return nil
}

// explainNoWay adds to a source that cannot be reached that only a start would open the security group.
func (m *migration) explainNoWay(err error, mayOpen bool) error {
	if mayOpen || m.spec.Prepare.SecurityGroup == "" {
		return err
	}
	p := problemOf(err)
	if p.Code != codeUnreachable {
		return err
	}
	p.Remedy = strings.TrimPrefix(fmt.Sprintf("%s; preflight alone does not open security group %s for the worker, a start does", p.Remedy, m.spec.Prepare.SecurityGroup), "; ")
	return temporal.NewApplicationErrorWithOptions(p.Message, p.Code, temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{p}})
}

// inspect asks RDS about the source, and completes the spec with what only RDS knows.
func (m *migration) inspect(ctx workflow.Context) error {
	var in contract.Inspection
	if err := workflow.ExecuteActivity(on(ctx, probe, m.sourceName()), acts.Inspect, m.spec).Get(ctx, &in); err != nil {
		return err
	}
	if m.spec.Source.Host == "" {
		m.spec.Source.Host, m.spec.Source.Port = in.Host, in.Port
	}
	if m.spec.Source.Password.RDSManaged {
		m.spec.Source.Password = contract.SecretRef{SecretARN: in.MasterSecretARN}
	}
	s := &m.status.Source
	s.Host, s.Port, s.Instance, s.InstanceStatus = m.spec.Source.Host, m.spec.Source.Port, in.Instance, in.Status
	return nil
}

// sourceName is the identifier of the instance or cluster.
func (m *migration) sourceName() string {
	return m.spec.Source.RDS.Instance + m.spec.Source.RDS.Cluster
}

// preflightError makes one failure of all fatal findings; its type is the first one's code.
func preflightError(problems []contract.Problem) error {
	var fatal []contract.Problem
	var lines []string
	for _, p := range problems {
		if p.Severity != contract.Fatal {
			continue
		}
		line := p.Message
		if p.Object != "" && !strings.Contains(p.Message, p.Object) {
			line = p.Object + ": " + line
		}
		if p.Remedy != "" && !strings.Contains(line, p.Remedy) {
			line += " (" + p.Remedy + ")"
		}
		fatal = append(fatal, p)
		lines = append(lines, line)
	}
	if len(fatal) == 0 {
		return nil
	}
	message := "preflight: " + strings.Join(lines, "; ")
	return temporal.NewApplicationErrorWithOptions(message, fatal[0].Code, temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{fatal[0]}})
}

// endUnchanged ends a migration that has not changed anything yet.
func (m *migration) endUnchanged(ctx workflow.Context, err error) (contract.Report, error) {
	cancelled := m.aborting || workflowCancelled(ctx)
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	m.closeIngress(ctx)
	if cancelled {
		m.enter(ctx, contract.PhaseAborted, "aborted before anything was changed")
		return m.finish(ctx, contract.PhaseAborted), nil
	}
	problem := problemOf(err)
	m.addProblem(problem)
	message := problem.Message
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		message = app.Message() // of all findings together
	}
	m.enter(ctx, contract.PhaseFailed, "%s", message)
	return contract.Report{}, temporal.NewApplicationErrorWithOptions(message, problem.Code,
		temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{problem}})
}

// prepareSource creates and attaches the parameter group. The ledger on the target comes first: whatever is changed from
// here on is recorded there before it is changed.
func (m *migration) prepareSource(ctx workflow.Context) error {
	m.enter(ctx, contract.PhasePreparingSource, "preparing the source")
	m.changed = true
	err := m.persist(ctx, func(ctx workflow.Context) error {
		return workflow.ExecuteActivity(on(ctx, quick, "bookkeeping on the target"), acts.CreateLedger, m.spec).Get(ctx, nil)
	})
	if err != nil {
		return err
	}
	if !m.plan.NeedsAttach && (len(m.plan.Changes) == 0 || !m.since(ctx, changesAttachedGroup)) {
		return nil
	}
	input := contract.ParameterInput{Spec: m.spec, Plan: m.plan}
	return m.persist(ctx, func(ctx workflow.Context) error {
		m.say(ctx, "creating parameter group %s", m.plan.Group)
		m.groupAsked = true
		if err := workflow.ExecuteActivity(on(ctx, quick, m.plan.Group), acts.ApplyParameterGroup, input).Get(ctx, nil); err != nil {
			return err
		}
		m.say(ctx, "attaching parameter group %s to %s", m.plan.Group, m.sourceName())
		err := workflow.ExecuteActivity(on(ctx, poll, m.plan.Group), acts.AttachParameterGroup, input).Get(ctx, nil)
		m.groupAttached = err == nil
		return err
	})
}

// approveAndReboot passes the gate approve-reboot or waits for the window, reboots, and reads the values in force from the
// server itself.
func (m *migration) approveAndReboot(ctx workflow.Context) error {
	if m.plan.NeedsReboot {
		if err := m.reboot(ctx); err != nil {
			return err
		}
	}
	return m.persist(ctx, func(ctx workflow.Context) error {
		m.say(ctx, "verifying the source's settings")
		input := contract.VerifyInput{Spec: m.spec, Changes: m.plan.Changes}
		return workflow.ExecuteActivity(on(ctx, quick, "settings, snapshot probe"), acts.VerifySource, input).Get(ctx, nil)
	})
}

// reboot asks for a reboot when it may, as often as a window closes before RDS takes the request.
func (m *migration) reboot(ctx workflow.Context) error {
	for {
		m.enter(ctx, contract.PhaseAwaitingReboot, "the source needs a reboot")
		notAfter, err := m.awaitReboot(ctx)
		if err != nil {
			return err
		}
		m.enter(ctx, contract.PhasePreparingSource, "rebooting %s", m.sourceName())
		missed := false
		err = m.persist(ctx, func(ctx workflow.Context) error {
			input := contract.RebootInput{Spec: m.spec, NotAfter: notAfter}
			err := workflow.ExecuteActivity(on(ctx, poll, "reboot "+m.sourceName()), acts.RebootSource, input).Get(ctx, nil)
			var app *temporal.ApplicationError
			if missed = errors.As(err, &app) && app.Type() == codeWindowClosed; missed {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		if !missed {
			m.status.Source.Rebooted = true
			return nil
		}
	}
}

// codeWindowClosed is the word for a window that closed before the reboot could be asked for, codeUnreachable for a server that
// the worker's packets do not reach.
const (
	codeWindowClosed = "window-closed"
	codeUnreachable  = "unreachable"
)

// awaitReboot waits until a reboot may be asked for. notAfter is the end of the window that it may be asked for in; nil: at
// any time.
func (m *migration) awaitReboot(ctx workflow.Context) (notAfter *time.Time, err error) {
	what := "the source needs a reboot for: " + changesInWords(m.plan.Changes)
	switch {
	case m.spec.Prepare.Reboot == "approve":
		return nil, m.awaitApproval(ctx, what)
	case m.spec.Prepare.Window != "":
		return m.awaitWindow(ctx, what)
	}
	return nil, nil
}

// awaitApproval waits for approve-reboot, and shows meanwhile what the reboot would interrupt.
func (m *migration) awaitApproval(ctx workflow.Context, what string) error {
	if m.activity != "" {
		what += "; as preflight saw it " + m.activity
	}
	watching, stop := workflow.WithCancel(ctx)
	watched := workflow.NewChannel(ctx)
	if m.since(ctx, watchedGate) {
		workflow.GoNamed(watching, "watch-source", func(ctx workflow.Context) {
			// Nothing depends on it: where it fails, the gate stays without its numbers.
			_ = workflow.ExecuteActivity(on(ctx, poll, "what a reboot would interrupt"), acts.WatchSource, m.spec).Get(ctx, nil)
			watched.Close()
		})
	} else {
		watched.Close()
	}
	err := m.await(ctx, func() bool { return m.rebootApproved }, what, contract.SignalApproveReboot)
	stop()
	unhurried, _ := workflow.NewDisconnectedContext(ctx)
	watched.Receive(unhurried, nil) // until it has ended: it is a session on the server that is about to go
	return err
}

// awaitWindow waits with a durable timer until prepare.window is open. approve-reboot opens it early.
func (m *migration) awaitWindow(ctx workflow.Context, what string) (notAfter *time.Time, err error) {
	for !m.rebootApproved {
		var window contract.RebootWindow
		err := m.persist(ctx, func(ctx workflow.Context) error {
			return workflow.ExecuteActivity(on(ctx, quick, m.spec.Prepare.Window), acts.PlanWindow, m.spec).Get(ctx, &window)
		})
		if err != nil {
			return nil, err
		}
		if window.Open {
			return &window.Closes, nil
		}
		m.gate = []string{contract.SignalApproveReboot}
		m.say(ctx, "%s; it waits for the window %s, which opens %s; approve-reboot reboots now", what, m.spec.Prepare.Window, window.Opens.Format("Mon 2006-01-02 15:04 MST"))
		_, err = workflow.AwaitWithTimeout(ctx, window.Opens.Sub(workflow.Now(ctx)), func() bool { return m.rebootApproved })
		m.gate = nil
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func changesInWords(changes []contract.ParameterChange) string {
	words := make([]string, len(changes))
	for i, c := range changes {
		old := c.Old
		if old == "" {
			old = "default"
		}
		words[i] = fmt.Sprintf("%s %s → %s", c.Name, old, c.New)
	}
	if len(words) == 0 {
		return "a parameter group that is attached already"
	}
	return strings.Join(words, ", ")
}
