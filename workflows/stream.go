package workflows

import (
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// fromSource is true when changes wait in the source's WAL, and not on a worker.
func (m *migration) fromSource() bool { return m.spec.Replication.Buffer == contract.BufferSource }

// receive begins to take changes off the source, unless they are to wait there until they are applied.
func (m *migration) receive(ctx workflow.Context) {
	if m.fromSource() {
		return
	}
	m.receiver = m.begin(ctx, "receive", func(ctx workflow.Context) error {
		return workflow.ExecuteActivity(onHost(ctx, stream, m.hostID, "slot → spool"), acts.Receive, m.spec).Get(ctx, nil)
	})
}

// apply applies changes until it is cancelled: on the worker with the spool, or where there is none, on any.
func (m *migration) apply(ctx workflow.Context) workflow.Future {
	if m.fromSource() {
		return workflow.ExecuteActivity(on(ctx, stream, "slot → target"), acts.Apply, m.spec)
	}
	return workflow.ExecuteActivity(onHost(ctx, stream, m.hostID, "spool → target"), acts.Apply, m.spec)
}
