package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// order is one signal, which is also an update of the same name.
type order struct {
	name        string
	description string
	// refuse says why the order cannot be taken now, or "".
	refuse func() string
	// take is the transition; it must not block and may run again.
	take func(ctx workflow.Context, note contract.Note)
	orderMore
}

// orderMore is what few orders have.
type orderMore struct {
	// refuseNote says what is wrong with the note, or "".
	refuseNote func(contract.Note) string
	// words is how the decision is remembered, beside its name.
	words func(contract.Note) string
	// since is the change that brought the order: a history from before it may hold the signal, as one that was refused.
	since string
	// answer is what an update gets; nil: "accepted".
	answer func() string
}

// why says why the order cannot be taken, or "".
func (o order) why(note contract.Note) string {
	if why := o.refuse(); why != "" {
		return why
	}
	if o.refuseNote != nil {
		return o.refuseNote(note)
	}
	return ""
}

// listen registers every handler before the first step, so that no message can come too early.
func (m *migration) listen(ctx workflow.Context) error {
	err := workflow.SetQueryHandlerWithOptions(ctx, contract.QueryStatus, func() (contract.Status, error) { return m.answer(), nil },
		workflow.QueryHandlerOptions{Description: "Phase, problems, progress of copy and stream, and what it waits for."})
	if err != nil {
		return err
	}
	if err := m.answerReadiness(ctx); err != nil {
		return err
	}
	for _, o := range m.orders() {
		if err := m.listenFor(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func (m *migration) orders() []order {
	in := func(phases ...contract.Phase) func() string {
		return func() string {
			for _, p := range phases {
				if m.status.Phase == p {
					return ""
				}
			}
			return fmt.Sprintf("the migration is in phase %s", m.status.Phase)
		}
	}
	plain := orderMore{}
	return []order{
		{contract.SignalApproveReboot, "Let the source be rebooted, so that the new parameters take effect.",
			in(contract.PhaseAwaitingReboot), func(workflow.Context, contract.Note) { m.rebootApproved = true }, plain},
		{contract.SignalApproveHypertables, "Go on after the schema, once the hypertables on the target are as you want them.",
			in(contract.PhaseAwaitingHypertables), func(workflow.Context, contract.Note) { m.hypertablesApproved = true }, plain},
		{contract.SignalCutover, "Switch over: stop writes on the source, drain, set sequences, compare.",
			m.refuseCutover, func(workflow.Context, contract.Note) { m.cutoverWanted = true }, plain},
		{contract.SignalPause, "Hold the migration: parts under way are copied to their end, changes are received but not applied.",
			m.refusePause, m.pause, orderMore{since: steered}},
		{contract.SignalResume, "Let a paused migration go on, and try again what a problem stopped.", m.refuseResume, m.resume, plain},
		{contract.SignalSetConcurrency, `Change how many streams copy and how many indexes are built at once: {"copy": 8, "indexJobs": 2}.`,
			m.refuseConcurrency, m.setConcurrency, orderMore{refuseNote: m.concurrencyProblem, words: concurrencyWords, since: steered}},
		{contract.SignalAbort, `Undo everything. {"keepTarget": true} leaves what was made on the target.`, m.refuseAbort,
			func(_ workflow.Context, n contract.Note) {
				m.aborting, m.keepTarget = true, n.KeepTarget
				m.cancelWork()
			}, plain},
		{contract.SignalComplete, "End the migration after the switch or the rollback: remove slots, publications, bookkeeping and spool.",
			m.refuseComplete, func(workflow.Context, contract.Note) { m.completeWanted = true }, plain},
		{contract.SignalRollback, "Bring the application back to the source after the switch (needs cutover.reverse).",
			m.refuseRollback, func(workflow.Context, contract.Note) { m.rollbackWanted = true }, plain},
		{contract.SignalVerify, `Compare both sides now, while both go on. {"tables": ["public.orders"]} compares these only, {"full": true} also what was found equal before.`,
			m.refuseVerify, m.orderVerify, orderMore{refuseNote: contract.Note.VerifyProblem, words: contract.Note.VerifyWords, since: barrierVerified, answer: m.lastOrdered}},
		{contract.SignalResync, "Start again with a fresh slot and copy; the schema on the target stays.", m.refuseResync, m.resync, orderMore{since: resyncable}},
	}
}

func (m *migration) listenFor(ctx workflow.Context, o order) error {
	err := workflow.SetUpdateHandlerWithOptions(ctx, o.name, func(ctx workflow.Context, note contract.Note) (string, error) {
		if o.name == contract.SignalCutover {
			if err := m.requireSmallLag(ctx); err != nil {
				return "", err
			}
			// It was accepted before the lag was measured: meanwhile another order may have been taken, or an abort.
			if why := o.why(note); why != "" && m.since(ctx, oneOrderOneSwitch) {
				return "", temporal.NewNonRetryableApplicationError(fmt.Sprintf("%s refused: %s", o.name, why), "refused", nil)
			}
		}
		m.decide(ctx, o, note)
		if o.answer != nil {
			return o.answer(), nil
		}
		return "accepted", nil
	}, workflow.UpdateHandlerOptions{
		Description: o.description,
		Validator: func(note contract.Note) error {
			if why := o.why(note); why != "" {
				return fmt.Errorf("%s refused: %s", o.name, why)
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	channel := workflow.GetSignalChannelWithOptions(ctx, o.name, workflow.SignalChannelOptions{Description: o.description})
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var note contract.Note
			if more := channel.Receive(ctx, &note); !more {
				return
			}
			why := o.why(note)
			if o.since != "" && !m.since(ctx, o.since) {
				why = "the migration was under way before this signal was known; send it as an update, like the starter does"
			}
			if why != "" {
				m.addProblem(contract.Problem{Severity: contract.Warning, Code: "refused", Object: o.name, Message: "signal " + o.name + " refused: " + why})
				m.refresh(ctx)
				continue
			}
			m.decide(ctx, o, note)
		}
	})
	return nil
}

func (m *migration) decide(ctx workflow.Context, o order, note contract.Note) {
	m.removeProblem(contract.Problem{Code: "refused", Object: o.name})
	decision := contract.Decision{Signal: o.name, By: note.By, Reason: note.Reason, At: workflow.Now(ctx)}
	if o.words != nil {
		decision.Detail = o.words(note)
	}
	m.status.Decisions = append(m.status.Decisions, decision)
	o.take(ctx, note)
	m.refresh(ctx)
}

func (m *migration) refuseCutover() string {
	if m.aborting {
		return "the migration is being aborted"
	}
	if m.status.Phase != contract.PhaseInSync {
		return fmt.Sprintf("the migration is in phase %s, cutover needs in-sync", m.status.Phase)
	}
	if p := m.openProblem(); p != nil {
		return fmt.Sprintf("a problem is open: %s", p.Message)
	}
	if m.steering.Paused {
		return "the migration is paused; resume it first"
	}
	return ""
}

func (m *migration) refuseResume() string {
	if m.stopped == 0 && !m.steering.Paused {
		return "nothing is stopped or paused"
	}
	return ""
}

func (m *migration) refuseAbort() string {
	if m.aborting {
		return "it is under way already"
	}
	switch m.status.Phase {
	case contract.PhaseCuttingOver:
		return "the cutover is under way; it ends by itself within moments, or goes back to in-sync"
	case contract.PhaseCutOver:
		return "the application may have written to the target already: complete ends the migration"
	case contract.PhaseRollingBack:
		return "the rollback is under way; it ends by itself within moments, or goes back to cut-over"
	case contract.PhaseRolledBack:
		return "the application is back on the source: complete ends the migration"
	case contract.PhaseCompleted, contract.PhaseAborted, contract.PhaseAborting:
		return fmt.Sprintf("the migration is in phase %s", m.status.Phase)
	}
	return ""
}

// requireSmallLag measures the lag for a cutover that came as an update, so that its sender gets the answer.
func (m *migration) requireSmallLag(ctx workflow.Context) error {
	lag, err := m.measureLag(ctx)
	if err != nil {
		return err
	}
	if lag.LagBytes > m.spec.Cutover.MaxLagBytes() {
		return temporal.NewNonRetryableApplicationError(tooFarBehind(lag, m.spec), codeLagTooHigh, nil)
	}
	return nil
}

func tooFarBehind(lag contract.ReplicationStatus, spec contract.Spec) string {
	return fmt.Sprintf("cutover refused: the target is %d bytes behind, cutover.maxLag is %s", lag.LagBytes, spec.Cutover.MaxLag)
}
