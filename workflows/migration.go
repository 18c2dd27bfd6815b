package workflows

import (
	"encoding/json"
	"errors"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"timeferry/activities"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
)

// acts names the activities; it is never called, only its methods' names are used.
var acts *activities.Activities

// LiveMigration moves one database. Its input is the spec as one JSON object (contract.Spec), its result the report.
//
// A bad spec and a failed preflight fail the workflow before anything was changed. After that, a failure that cannot pass
// by itself never ends the workflow: it is shown as a problem, and the workflow waits for `resume` (try again) or `abort`
// (undo everything), since ending would leave a slot behind that fills the source's disk.
func LiveMigration(ctx workflow.Context, input json.RawMessage) (contract.Report, error) {
	spec, err := contract.ParseSpec(input)
	if err != nil {
		return contract.Report{}, specError(err)
	}
	m := newMigration(ctx, spec)
	if err := m.listen(ctx); err != nil {
		return contract.Report{}, err
	}
	report, err := m.run(ctx)
	// Whoever sent an update that is still being looked at gets its answer. Nothing is left to be cancelled.
	unhurried, _ := workflow.NewDisconnectedContext(ctx)
	if err := workflow.Await(unhurried, func() bool { return workflow.AllHandlersFinished(unhurried) }); err != nil {
		return contract.Report{}, err
	}
	return report, err
}

// run is the whole story. Everything between checking and completing runs in the context `work`, which abort cancels.
func (m *migration) run(ctx workflow.Context) (contract.Report, error) {
	work, cancel := workflow.WithCancel(ctx)
	m.work, m.cancelWork = work, cancel

	if err := m.check(work, true); err != nil {
		return m.endUnchanged(ctx, err)
	}
	err := m.forward(work)
	if !m.switched() && (m.aborting || workflowCancelled(ctx)) {
		return m.abort(ctx)
	}
	if workflowCancelled(ctx) {
		// The application may write to the target already: cancelling can only mean to end, never to undo.
		return m.complete(ctx)
	}
	if err != nil {
		return contract.Report{}, err
	}
	return m.complete(ctx)
}

// switched is true once the application may write to the target: nothing can be undone any more.
func (m *migration) switched() bool {
	switch m.status.Phase {
	case contract.PhaseCutOver, contract.PhaseRollingBack, contract.PhaseRolledBack:
		return true
	}
	return false
}

// forward goes from a checked pair of databases to one that the application has been switched to.
func (m *migration) forward(ctx workflow.Context) error {
	if err := m.through(ctx, []func(workflow.Context) error{
		m.prepareSource,
		m.followSteering,
		m.approveAndReboot,
	}); err != nil {
		return err
	}
	if err := m.legs(ctx, []func(workflow.Context) error{
		m.createSlot,
		m.migrateSchema,
		m.makeHypertables,
		m.copyData,
		m.buildIndexes,
		m.catchUp,
		m.cutOver,
	}); err != nil {
		return err
	}
	return m.through(ctx, []func(workflow.Context) error{m.awaitComplete})
}

func workflowCancelled(ctx workflow.Context) bool {
	return errors.Is(ctx.Err(), workflow.ErrCanceled)
}

// specError makes a refused spec a failure of the workflow that no retry policy repeats, its type being the fault's code.
func specError(err error) error {
	var f *fault.Error
	code := contract.CodeBadSpec
	if errors.As(err, &f) && f.Code != "" {
		code = f.Code
	}
	return temporal.NewNonRetryableApplicationError(err.Error(), code, nil)
}
