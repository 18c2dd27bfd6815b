package workflows_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

func (f *fakeActivities) Suggest(_ context.Context, s contract.Spec) ([]contract.HypertableSuggestion, error) {
	return []contract.HypertableSuggestion{{Hypertable: contract.Hypertable{Table: "public.metrics", TimeColumn: "ts", ChunkInterval: "1 day"}, Reasons: []string{"asked of " + s.Source.Host}}}, f.step("Suggest")
}

func TestSuggestChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.ExecuteWorkflow(workflows.Suggest, spec(""))
	require.NoError(t, w.GetWorkflowError())
	var found []contract.HypertableSuggestion
	require.NoError(t, w.GetWorkflowResult(&found))
	require.Len(t, found, 1)
	require.Equal(t, []string{"asked of shop.example"}, found[0].Reasons, "RDS was asked where the source is")
	for _, changing := range []string{"PlanParameters", "OpenIngress", "CreateLedger"} {
		require.Zero(t, w.fake.called(changing))
	}
}

func TestSuggestRefusesABadSpec(t *testing.T) {
	w := newWorld(t)
	w.ExecuteWorkflow(workflows.Suggest, []byte(`{"name": "Shop"}`))
	require.ErrorContains(t, w.GetWorkflowError(), "cannot name a migration")
	require.Zero(t, w.fake.called("Suggest"))
}
