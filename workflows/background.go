package workflows

import (
	"go.temporal.io/sdk/workflow"
)

// background is a long activity that runs beside the story: the snapshot's holder, the receiver, the applier.
type background struct {
	name   string
	cancel workflow.CancelFunc
	done   bool
}

// begin starts do beside the story. A failure becomes a problem and do runs again after `resume`, see persist. It ends when
// it is stopped, or when do succeeds.
func (m *migration) begin(ctx workflow.Context, name string, do func(workflow.Context) error) *background {
	own, cancel := workflow.WithCancel(ctx)
	b := &background{name: name, cancel: cancel}
	workflow.GoNamed(own, name, func(ctx workflow.Context) {
		defer func() { b.done = true }()
		_ = m.persist(ctx, do) // it fails only when ctx is cancelled, by stop or by abort
	})
	m.streaming = append(m.streaming, b)
	return b
}

// stop cancels b and waits until its activity has really ended, so that what follows does not race with it.
func (b *background) stop(ctx workflow.Context) error {
	b.cancel()
	return workflow.Await(ctx, func() bool { return b.done })
}

// stopAll stops every background, last begun first.
func (m *migration) stopAll(ctx workflow.Context) error {
	for i := len(m.streaming) - 1; i >= 0; i-- {
		if err := m.streaming[i].stop(ctx); err != nil {
			return err
		}
	}
	return nil
}
