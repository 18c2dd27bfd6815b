package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// openIngress lets the worker into the source's security group. From the moment it is asked for, closeIngress has to be
// called at the end, whatever became of it.
func (m *migration) openIngress(ctx workflow.Context) error {
	m.say(ctx, "opening security group %s for the worker", m.spec.Prepare.SecurityGroup)
	m.ingressAsked = true
	if err := workflow.ExecuteActivity(on(ctx, probe, m.spec.Prepare.SecurityGroup), acts.OpenIngress, m.spec).Get(ctx, &m.ingress); err != nil {
		return err
	}
	if m.ingress.Ours {
		m.status.Source.IngressRule = m.ingress.ID
	}
	return nil
}

// closeIngress revokes what openIngress made, and exactly that. Where it cannot, it says what is left to do.
func (m *migration) closeIngress(ctx workflow.Context) {
	if !m.ingressAsked || m.ingress.ID != "" && !m.ingress.Ours {
		return // nothing was asked for, or the rule was there before
	}
	group := m.spec.Prepare.SecurityGroup
	input := contract.IngressInput{Spec: m.spec, RuleID: m.ingress.ID}
	m.say(ctx, "closing security group %s", group)
	m.removeProblem(m.ingressProblem)
	if err := workflow.ExecuteActivity(on(ctx, quick, group), acts.CloseIngress, input).Get(ctx, nil); err != nil {
		p := problemOf(err)
		p.Severity = contract.Warning
		m.ingressProblem = p
		m.addProblem(p)
		m.report.Left = append(m.report.Left, fmt.Sprintf("the rule of security group %s that is described as \"Timeferry migration %s\" (%s): revoke it by hand", group, m.spec.Name, p.Message))
		return
	}
	m.ingressAsked = false
	m.status.Source.IngressRule = ""
}
