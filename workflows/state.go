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

// migration is the state of one LiveMigration.
type migration struct {
	spec     contract.Spec
	status   contract.Status
	report   contract.Report
	history  history
	plan     contract.ParameterPlan
	hostID   string
	held     contract.SnapshotHeld
	back     back
	ingress  contract.IngressRule
	activity string // what a reboot would interrupt, as preflight saw it
	// mostStreams is what the connections of both servers have room for, as preflight saw them; 0: not known.
	mostStreams       int
	targetConnections contract.Connections // likewise, of the target alone
	// groupAsked is true once the parameter group may have been made, groupAttached once it is attached.
	groupAsked, groupAttached bool
	ingressProblem            contract.Problem // that kept a rule from being revoked
	// ingressAsked is true once a rule of the security group may have been made.
	ingressAsked bool
	// spoolOutOfReach is true when the worker that keeps the spool did not answer at the end.
	spoolOutOfReach bool
	changed         bool // something outside may have been changed: from here on only abort undoes it
	started         time.Time
	streaming       []*background
	indexes         *background // built beside the copy; nil in a migration from before that
	built           contract.IndexStatus
	receiver        *background // of changes; nil where they wait on the source
	holder          *background // of the snapshot, one of streaming
	secondHolder    *background // of the same snapshot on a second worker, likewise; nil while there is none
	// snapshotReleased is true once the copy needs the snapshot no more.
	snapshotReleased bool

	// What people asked for. Each is set by one transition function, whether it came as a signal or as an update.
	rebootApproved, hypertablesApproved, cutoverWanted, rollbackWanted, completeWanted, aborting bool

	keepTarget bool
	resumes    int // how often resume was asked for
	// steering is what was ordered last, inForce what is in the ledger.
	steering, inForce contract.Steering
	// switching is true from when an order to cut over is taken up until the switch begins or the order comes to nothing.
	switching bool
	verify    verifications

	// attempt is the switch under way, or the last one; 0 in a migration from before fences had a time limit.
	attempt int
	// pending is how many objects are made on the target as it is handed over that must not be there while changes are applied.
	pending int
	// handing is true from when the application may be led to the target, handedOver once it is, or may be.
	handing, handedOver bool
	// joining is true while new tables are carried over, applyHeld while nothing may be applied because of that.
	joining, applyHeld bool
	// schemaSeen is true once the source's schema was looked at; seenTables is the fingerprint of its new tables that were dealt
	// with, earlyLooks how often others have ended a look at the stream.
	schemaSeen bool
	seenTables string
	earlyLooks int
	// applying is how many activities run that a pause ends.
	applying int

	gate    []string // signals that would open the gate the story stands at
	stopped int      // how many steps wait for resume
	doing   string   // the story's own message, which a stopped step's hides

	work       workflow.Context // between checking and completing; abort cancels it
	cancelWork workflow.CancelFunc
	// leg is the present way from a slot to the switch, which a resync ends.
	leg       workflow.Context
	cancelLeg workflow.CancelFunc
	resyncing bool
}

func newMigration(ctx workflow.Context, spec contract.Spec) *migration {
	m := &migration{spec: spec, started: workflow.Now(ctx)}
	m.status = contract.Status{Name: spec.Name, Problems: []contract.Problem{},
		Source: contract.SourceStatus{Host: spec.Source.Host, Port: spec.Source.Port}}
	m.steering = contract.Steering{Concurrency: spec.Copy.Concurrency, IndexJobs: spec.Copy.IndexJobs}
	m.inForce = m.steering
	m.report = contract.Report{Name: spec.Name, Started: m.started, Identities: []contract.IdentityChoice{},
		Hypertables: []string{}, RolesCreated: []string{}, RolesWithoutPassword: []string{}, Left: []string{}, Options: spec.Choices(),
		Target: &contract.TargetStatus{Host: spec.Target.Host, Port: spec.Target.Port, Database: spec.Target.Database}}
	return m
}

// enter makes phase the current one and tells the UI.
func (m *migration) enter(ctx workflow.Context, phase contract.Phase, format string, args ...any) {
	now := workflow.Now(ctx)
	if n := len(m.status.Phases); n > 0 && m.status.Phases[n-1].Phase != phase {
		last := &m.status.Phases[n-1]
		last.MS = now.Sub(last.Entered).Milliseconds()
	}
	if n := len(m.status.Phases); n == 0 || m.status.Phases[n-1].Phase != phase {
		m.status.Phases = append(m.status.Phases, contract.PhaseTime{Phase: phase, Entered: now})
		workflow.GetLogger(ctx).Info("phase entered", "phase", phase)
	}
	m.status.Phase = phase
	m.say(ctx, format, args...)
}

// say sets the message that people read in status and in the UI.
func (m *migration) say(ctx workflow.Context, format string, args ...any) {
	m.doing = fmt.Sprintf(format, args...)
	m.show(ctx, m.doing)
}

func (m *migration) show(ctx workflow.Context, message string) {
	m.status.Message = message
	m.refresh(ctx)
}

// refresh tells the UI what has changed, and notes when problems came and went.
func (m *migration) refresh(ctx workflow.Context) {
	m.history.note(m.status.Problems, workflow.Now(ctx))
	workflow.SetCurrentDetails(ctx, m.details())
}

// message is the status's message. One that is paused does not say otherwise.
func (m *migration) message() string {
	if !m.steering.Paused {
		return m.status.Message
	}
	held := "nothing new begins until resume"
	switch m.status.Phase {
	case contract.PhaseCopying:
		held = "parts under way are copied to their end, then nothing until resume; the snapshot is kept"
	case contract.PhaseCatchingUp, contract.PhaseInSync:
		held = "changes are received, but not applied until resume"
	}
	return "paused: " + held + " (" + m.status.Message + ")"
}

// details is the markdown that the UI shows on top.
func (m *migration) details() string {
	var b strings.Builder
	b.WriteString(fmt.Sprintf("**%s**: %s\n", m.status.Phase, m.message()))
	if signals := m.awaiting(); len(signals) > 0 {
		b.WriteString(fmt.Sprintf("\nWaiting for signal: `%s`\n", strings.Join(signals, "`, `")))
	}
	if c := m.status.Copy; c.Tables > 0 {
		b.WriteString(fmt.Sprintf("\n- copy: %d of %d tables, %d of %d parts, %d rows, %.1f MiB\n", c.TablesDone, c.Tables, c.PartsDone, c.Parts, c.Rows, float64(c.BytesDone)/(1<<20)))
	}
	if r := m.status.Replication; r.AppliedLSN != 0 {
		b.WriteString(fmt.Sprintf("- stream: applied to %s, %d bytes behind\n", r.AppliedLSN, r.LagBytes))
	}
	if s := m.status.Back; s != nil && s.Since != 0 {
		b.WriteString(fmt.Sprintf("- way back: applied to %s on the source, %d bytes behind\n", s.Replication.AppliedLSN, s.Replication.LagBytes))
	}
	for _, p := range m.status.Problems {
		if p.Severity == contract.Fatal {
			b.WriteString(fmt.Sprintf("\n> **%s** %s: %s\n", p.Code, p.Object, p.Message))
		}
	}
	return b.String()
}

// awaiting lists the signals that would let the migration go on.
func (m *migration) awaiting() []string {
	signals := append([]string{}, m.gate...)
	if m.stopped > 0 || m.steering.Paused {
		signals = append(signals, contract.SignalResume)
	}
	if m.streamIsLost() && m.refuseResync() == "" {
		signals = append(signals, contract.SignalResync)
	}
	if len(signals) > 0 && m.refuseAbort() == "" {
		signals = append(signals, contract.SignalAbort)
	}
	return signals
}

// await blocks until ready holds, showing which signals would help. It ends with ctx's error when work is cancelled.
func (m *migration) await(ctx workflow.Context, ready func() bool, message string, signals ...string) error {
	m.gate = signals
	m.say(ctx, "%s", message)
	err := workflow.Await(ctx, ready)
	m.gate = nil
	return err
}

// persist runs do until it succeeds. A failure that Temporal's retries do not mend becomes a problem that a person sees,
// and do runs again after `resume`.
func (m *migration) persist(ctx workflow.Context, do func(workflow.Context) error) error {
	for {
		err := do(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		problem := problemOf(err)
		workflow.GetLogger(ctx).Error("stopped by a problem", "class", problem.Code, "err", problem.Message)
		m.addProblem(problem)
		m.stopped++
		seen := m.resumes
		m.show(ctx, "stopped: "+problem.Message)
		err = workflow.Await(ctx, func() bool { return m.resumes > seen })
		m.stopped--
		m.removeProblem(problem)
		if m.stopped == 0 { // one resume starts all of them
			m.show(ctx, m.doing)
		}
		if err != nil {
			return err
		}
	}
}

func (m *migration) addProblem(p contract.Problem) {
	m.removeProblem(p)
	m.status.Problems = append(m.status.Problems, p)
}

func (m *migration) removeProblem(p contract.Problem) {
	kept := []contract.Problem{}
	for _, q := range m.status.Problems {
		if q.Code != p.Code || q.Object != p.Object {
			kept = append(kept, q)
		}
	}
	m.status.Problems = kept
}

// openProblem is the first problem that forbids a cutover, or nil.
func (m *migration) openProblem() *contract.Problem {
	for i, p := range m.status.Problems {
		if p.Severity == contract.Fatal {
			return &m.status.Problems[i]
		}
	}
	return nil
}

// answer is what the query status returns.
func (m *migration) answer() contract.Status {
	s := m.status
	s.Awaiting = m.awaiting()
	s.Paused = m.steering.Paused
	s.Message = m.message()
	return s
}

// problemOf takes the problem out of an activity's error, or makes one of its text.
func problemOf(err error) contract.Problem {
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		var p contract.Problem
		if app.HasDetails() && app.Details(&p) == nil && p.Message != "" {
			return p
		}
		return contract.Problem{Severity: contract.Fatal, Code: app.Type(), Message: app.Message()}
	}
	var step *temporal.ActivityError
	if temporal.IsTimeoutError(err) && errors.As(err, &step) {
		return contract.Problem{Severity: contract.Fatal, Code: "timeout", Message: step.ActivityType().GetName() + " did not end in time"}
	}
	return contract.Problem{Severity: contract.Fatal, Code: "failed", Message: err.Error()}
}
