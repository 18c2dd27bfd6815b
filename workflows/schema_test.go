package workflows_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

const auto = `, "cutover": {"mode": "auto", "fence": "none", "verify": "none"}`

func findProblem(problems []contract.Problem, code string) *contract.Problem {
	for _, p := range problems {
		if p.Code == code {
			return &p
		}
	}
	return nil
}

func TestTheSchemasAreComparedBeforeTheSwitch(t *testing.T) {
	w := newWorld(t)
	w.fake.schema = contract.SchemaComparison{Objects: 40, Unexpected: 1, AsPlanned: 2,
		Differences: []contract.SchemaDifference{{Kind: "index", Object: "public.t_x", Property: "definition", Source: "a", Target: "b"}}}
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(auto))
	r := w.report(t)
	require.Equal(t, 40, r.Schema.Objects)
	p := findProblem(r.Problems, "schema-differs")
	require.NotNil(t, p)
	require.Equal(t, contract.Warning, p.Severity, "a person weighs it")
	require.Contains(t, p.Message, `1 differences that nobody planned, first index public.t_x, definition: "a" on the source, "b" on the target`)
	requireOrder(t, w.fake.calls, "FinishSchema", "CompareSchema", "CutOff")
}

func TestNewTablesAreNamed(t *testing.T) {
	w := newWorld(t)
	w.fake.newTables = []string{"public.orders_2027"}
	w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	p := findProblem(w.report(t).Problems, "new-table")
	require.NotNil(t, p)
	require.Equal(t, "public.orders_2027", p.Object)
	requireOrder(t, w.fake.calls, "WatchSchema", "CutOff")
}

// A migration that began before the whole schema was watched goes on looking for new tables.
func TestNewTablesAreNamedInAnEarlierMigration(t *testing.T) {
	w := newWorld(t)
	w.OnGetVersion("schema-watched", workflow.DefaultVersion, workflow.Version(1)).Return(workflow.DefaultVersion)
	w.OnGetVersion(mock.Anything, workflow.DefaultVersion, workflow.Version(1)).Return(workflow.Version(1))
	w.fake.newTables = []string{"public.orders_2027"}
	w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	require.NotNil(t, findProblem(w.report(t).Problems, "new-table"))
	requireOrder(t, w.fake.calls, "FindNewTables", "CutOff")
	require.Zero(t, w.fake.called("WatchSchema"))
}

func TestWhatTheSourceChangedIsSaid(t *testing.T) {
	w := newWorld(t)
	w.fake.watched = contract.SchemaWatch{Problems: []contract.Problem{{Severity: contract.Warning, Code: contract.CodeSchemaAhead, Object: "public.t", Message: "m", Remedy: "r"}},
		Followed: []contract.SchemaChange{{Table: "public.t", What: "column was added", Statement: "ALTER"}}}
	w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(`, "replication": {"ddl": "follow"}`))
	r := w.report(t)
	require.NotNil(t, findProblem(r.Problems, contract.CodeSchemaAhead))
	require.Equal(t, w.fake.watched.Followed, r.SchemaChanges)
	requireOrder(t, w.fake.calls, "WatchSchema", "CutOff", "ListSchemaChanges")
}

// The stream stops at a change, a person applies the statement, and resume goes on.
func TestResumeAfterASchemaChange(t *testing.T) {
	w := newWorld(t)
	resumed := false
	var look func()
	look = func() {
		if s := w.status(t); slices.Contains(s.Awaiting, contract.SignalResume) {
			require.NotNil(t, findProblem(s.Problems, "schema-changed"))
			resumed = true
			w.SignalWorkflow(contract.SignalResume, nil)
			w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
			return
		}
		w.RegisterDelayedCallback(look, 10*time.Millisecond)
	}
	w.when("Apply", 1, func() error {
		w.RegisterDelayedCallback(look, 10*time.Millisecond)
		return refusal("schema-changed", "public.t")
	})
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	r := w.report(t)
	require.True(t, resumed)
	require.Nil(t, findProblem(r.Problems, "schema-changed"))
	require.Equal(t, 2, w.fake.called("Apply"))
}

func TestANewTableThatIsGoneIsForgotten(t *testing.T) {
	w := newWorld(t)
	w.fake.newTables = []string{"public.scratch"}
	w.when("MeasureLag", 1, func() error { return refusal("wrong-credentials", "u@s") }) // the first order comes to nothing
	w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
	w.when("FollowLag", 2, func() error {
		w.RegisterDelayedCallback(func() {
			require.NotNil(t, findProblem(w.status(t).Problems, "new-table"))
			w.fake.mu.Lock()
			w.fake.newTables = nil
			w.fake.mu.Unlock()
			w.SignalWorkflow(contract.SignalCutover, nil)
		}, time.Millisecond)
		return nil
	})
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	require.Nil(t, findProblem(w.report(t).Problems, "new-table"))
	require.Equal(t, 2, w.fake.called("WatchSchema"))
}

func TestVerifySchemaAlone(t *testing.T) {
	w := newWorld(t)
	w.fake.schema = contract.SchemaComparison{Objects: 7}
	w.ExecuteWorkflow(workflows.VerifySchema, contract.VerifySchemaInput{Spec: spec("")})
	require.NoError(t, w.GetWorkflowError())
	var found contract.SchemaComparison
	require.NoError(t, w.GetWorkflowResult(&found))
	require.Equal(t, 7, found.Objects)
	requireOrder(t, w.fake.calls, "Inspect", "CompareSchema")
}

func TestVerifySchemaRefusesABadSpec(t *testing.T) {
	w := newWorld(t)
	w.ExecuteWorkflow(workflows.VerifySchema, contract.VerifySchemaInput{Spec: json.RawMessage(`{"name": "A"}`)})
	require.ErrorContains(t, w.GetWorkflowError(), "cannot name a migration")
}
