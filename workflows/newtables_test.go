package workflows_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

const follows = `, "replication": {"ddl": "follow"}`

// newTableWorld finds a new table when a cutover is ordered, with streams that copy it.
func newTableWorld(t *testing.T, more string) *world {
	w := newWorld(t)
	newCopier(w, 4)
	w.fake.watched = contract.SchemaWatch{Joining: []string{"public.fresh"}}
	w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(more))
	return w
}

// Nothing is applied from before the table is published until it has its rows; a cutover waits for it.
func TestANewTableIsCarriedOver(t *testing.T) {
	w := newTableWorld(t, follows)
	require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
	calls := w.fake.calls[slices.Index(w.fake.calls, "WatchSchema"):]
	requireOrder(t, calls, "JoinTables", "HoldSnapshot", "DumpJoining", "RestorePreData", "CopyParts", "RestorePostData", "SettleTables", "FinishSchema", "CutOff")
	requireOrder(t, calls, "SettleTables", "Apply") // it begins beside the rest
	require.Equal(t, 2, w.fake.called("Apply"), "it ended before, and began again after")
	require.Equal(t, 1, w.fake.called("Receive"), "changes are received all the while")
	require.Nil(t, findProblem(w.report(t).Problems, contract.CodeTableJoins))
}

// wal2json remembers for a moment which tables were out of scope.
func TestTheReceiverBeginsAnewForWal2json(t *testing.T) {
	w := newTableWorld(t, `, "replication": {"ddl": "follow", "plugin": "wal2json"}`)
	require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
	calls := w.fake.calls[slices.Index(w.fake.calls, "WatchSchema"):]
	require.Contains(t, calls, "Receive")
	requireOrder(t, calls, "JoinTables", "SettleTables", "Apply")
}

func TestANewTableIsNamedInAnEarlierMigration(t *testing.T) {
	w := newWorld(t)
	w.OnGetVersion("tables-join", workflow.DefaultVersion, workflow.Version(1)).Return(workflow.DefaultVersion)
	w.OnGetVersion(mock.Anything, workflow.DefaultVersion, workflow.Version(1)).Return(workflow.Version(1))
	w.fake.watched = contract.SchemaWatch{Joining: []string{"public.fresh"}}
	w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(follows))
	require.NotNil(t, findProblem(w.report(t).Problems, contract.CodeNewTable))
	require.Zero(t, w.fake.called("JoinTables"))
}

// A new table that is altered meanwhile is taken as it is by then; what needs a person stops the stream, and resume begins again.
func TestANewTableIsTakenOnceMore(t *testing.T) {
	w := newWorld(t)
	newCopier(w, 4)
	w.fake.watched = contract.SchemaWatch{Joining: []string{"public.fresh"}}
	again := func() error {
		w.fake.mu.Lock()
		w.fake.watched.Joining = []string{"public.fresh"}
		w.fake.mu.Unlock()
		return nil
	}
	w.when("DumpJoining", 1, func() error { _ = again(); return refusal(contract.CodeJoinAgain, "public.fresh") })
	var look func()
	look = func() {
		if s := w.status(t); slices.Contains(s.Awaiting, contract.SignalResume) {
			require.NotNil(t, findProblem(s.Problems, "restore-failed"))
			require.Equal(t, contract.PhaseInSync, s.Phase)
			require.Equal(t, 1, w.fake.called("Apply"), "nothing is applied")
			_ = again()
			w.SignalWorkflow(contract.SignalResume, nil)
			return
		}
		w.RegisterDelayedCallback(look, 10*time.Millisecond)
	}
	w.when("RestorePreData", 2, func() error {
		w.RegisterDelayedCallback(look, 10*time.Millisecond)
		return refusal("restore-failed", "public.fresh")
	})
	w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(follows))
	require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
	require.Equal(t, 3, w.fake.called("JoinTables"))
	require.Equal(t, 1, w.fake.called("SettleTables"))
	require.Equal(t, 2, w.fake.called("Apply"))
}

func TestAbortWhileANewTableIsCarriedOver(t *testing.T) {
	w := newWorld(t)
	newCopier(w, 4)
	w.fake.watched = contract.SchemaWatch{Joining: []string{"public.fresh"}}
	w.when("RestorePreData", 2, func() error {
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalAbort, nil) }, time.Millisecond)
		return refusal("restore-failed", "public.fresh")
	})
	w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(follows))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	require.Zero(t, w.fake.called("SettleTables"))
	requireOrder(t, w.fake.calls, "JoinTables", "CleanTarget")
}

// The first look at the stream is short, since only the look at the schema after it tells which new tables are known; from then on others
// end a look. However many an application makes, the history stays bounded.
func TestNewTablesEndALook(t *testing.T) {
	const bound = 500
	w := newWorld(t)
	w.fake.earlyLooks = bound + 1
	w.fake.watched = contract.SchemaWatch{Fingerprint: "one"}
	var look func()
	look = func() {
		w.fake.mu.Lock()
		all := len(w.fake.looks) > bound+1
		w.fake.mu.Unlock()
		if all {
			w.SignalWorkflow(contract.SignalAbort, nil)
			return
		}
		w.RegisterDelayedCallback(look, time.Second)
	}
	w.RegisterDelayedCallback(look, time.Second)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	first, second, last := w.fake.looks[0], w.fake.looks[1], w.fake.looks[bound+1]
	require.EqualValues(t, 15, first.Seconds)
	require.Zero(t, first.NewTablesEvery)
	require.EqualValues(t, 600, second.Seconds)
	require.EqualValues(t, 15, second.NewTablesEvery)
	require.Equal(t, "one", second.NewTables)
	require.Zero(t, last.NewTablesEvery, "they are found when a look ends by itself")
}
