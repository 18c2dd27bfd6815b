package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// answerReadiness registers the update that asks whether a cutover would work now. It changes nothing, in no phase.
func (m *migration) answerReadiness(ctx workflow.Context) error {
	return workflow.SetUpdateHandlerWithOptions(ctx, contract.UpdateReadiness, func(ctx workflow.Context) (contract.Readiness, error) {
		return m.readiness(ctx)
	}, workflow.UpdateHandlerOptions{Description: "Would a cutover work now, and how long would it take? Changes nothing."})
}

// readiness joins what the databases say with what the workflow knows.
func (m *migration) readiness(ctx workflow.Context) (contract.Readiness, error) {
	r := contract.Readiness{Ready: true}
	m.addPhase(&r)
	m.addProblems(&r)
	m.addVerification(&r)
	m.addRoles(&r)
	if m.status.Phase != contract.PhaseInSync && m.status.Phase != contract.PhaseCatchingUp {
		return r, nil
	}
	var told contract.Readiness
	err := workflow.ExecuteActivity(on(ctx, asked, "would a cutover work?"), acts.CheckReadiness, contract.ReadinessInput{Spec: m.spec}).Get(ctx, &told)
	if err != nil {
		p := problemOf(err)
		r.Add(contract.ReadinessCheck{Name: "databases", State: contract.CheckBlocking, Message: "they cannot be asked: " + p.Message, Remedy: p.Remedy})
		return r, nil
	}
	for _, c := range told.Checks {
		r.Add(c)
	}
	r.EstimatedMS, r.Estimate = told.EstimatedMS, told.Estimate
	m.estimateComparison(&r)
	return r, nil
}

func (m *migration) addPhase(r *contract.Readiness) {
	c := contract.ReadinessCheck{Name: "phase", State: contract.CheckOK, Message: string(m.status.Phase)}
	if m.status.Phase != contract.PhaseInSync {
		c.State, c.Remedy = contract.CheckBlocking, "a cutover needs in-sync"
	} else if m.aborting {
		c.State, c.Message = contract.CheckBlocking, "the migration is being aborted"
	} else if m.steering.Paused {
		c.State, c.Message, c.Remedy = contract.CheckBlocking, "the migration is paused", "resume it first"
	} else if m.cutoverWanted || m.switching {
		c.State, c.Message = contract.CheckBlocking, "a cutover is ordered already"
	} else if m.joining {
		c.State, c.Message = contract.CheckWarning, string(m.status.Phase)+", and new tables are being carried over: a cutover waits for them"
	}
	r.Add(c)
}

// addProblems: those that forbid a cutover, and those that are worth reading before one. New tables and changes of the schema are
// among them.
func (m *migration) addProblems(r *contract.Readiness) {
	open, noted := []string{}, []string{}
	for _, p := range m.status.Problems {
		text := strings.TrimSpace(fmt.Sprintf("%s %s: %s", p.Code, p.Object, p.Message))
		switch p.Severity {
		case contract.Fatal:
			open = append(open, text)
		case contract.Warning:
			noted = append(noted, text)
		}
	}
	c := contract.ReadinessCheck{Name: "problems", State: contract.CheckOK, Message: "none"}
	switch {
	case len(open) > 0:
		c = contract.ReadinessCheck{Name: "problems", State: contract.CheckBlocking, Message: fmt.Sprintf("%d are open", len(open)), Items: firstOf(open), Remedy: "mend them, then resume"}
	case len(noted) > 0:
		c = contract.ReadinessCheck{Name: "problems", State: contract.CheckWarning, Message: fmt.Sprintf("%d warnings; they do not keep a cutover from being made", len(noted)), Items: firstOf(noted), Remedy: "read them"}
	}
	r.Add(c)
}

// mostListed bounds each list of an answer; the message has the count.
const mostListed = 20

func firstOf(all []string) []string { return all[:min(len(all), mostListed)] }

func (m *migration) addVerification(r *contract.Readiness) {
	v := m.report.Verification
	c := contract.ReadinessCheck{Name: "verification", State: contract.CheckOK, Message: fmt.Sprintf("%d tables were equal by %s", v.Tables, v.Method)}
	switch {
	case v.Tables == 0 && m.spec.Cutover.Verify == "none":
		c.State, c.Message, c.Remedy = contract.CheckWarning, "nothing was compared, and cutover.verify is none", "have the two sides compared at least once"
	case v.Tables == 0:
		c.State, c.Message = contract.CheckWarning, "no table was compared yet: the cutover compares all by "+m.spec.Cutover.Verify+" while the application waits"
	case !v.Equal:
		c.State, c.Message, c.Remedy = contract.CheckWarning, fmt.Sprintf("%d tables were not equal the last time", len(v.Differences)), "look at them first: the cutover would be refused again"
	}
	r.Add(c)
}

func (m *migration) addRoles(r *contract.Readiness) {
	c := contract.ReadinessCheck{Name: "roles", State: contract.CheckOK, Message: "no migrated role is without a password"}
	if without := m.report.RolesWithoutPassword; len(without) > 0 {
		c.State, c.Items = contract.CheckWarning, firstOf(without)
		c.Message = fmt.Sprintf("%d roles were made without a password, unless it was set since", len(without))
		c.Remedy = "starter passwords " + m.spec.Name + ": without one the application cannot log in on the target"
	}
	r.Add(c)
}

// estimateComparison adds the time of the comparison, as it took the last time.
func (m *migration) estimateComparison(r *contract.Readiness) {
	v := m.report.Verification
	switch {
	case m.spec.Cutover.Verify == "none":
	case v.Tables > 0:
		r.EstimatedMS += int64(v.Seconds * 1000)
		r.Estimate += fmt.Sprintf(", and %.1f s for the comparison, as the last one took", v.Seconds)
	default:
		r.Estimate += ", and what the comparison takes, which is not known yet"
	}
	if limit := m.spec.Cutover.MaxDowntimeDuration(); r.EstimatedMS > limit.Milliseconds() {
		r.Add(contract.ReadinessCheck{Name: "downtime", State: contract.CheckBlocking, Message: fmt.Sprintf("about %d ms are expected, and cutover.maxDowntime is %s", r.EstimatedMS, limit),
			Remedy: "start with a larger cutover.maxDowntime, or with cutover.verify: count"})
	}
}
