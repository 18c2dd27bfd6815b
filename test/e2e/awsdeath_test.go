package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgtest"
)

// TestWorkerDiesWhileAWSAnswers kills the worker, as a process, after a change was made at RDS and before the answer came. The
// control plane's scenarios walk through every call; this shows that a real death is what they take it for.
func TestWorkerDiesWhileAWSAnswers(t *testing.T) {
	t.Parallel()
	setup(t)
	src, sim, env := rdsSource(t)
	dst := pgtest.Target(t)
	asMaster(t, src, small)
	sourceBefore := src.Dump(t, sourceState)
	fatal := []string{"CreateDBParameterGroup", "ModifyDBInstance", "RebootDBInstance"}
	for _, action := range fatal {
		sim.Inject(awssim.Fault{Kind: awssim.Hold, Action: action})
	}
	w := newWorld(t, env...)
	m := w.newMigration("mortal", src, dst, func(spec map[string]any) {
		withRDS(spec)
		spec["prepare"] = map[string]any{"reboot": "auto"}
		gate(spec)
	})
	m.start()
	for _, action := range fatal {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		call, err := sim.AwaitHeld(ctx)
		cancel()
		require.NoError(t, err, "waiting for %s", action)
		require.Equal(t, action, call.Action)
		w.killWorker()
		sim.Release() // nobody is there any more to hear it
		w.startWorker()
	}
	m.await(contract.PhaseAwaitingHypertables)
	for _, action := range fatal {
		succeeded := slices.DeleteFunc(sim.Log(), func(c awssim.Call) bool { return c.Action != action || c.Code != "" })
		require.Len(t, succeeded, 1, "%s was done once", action)
	}
	m.order(contract.SignalAbort)
	require.Equal(t, contract.PhaseAborted, m.report().Outcome)
	require.Equal(t, sourceBefore, src.Dump(t, sourceState))
}
