package workflows

import (
	"slices"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// objectCleanup is what the problem of a migration that cannot end stands under; each thing that is left has one of its own.
const objectCleanup = "cleanup"

// requireNothingLeft looks for what the migration made and should have removed. It asks the servers, not the bookkeeping: what was
// forgotten is found too. left is what was said to stay, and why.
func (m *migration) requireNothingLeft(ctx workflow.Context, left []string) error {
	if !m.since(ctx, leftoversSought) {
		return nil
	}
	m.forgetProblems([]string{contract.CodeLeftover})
	m.say(ctx, "looking for what is left")
	input := contract.LeftoverInput{Spec: m.spec, FenceStays: m.status.Cutover.Fenced,
		TargetFenceStays: m.status.Rollback != nil && m.status.Rollback.Fenced, Identities: m.setBack(left)}
	var found contract.Leftovers
	if err := workflow.ExecuteActivity(on(ctx, quick, "what is left on both sides"), acts.FindLeftovers, input).Get(ctx, &found); err != nil {
		return err
	}
	if m.hostID != "" && len(m.spooled()) > 0 && !m.spoolOutOfReach {
		var files contract.Leftovers
		if err := workflow.ExecuteActivity(onHost(ctx, quick, m.hostID, "files"), acts.FindFiles, m.spec).Get(ctx, &files); err != nil {
			return err
		}
		found.Sought, found.Found = append(found.Sought, files.Sought...), append(found.Found, files.Found...)
	}
	return m.nameLeftovers(found)
}

// requireClosed looks for rules of the migration in the source's security group.
func (m *migration) requireClosed(ctx workflow.Context) error {
	group := m.spec.Prepare.SecurityGroup
	if group == "" || !m.since(ctx, leftoversSought) {
		return nil
	}
	m.forgetProblems([]string{contract.CodeLeftover})
	var rules contract.Leftovers
	if err := workflow.ExecuteActivity(on(ctx, quick, group), acts.FindRules, m.spec).Get(ctx, &rules); err != nil {
		return err
	}
	if len(rules.Found) > 0 {
		m.ingressAsked, m.ingress = true, contract.IngressRule{} // they carry our name, whatever we know of them
	}
	for _, sought := range m.report.Leftovers.Sought { // on the servers, where nothing is left by now
		if !slices.Contains(rules.Sought, sought) {
			rules.Sought = append(rules.Sought, sought)
		}
	}
	return m.nameLeftovers(rules)
}

// nameLeftovers makes a problem of each thing, and one of all of them, which waits for resume; none where nothing is left.
func (m *migration) nameLeftovers(l contract.Leftovers) error {
	m.report.Leftovers = &l
	if len(l.Found) == 0 {
		return nil
	}
	var names []string
	for _, f := range l.Found {
		names = append(names, f.Thing)
		m.addProblem(contract.Problem{Severity: contract.Warning, Code: contract.CodeLeftover, Object: f.Thing, Message: "it is still there after everything was undone", Remedy: f.Remedy})
	}
	p := contract.Problem{Severity: contract.Fatal, Code: contract.CodeLeftover, Object: objectCleanup,
		Message: "not everything is removed: " + strings.Join(names, "; "),
		Remedy:  "remove them, or what keeps them from being removed, then resume: it is cleaned and looked for again"}
	return temporal.NewApplicationErrorWithOptions(p.Message, p.Code, temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{p}})
}

// setBack are the replica identities that must have been set back: those that were changed, but for what was said to stay as it is.
func (m *migration) setBack(left []string) []contract.IdentityChoice {
	const stays = "replica identity of "
	var all []contract.IdentityChoice
	for _, c := range m.report.Identities {
		kept := false
		for _, l := range left {
			// Where many stay, not all of them are named.
			kept = kept || strings.HasPrefix(l, stays+c.Table+":") || strings.HasSuffix(l, "more replica identities")
		}
		if c.Changed && !kept {
			all = append(all, c)
		}
	}
	return all
}
