package workflows_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

// A check that ends in the middle, after something was noted already, is no preflight that found nothing wrong.
func TestPreflightAloneTellsWhatItCouldNotCheck(t *testing.T) {
	w := newWorld(t)
	noted := contract.Problem{Severity: contract.Warning, Code: "parameters-lost", Object: "shop-prod", Message: "noted"}
	w.fake.plan.Problems = []contract.Problem{noted}
	w.fake.before["Preflight"] = func(int) error {
		return temporal.NewNonRetryableApplicationError("no answer from shop.example:5432", "unreachable", nil)
	}
	w.ExecuteWorkflow(workflows.Preflight, spec(""))
	require.NoError(t, w.GetWorkflowError())
	var found []contract.Problem
	require.NoError(t, w.GetWorkflowResult(&found))
	require.Equal(t, []contract.Problem{noted, {Severity: contract.Fatal, Code: "unreachable", Message: "no answer from shop.example:5432"}}, found)
}

// What is told of all findings together is not told a second time.
func TestPreflightAloneTellsEachFindingOnce(t *testing.T) {
	w := newWorld(t)
	w.fake.found = []contract.Problem{{Severity: contract.Fatal, Code: "wal-level", Object: "source", Message: "it is replica"},
		{Severity: contract.Fatal, Code: "target-not-empty", Object: "public.t", Message: "rows"}}
	w.ExecuteWorkflow(workflows.Preflight, spec(""))
	var found []contract.Problem
	require.NoError(t, w.GetWorkflowResult(&found))
	require.Equal(t, w.fake.found, found)
}
