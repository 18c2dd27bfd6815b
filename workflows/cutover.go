package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"timeferry/internal/change"
	"timeferry/internal/contract"
)

// lookSeconds is how long one look at the stream lasts while it is in sync: short enough at first that the details in the UI
// stay fresh, and long enough after a day that five months of waiting fit into one history. (Each look is twelve events, with the one for new tables; the server
// ends a workflow with 51,200 of them, and what it leaves is a slot that nobody reads.)
func lookSeconds(waited time.Duration) int64 {
	if waited < 24*time.Hour {
		return 600
	}
	return 3600
}

// Codes of why an ordered cutover did not begin.
const (
	codeLagTooHigh = "lag-too-high"
	codeLagUnknown = "lag-unknown"
)

// cutOver waits in sync for the order to switch, and switches. A cutover that fails lifts the fence and goes back to
// in-sync, with the reason as a problem.
func (m *migration) cutOver(ctx workflow.Context) error {
	for attempt := 1; ; attempt++ {
		if attempt > 1 && m.since(ctx, oneOrderOneSwitch) {
			m.cutoverWanted = false // an order that came while the switch that failed was beginning meant that one
		}
		if err := m.awaitCutover(ctx); err != nil {
			return err
		}
		err := m.verifyBeforeFence(ctx, attempt)
		if err == nil {
			err = m.prepareBack(ctx)
		}
		if err == nil {
			err = m.switchOver(ctx, attempt)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		problem := problemOf(err)
		problem.Severity, problem.Object = contract.Warning, "cutover"
		m.addProblem(problem)
		workflow.GetLogger(ctx).Warn("cutover failed, back to in-sync", "err", problem.Message)
		if err := m.unfence(ctx); err != nil {
			return err
		}
		if err := m.dropBack(ctx); err != nil {
			return err
		}
	}
}

// awaitCutover stays in sync until a person (or mode auto) wants the switch and the lag allows it.
func (m *migration) awaitCutover(ctx workflow.Context) error {
	m.enter(ctx, contract.PhaseInSync, "in sync")
	m.verifyInSync(ctx)
	// Mode auto orders one switch, as soon as no problem is open; after one that failed a person decides.
	auto := m.spec.Cutover.Mode == "auto" && len(m.status.Cutover.Steps) == 0
	ordered := func() bool { return m.cutoverWanted || auto && m.openProblem() == nil && !m.steering.Paused }
	if auto && !ordered() && !m.since(ctx, autoAfterProblem) {
		ordered = func() bool { return m.cutoverWanted }
	}
	defer func() { m.switching = false }()
	for {
		m.switching = false
		if err := m.awaitOrder(ctx, ordered); err != nil {
			return err
		}
		m.cutoverWanted, m.switching = false, true
		m.lookForNewTables(ctx)
		if err := m.untilJoined(ctx); err != nil {
			return err
		}
		lag, err := m.measureLag(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			m.status.Replication = lag
			if lag.LagBytes <= m.spec.Cutover.MaxLagBytes() {
				return nil
			}
			m.addProblem(contract.Problem{Severity: contract.Warning, Code: codeLagTooHigh, Object: "cutover", Message: tooFarBehind(lag, m.spec)})
		} else {
			m.addProblem(contract.Problem{Severity: contract.Warning, Code: codeLagUnknown, Object: "cutover",
				Message: "cutover not begun, the lag cannot be measured: " + problemOf(err).Message})
		}
		if auto {
			m.switching = false
			if err := m.awaitSync(ctx); err != nil {
				return err
			}
		}
	}
}

// awaitOrder blocks until a cutover is ordered, following the stream meanwhile.
func (m *migration) awaitOrder(ctx workflow.Context, ordered func() bool) error {
	watching, cancel := workflow.WithCancel(ctx)
	ended, began := false, workflow.Now(ctx)
	workflow.GoNamed(watching, "watch-lag", func(ctx workflow.Context) {
		// The first look is short: the one at the schema that follows it is what later ones know new tables by.
		look := contract.LagInput{Spec: m.spec, Seconds: newTablesEvery}
		for err := error(nil); err == nil; look.Seconds = lookSeconds(workflow.Now(ctx).Sub(began)) {
			if _, err = m.watchLag(ctx, m.untilNewTables(look)); err == nil {
				m.lookForNewTables(ctx)
			}
		}
		ended = true
	})
	err := m.await(ctx, ordered, "in sync: the target follows the source", contract.SignalCutover)
	cancel()
	if waitErr := workflow.Await(ctx, func() bool { return ended }); err == nil {
		err = waitErr
	}
	return err
}

// switchOver is the downtime: fence, marker, drain, sequences, comparison. It is not interrupted by abort.
func (m *migration) switchOver(ctx workflow.Context, attempt int) error {
	if m.since(ctx, guardedFence) {
		return m.switchInTime(ctx, attempt)
	}
	m.enter(ctx, contract.PhaseCuttingOver, "switching over")
	m.removeProblem(contract.Problem{Code: codeLagTooHigh, Object: "cutover"})
	m.removeProblem(contract.Problem{Code: codeLagUnknown, Object: "cutover"})
	c := &m.status.Cutover
	*c = contract.CutoverStatus{}
	began := workflow.Now(ctx)
	step := func(name string, do func() error) error {
		m.say(ctx, "switching over: %s", name)
		start := workflow.Now(ctx)
		err := do()
		c.Steps = append(c.Steps, contract.StepTime{Step: name, MS: workflow.Now(ctx).Sub(start).Milliseconds()})
		return err
	}
	if m.spec.Cutover.Fence == "readOnly" {
		c.Fenced = true // before it is so: if its answer is lost, it must be lifted all the same
		var fence contract.FenceResult
		err := step("fence", func() error {
			return workflow.ExecuteActivity(on(ctx, downtime, "no more writes on the source"), acts.Fence, m.spec).Get(ctx, &fence)
		})
		if err != nil {
			return err
		}
		m.nameSpared("cutover", "source", fence.Spared)
	}
	err := step("marker", func() error {
		return workflow.ExecuteActivity(on(ctx, downtime, "end of the stream"), acts.EmitMarker, m.spec).Get(ctx, &c.MarkerLSN)
	})
	if err != nil {
		return err
	}
	err = step("drain", func() error { return m.drain(ctx, c.MarkerLSN) })
	if err != nil {
		return err
	}
	err = step("sequences", func() error {
		return workflow.ExecuteActivity(on(ctx, downtime, "sequences"), acts.CopySequences, m.spec).Get(ctx, &c.Sequences)
	})
	if err != nil {
		return err
	}
	if err := step("verify", func() error { return m.compare(ctx, attempt) }); err != nil {
		return err
	}
	// Last, since it cannot be taken back: from here on triggers may fire that would disturb the applier.
	err = step("triggers", func() error { return m.restoring(ctx, downtime, "triggers that always fire", acts.RestoreAtCutover) })
	if err != nil {
		return err
	}
	c.DowntimeMS = workflow.Now(ctx).Sub(began).Milliseconds()
	return nil
}

// nameSpared warns of sessions that the fence could not end.
func (m *migration) nameSpared(object, side string, sessions []string) {
	spared := contract.Problem{Severity: contract.Warning, Code: "sessions-spared", Object: object, Remedy: "make sure that they do not write"}
	m.removeProblem(spared)
	if len(sessions) > 0 {
		spared.Message = "only a superuser could end these sessions on the " + side + ", the fence does not hold them: " + strings.Join(sessions, ", ")
		m.addProblem(spared)
	}
}

func (m *migration) drain(ctx workflow.Context, lsn change.LSN) error {
	return workflow.ExecuteActivity(on(ctx, downtime, "apply everything up to "+lsn.String()), acts.Drain, contract.DrainInput{Spec: m.spec, LSN: lsn}).
		Get(ctx, &m.status.Replication)
}

// unfence opens the source again. It goes on until it has succeeded: a fence left up is an outage.
func (m *migration) unfence(ctx workflow.Context) error {
	if m.attempt > 0 {
		return m.takeBack(ctx, false)
	}
	if !m.status.Cutover.Fenced {
		return nil
	}
	err := m.persist(ctx, func(ctx workflow.Context) error {
		return workflow.ExecuteActivity(on(ctx, urgent, "open the source for writes again"), acts.Unfence, m.spec).Get(ctx, nil)
	})
	if err == nil {
		m.status.Cutover.Fenced = false
	}
	return err
}

// awaitComplete keeps everything as it is until a person says that the application is happy on the target.
func (m *migration) awaitComplete(ctx workflow.Context) error {
	m.enter(ctx, contract.PhaseCutOver, "cut over")
	if err := m.finishSchema(ctx); err != nil { // what could be restored only after the applier's last change
		return err
	}
	m.noteSchemaChanges(ctx)
	message := fmt.Sprintf("cut over after %d ms: point the application to the target, then complete", m.status.Cutover.DowntimeMS)
	if m.status.Cutover.Switch != "" {
		message = fmt.Sprintf("cut over after %d ms, %s: look whether the application is well, then complete", m.status.Cutover.DowntimeMS, m.status.Cutover.Switch)
	}
	if m.back.prepared {
		return m.awaitEnd(ctx, message+", or rollback: what is written there streams back to the source until then")
	}
	return m.await(ctx, func() bool { return m.completeWanted }, message, contract.SignalComplete)
}
