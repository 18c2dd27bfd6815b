package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// A resync leaves the story where it stands, makes slot, spool and rows void, and takes it up again at the copy. It is what helps
// when changes are lost for good; the schema on the target stays, with its indexes.

// streamLost are the codes of problems that only a fresh slot and copy mend.
var streamLost = []string{contract.CodeSlotLost, "spool-gap", "spool-corrupt", "other-source", "source-diverged", "row-missing", "row-ambiguous", "conflict", "not-equal"}

// spoolPatience is how long a resync waits for the worker that keeps the spool, before another one gets to keep the next.
const spoolPatience = time.Minute

// resync is the order's transition: the steps under way end, and forward goes on with startOver.
func (m *migration) resync(workflow.Context, contract.Note) {
	m.resyncing = true
	m.cancelLeg()
}

func (m *migration) refuseResync() string {
	switch {
	case m.aborting:
		return "the migration is being aborted"
	case m.resyncing:
		return "it is under way already"
	case m.cutoverWanted || m.switching:
		return "a cutover has been ordered and begins"
	}
	switch m.status.Phase {
	case contract.PhaseCatchingUp, contract.PhaseInSync:
		return ""
	case contract.PhaseCopying, contract.PhaseIndexing:
		if m.streamIsLost() {
			return ""
		}
		return "the copy is under way, and the stream is whole: there is nothing to begin again"
	case contract.PhaseCuttingOver:
		return "the cutover is under way; it ends by itself within moments, or goes back to in-sync"
	case contract.PhaseCutOver, contract.PhaseRollingBack, contract.PhaseRolledBack:
		return "the application may have written to the target already"
	}
	return fmt.Sprintf("the migration is in phase %s: nothing is copied yet, or it has ended", m.status.Phase)
}

// streamIsLost is true when a problem is open that a resync mends.
func (m *migration) streamIsLost() bool {
	return slices.ContainsFunc(m.status.Problems, func(p contract.Problem) bool {
		return p.Severity == contract.Fatal && slices.Contains(streamLost, p.Code)
	})
}

// legs runs steps, and after a resync the way from the fresh slot on, until one comes to its end.
func (m *migration) legs(ctx workflow.Context, steps []func(workflow.Context) error) error {
	for {
		m.leg, m.cancelLeg = workflow.WithCancel(ctx)
		err := m.through(m.leg, steps)
		if !m.resyncing || ctx.Err() != nil {
			return err
		}
		if err := m.stopAll(ctx); err != nil {
			return err
		}
		m.forgetLeg()
		steps = []func(workflow.Context) error{m.startOver, m.copyData, m.buildIndexes, m.catchUp, m.cutOver}
	}
}

// through takes one step after the other, none of them while the migration is paused.
func (m *migration) through(ctx workflow.Context, steps []func(workflow.Context) error) error {
	for _, step := range steps {
		if err := m.untilResumed(ctx); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// forgetLeg forgets what the leg that has ended had found out and begun.
func (m *migration) forgetLeg() {
	m.resyncing, m.cutoverWanted, m.switching = false, false, false
	m.streaming, m.indexes, m.receiver, m.holder, m.secondHolder = nil, nil, nil, nil, nil
	m.snapshotReleased, m.joining, m.applyHeld = false, false, false
	m.built = contract.IndexStatus{}
	m.status.Replication, m.status.Cutover = contract.ReplicationStatus{}, contract.CutoverStatus{}
	m.report.Verification = contract.Verification{}
	m.status.Problems = slices.DeleteFunc(m.status.Problems, func(p contract.Problem) bool { return slices.Contains(streamLost, p.Code) || p.Object == "cutover" })
}

// startOver makes slot, spool and rows void, and takes a fresh slot with its snapshot.
func (m *migration) startOver(ctx workflow.Context) error {
	m.enter(ctx, contract.PhaseCreatingSlot, "resync: removing the old changes")
	if err := m.renewSpool(ctx); err != nil {
		return err
	}
	err := m.persist(ctx, func(ctx workflow.Context) error {
		m.say(ctx, "resync: dropping the old slot, emptying the tables")
		input := contract.ResyncInput{Spec: m.spec, After: m.held.Epoch}
		return workflow.ExecuteActivity(on(ctx, quick, "slot and rows of epoch "+fmt.Sprint(m.held.Epoch)), acts.StartOver, input).Get(ctx, &m.status.Copy)
	})
	if err != nil {
		return err
	}
	m.say(ctx, "resync: creating slot %s; it waits for transactions that are older", m.status.Source.Slot)
	seen := m.held.Epoch
	m.holdSnapshot(ctx, seen)
	if err := workflow.Await(ctx, func() bool { return m.held.Epoch > seen }); err != nil {
		return err
	}
	m.receive(ctx)
	m.watchSlot(ctx, m.spec)
	return nil
}

// renewSpool removes the old spool. Where its worker does not answer, the spool is left, and another worker keeps the next one.
func (m *migration) renewSpool(ctx workflow.Context) error {
	if m.fromSource() {
		return nil
	}
	return m.persist(ctx, func(ctx workflow.Context) error {
		o := options(quick, "the old spool")
		o.TaskQueue, o.ScheduleToStartTimeout = contract.HostQueue(m.hostID), spoolPatience
		err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, o), acts.RemoveSpool, m.spec).Get(ctx, nil)
		if err == nil || !temporal.IsTimeoutError(err) {
			return err
		}
		m.report.Left = append(m.report.Left, fmt.Sprintf("the spool directory of %s on worker %s, which did not answer at the resync", m.spec.Name, m.hostID))
		var claim contract.HostClaim
		if err := workflow.ExecuteActivity(on(ctx, quick, "which worker keeps the spool"), acts.ClaimHost, m.spec).Get(ctx, &claim); err != nil {
			return err
		}
		m.hostID = claim.HostID
		return nil
	})
}
