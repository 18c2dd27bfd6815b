package workflows

import (
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// holdSnapshot takes slot and snapshot, and keeps the snapshot alive beside the story. It is of a later epoch than after.
func (m *migration) holdSnapshot(ctx workflow.Context, after int) {
	input := contract.HoldInput{Spec: m.spec, After: after}
	m.holder = m.begin(ctx, "hold-snapshot", func(ctx workflow.Context) error {
		return workflow.ExecuteActivity(on(ctx, stream, "slot and snapshot"), acts.HoldSnapshot, input).Get(ctx, nil)
	})
}

// renewSnapshot gives up the present snapshot and waits for the next epoch. The copy of the old one ends by itself.
func (m *migration) renewSnapshot(ctx workflow.Context) error {
	if err := m.holder.stop(ctx); err != nil {
		return err
	}
	seen := m.held.Epoch
	m.holdSnapshot(ctx, seen)
	return workflow.Await(ctx, func() bool { return m.held.Epoch > seen })
}

// releaseSnapshot ends the holding of the snapshot and of its copy.
func (m *migration) releaseSnapshot(ctx workflow.Context) error {
	m.snapshotReleased = true
	if m.secondHolder != nil {
		if err := m.secondHolder.stop(ctx); err != nil {
			return err
		}
	}
	return m.holder.stop(ctx)
}

// listenForSnapshots takes the holder's word for each new epoch; one from an attempt that is over is dropped.
func (m *migration) listenForSnapshots(ctx workflow.Context) {
	channel := workflow.GetSignalChannelWithOptions(ctx, contract.SignalSnapshot, workflow.SignalChannelOptions{Description: "internal"})
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var held contract.SnapshotHeld
			if more := channel.Receive(ctx, &held); !more {
				return
			}
			if held.Epoch > m.held.Epoch {
				m.held = held
				m.status.Copy.Epoch = held.Epoch
			}
		}
	})
	offers := workflow.GetSignalChannelWithOptions(ctx, contract.SignalSecondWorker, workflow.SignalChannelOptions{Description: "internal"})
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var worker contract.SecondWorker
			if more := offers.Receive(ctx, &worker); !more {
				return
			}
			if !m.snapshotReleased && (m.secondHolder == nil || m.secondHolder.done) {
				m.holdSnapshotCopy(m.leg)
			}
		}
	})
}

// holdSnapshotCopy has a second worker hold the snapshot too. It is begun only when a second worker is known to be there, and
// goes to any: the one that holds the snapshot itself declines. The copy of the data does not depend on it: if it fails for
// good, the next worker that offers itself begins it anew.
func (m *migration) holdSnapshotCopy(ctx workflow.Context) {
	own, cancel := workflow.WithCancel(ctx)
	b := &background{name: "hold-snapshot-copy", cancel: cancel}
	workflow.GoNamed(own, b.name, func(ctx workflow.Context) {
		defer func() { b.done = true }()
		err := workflow.ExecuteActivity(on(ctx, stream, "the same snapshot, on a second worker"), acts.HoldSnapshotCopy, m.spec).Get(ctx, nil)
		if err != nil && ctx.Err() == nil {
			workflow.GetLogger(ctx).Warn("no second worker holds the snapshot", "err", err)
		}
	})
	m.secondHolder = b
	m.streaming = append(m.streaming, b)
}
