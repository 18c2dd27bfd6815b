package workflows

import (
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// check looks at both ends without changing anything. Whatever it finds wrong fails the workflow.
func (m *migration) check(ctx workflow.Context) error {
	m.enter(ctx, contract.PhasePreflight, "checking source and target")
	if m.spec.Source.RDS != nil {
		if err := m.inspect(ctx); err != nil {
			return err
		}
		if err := workflow.ExecuteActivity(on(ctx, probe, "compare parameters"), acts.PlanParameters, m.spec).Get(ctx, &m.plan); err != nil {
			return err
		}
		m.status.Source.ParameterGroup = m.plan.Group
		m.status.Source.PreviousGroup = m.plan.Previous
		m.status.Source.Changes = m.plan.Changes
	}
	var found contract.PreflightResult
	input := contract.PreflightInput{Spec: m.spec, CanReboot: m.plan.NeedsReboot && m.spec.Prepare.Reboot != "never"}
	if err := workflow.ExecuteActivity(on(ctx, probe, "preflight"), acts.Preflight, input).Get(ctx, &found); err != nil {
		return err
	}
	m.status.Source.Version = found.SourceVersion
	m.status.Copy.Tables, m.status.Copy.Bytes = found.Tables, found.Bytes
	m.status.Problems = append(m.status.Problems, found.Problems...)
	return preflightError(found.Problems)
}

// inspect asks RDS about the instance, and completes the spec with what only RDS knows.
func (m *migration) inspect(ctx workflow.Context) error {
	var in contract.Inspection
	if err := workflow.ExecuteActivity(on(ctx, probe, m.spec.Source.RDS.Instance), acts.Inspect, m.spec).Get(ctx, &in); err != nil {
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
		if p.Remedy != "" {
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
	if m.aborting || workflowCancelled(ctx) {
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
	if !m.plan.NeedsAttach {
		return nil
	}
	input := contract.ParameterInput{Spec: m.spec, Plan: m.plan}
	return m.persist(ctx, func(ctx workflow.Context) error {
		m.say(ctx, "creating parameter group %s", m.plan.Group)
		if err := workflow.ExecuteActivity(on(ctx, quick, m.plan.Group), acts.ApplyParameterGroup, input).Get(ctx, nil); err != nil {
			return err
		}
		m.say(ctx, "attaching parameter group %s to %s", m.plan.Group, m.spec.Source.RDS.Instance)
		return workflow.ExecuteActivity(on(ctx, poll, m.plan.Group), acts.AttachParameterGroup, input).Get(ctx, nil)
	})
}

// approveAndReboot passes the gate approve-reboot, reboots, and reads the values in force from the server itself.
func (m *migration) approveAndReboot(ctx workflow.Context) error {
	if m.plan.NeedsReboot {
		m.enter(ctx, contract.PhaseAwaitingReboot, "the source needs a reboot")
		if m.spec.Prepare.Reboot == "approve" {
			message := fmt.Sprintf("the source needs a reboot for: %s", changesInWords(m.plan.Changes))
			if err := m.await(ctx, func() bool { return m.rebootApproved }, message, contract.SignalApproveReboot); err != nil {
				return err
			}
		}
		m.enter(ctx, contract.PhasePreparingSource, "rebooting %s", m.spec.Source.RDS.Instance)
		err := m.persist(ctx, func(ctx workflow.Context) error {
			return workflow.ExecuteActivity(on(ctx, poll, "reboot "+m.spec.Source.RDS.Instance), acts.RebootSource, m.spec).Get(ctx, nil)
		})
		if err != nil {
			return err
		}
		m.status.Source.Rebooted = true
	}
	return m.persist(ctx, func(ctx workflow.Context) error {
		m.say(ctx, "verifying the source's settings")
		return workflow.ExecuteActivity(on(ctx, quick, "settings, snapshot probe"), acts.VerifySource, m.spec).Get(ctx, nil)
	})
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
