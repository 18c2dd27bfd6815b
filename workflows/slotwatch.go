package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// slotUnwatchedFor is how long to wait after the slot could not be looked at.
const slotUnwatchedFor = 10 * time.Minute

// watchSlot has the slot of an order, the migration's or the way back's, looked after beside the story. Its alarms are problems; that
// it cannot be watched is one too, but none that stops anything.
func (m *migration) watchSlot(ctx workflow.Context, spec contract.Spec) {
	if !m.since(ctx, slotWatched) {
		return
	}
	own, cancel := workflow.WithCancel(ctx)
	b := &background{name: "watch-slot", cancel: cancel}
	workflow.GoNamed(own, b.name, func(ctx workflow.Context) {
		defer func() { b.done = true }()
		defer m.setSlotAlarms(ctx, spec.Name, nil)
		var known []string
		for ctx.Err() == nil {
			var alarms contract.SlotAlarms
			input := contract.SlotWatch{Spec: spec, Known: known}
			err := workflow.ExecuteActivity(on(ctx, poll, "the slot's state"), acts.WatchSlot, input).Get(ctx, &alarms)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				known = nil
				m.setSlotAlarms(ctx, spec.Name, []contract.Problem{{Severity: contract.Warning, Code: contract.CodeSlotUnwatched, Object: contract.SlotObject(spec.Name),
					Message: "nobody looks whether too much WAL is kept for the slot: " + problemOf(err).Message, Remedy: problemOf(err).Remedy}})
				_ = workflow.Sleep(ctx, slotUnwatchedFor) // it fails only when ctx is cancelled, which ends the loop
				continue
			}
			known = nil
			for _, p := range alarms.Problems {
				known = append(known, p.Code)
			}
			m.setSlotAlarms(ctx, spec.Name, alarms.Problems)
		}
	})
	m.streaming = append(m.streaming, b)
}

// setSlotAlarms replaces what was said of the slot.
func (m *migration) setSlotAlarms(ctx workflow.Context, migration string, alarms []contract.Problem) {
	name := contract.SlotObject(migration)
	for _, code := range []string{contract.CodeSlotEndangered, contract.CodeLongTransaction, contract.CodeSlotUnwatched, contract.CodeSlotLost} {
		m.removeProblem(contract.Problem{Code: code, Object: name})
	}
	for _, p := range alarms {
		m.addProblem(p)
	}
	m.refresh(ctx)
}
