package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"timeferry/internal/change"
	"timeferry/internal/contract"
)

// The way back (cutover.reverse): from the switch on, what is written to the target streams to the source, so that `rollback`
// can bring the application back without losing any of it. It is the same stream with its ends exchanged (contract.Spec.Back):
// the same activities receive, spool, apply, compare and fence. Two streams never run at once: the one to the target is stopped,
// and its slot dropped, before the one to the source begins, so that no change goes in a circle.

// back is what the story keeps of it.
type back struct {
	spec     contract.Spec // the order with its ends exchanged
	prepared bool          // something of it may be on the target or the source
	cleaned  bool          // all but the spool is gone again, after a rollback
	since    change.LSN    // where it begins, in the target's WAL
	first    *background   // the first comparison, which need not wait for a rollback
	attempt  int           // the rollback under way, or the last one
}

// prepareBack makes slot and bookkeeping before the source is fenced: making a slot waits for open transactions.
func (m *migration) prepareBack(ctx workflow.Context) error {
	if !m.spec.Cutover.Reverse {
		return nil
	}
	m.switching = true
	defer func() { m.switching = false }()
	m.say(ctx, "preparing the way back: a slot on the target")
	m.back = back{prepared: true, spec: m.spec.Back("")} // before it is so: if its answer is lost, it must be taken away all the same
	began := workflow.Now(ctx)
	var plan contract.BackPlan
	if err := workflow.ExecuteActivity(on(ctx, probe, "slot on the target"), acts.PrepareBack, m.spec).Get(ctx, &plan); err != nil {
		m.status.Cutover = contract.CutoverStatus{Steps: []contract.StepTime{{Step: "way back", MS: workflow.Now(ctx).Sub(began).Milliseconds()}}}
		return err
	}
	m.back.spec = m.spec.Back(plan.Plugin)
	m.status.Back = &contract.BackStatus{Slot: plan.Slot}
	return nil
}

// beginBack notes the end of the target's WAL as the beginning. It is the last step before the application may write there.
func (m *migration) beginBack(ctx workflow.Context) error {
	return workflow.ExecuteActivity(on(ctx, downtime, "where the way back begins"), acts.BeginBack, m.spec).Get(ctx, &m.back.since)
}

// dropBack takes away what a switch that failed has prepared.
func (m *migration) dropBack(ctx workflow.Context) error {
	if !m.back.prepared {
		return nil
	}
	left, err := m.undoBack(ctx)
	if err != nil {
		return err
	}
	m.report.Left = append(m.report.Left, left...)
	m.back, m.status.Back = back{}, nil
	return nil
}

// undoBack removes slot, publication and changed identities from the target, and the bookkeeping from the source.
func (m *migration) undoBack(ctx workflow.Context) (left []string, err error) {
	input := contract.UndoInput{Spec: m.back.spec, KeepTarget: true}
	err = m.persist(ctx, func(ctx workflow.Context) error {
		var target, source contract.UndoResult
		if err := workflow.ExecuteActivity(on(ctx, quick, "slot of the way back"), acts.CleanSource, input).Get(ctx, &target); err != nil {
			return err
		}
		if err := workflow.ExecuteActivity(on(ctx, quick, "bookkeeping of the way back"), acts.CleanTarget, input).Get(ctx, &source); err != nil {
			return err
		}
		left = append(target.Left, source.Left...)
		return nil
	})
	return left, err
}

// streamBack stops the stream to the target, which has nothing to bring any more and would bring back what comes back, and
// begins the one to the source.
func (m *migration) streamBack(ctx workflow.Context) error {
	if err := m.stopAll(ctx); err != nil {
		return err
	}
	err := m.persist(ctx, func(ctx workflow.Context) error { // else it would keep the source's WAL for ever
		return workflow.ExecuteActivity(on(ctx, quick, "slot and publication on the source"), acts.CleanSource, contract.UndoInput{Spec: m.spec}).Get(ctx, nil)
	})
	if err != nil {
		return err
	}
	m.status.Back.Since = m.back.since
	m.begin(ctx, "receive-back", func(ctx workflow.Context) error {
		return workflow.ExecuteActivity(onHost(ctx, stream, m.hostID, "target's slot → spool"), acts.Receive, m.back.spec).Get(ctx, nil)
	})
	m.begin(ctx, "apply-back", func(ctx workflow.Context) error {
		return workflow.ExecuteActivity(onHost(ctx, stream, m.hostID, "spool → source"), acts.Apply, m.back.spec).Get(ctx, nil)
	})
	m.begin(ctx, "watch-back", m.watchBack)
	m.watchSlot(ctx, m.back.spec)
	if m.spec.Cutover.Verify != "none" {
		m.back.first = m.begin(ctx, "verify-back", func(ctx workflow.Context) error {
			m.compareBackFirst(ctx)
			return ctx.Err()
		})
	}
	return nil
}

// watchBack follows how far the source is behind the target, for as long as it is not cancelled.
func (m *migration) watchBack(ctx workflow.Context) error {
	began := workflow.Now(ctx)
	for {
		input := contract.LagInput{Spec: m.back.spec, Seconds: lookSeconds(workflow.Now(ctx).Sub(began))}
		var lag contract.ReplicationStatus // a new one: what is zero is not in its JSON
		if err := workflow.ExecuteActivity(on(ctx, poll, "lag of the way back"), acts.WatchLag, input).Get(ctx, &lag); err != nil {
			return err
		}
		m.status.Back.Replication = lag
		m.nameLeftBehind(ctx)
		m.refresh(ctx)
	}
}

// nameLeftBehind warns of tables that came into being on the target since the switch: their rows do not stream back.
func (m *migration) nameLeftBehind(ctx workflow.Context) {
	var names []string
	if err := workflow.ExecuteActivity(on(ctx, asked, "new tables on the target"), acts.FindNewTables, m.back.spec).Get(ctx, &names); err != nil {
		return // the next look tells
	}
	p := contract.Problem{Severity: contract.Warning, Code: codeLeftBehind, Object: objectRollback}
	m.removeProblem(p)
	if len(names) == 0 {
		return
	}
	p.Message = "these tables are new on the target, and their rows would stay there in a rollback: " + strings.Join(names, ", ")
	p.Remedy = "copy them to the source by hand after a rollback, if they are needed there"
	m.addProblem(p)
}

// codeLeftBehind: what is on the target only would not come back with a rollback.
const codeLeftBehind = "left-behind"

// compareBackFirst compares everything once the source has come close, so that a rollback has little left to compare.
func (m *migration) compareBackFirst(ctx workflow.Context) {
	v, err := m.compareBackAtBarrier(ctx, "back-first", verifyBackFirst)
	if ctx.Err() != nil {
		return
	}
	p := contract.Problem{Severity: contract.Warning, Code: codeVerifyFailed, Object: objectRollback, Remedy: "a rollback compares again before it fences the target"}
	if err == nil && v.UnequalCount > 0 {
		err = unequal(v)
		p.Code = codeNotEqual
	}
	if err != nil {
		p.Message = "after the switch: " + problemOf(err).Message
		m.addProblem(p)
	}
}

// compareBackAtBarrier compares while the application goes on writing to the target.
func (m *migration) compareBackAtBarrier(ctx workflow.Context, run, why string) (contract.Verification, error) {
	return m.runAtBarrier(ctx, contract.BarrierInput{Spec: m.back.spec, Run: run, Method: m.spec.Cutover.Verify}, why)
}

// awaitEnd keeps everything as it is after the switch, until a person says that the application is happy on the target, or wants
// it back on the source.
func (m *migration) awaitEnd(ctx workflow.Context, message string) error {
	if err := m.streamBack(ctx); err != nil {
		return err
	}
	for {
		err := m.await(ctx, func() bool { return m.completeWanted || m.rollbackWanted }, message, contract.SignalComplete, contract.SignalRollback)
		if err != nil || m.completeWanted {
			return err
		}
		err = m.rollBack(ctx)
		m.rollbackWanted = false
		if err != nil {
			return err
		}
		if m.status.Phase == contract.PhaseRolledBack {
			return m.await(ctx, func() bool { return m.completeWanted }, m.rolledBackWords(), contract.SignalComplete)
		}
	}
}

func (m *migration) rolledBackWords() string {
	what := "point the application to it"
	if m.status.Rollback.Switch != "" {
		what = m.status.Rollback.Switch + ": look whether the application is well"
	}
	return fmt.Sprintf("rolled back after %d ms: the source is open again, %s, then complete", m.status.Rollback.DowntimeMS, what)
}
