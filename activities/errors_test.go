package activities

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"timeferry/internal/bulk"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
)

// failWith runs an activity that ends with err inside live, and returns what Temporal gets to see.
func failWith(t *testing.T, err error) *temporal.ApplicationError {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	body := func(ctx context.Context) error {
		return (&Activities{}).live(ctx, func(context.Context, func(contract.Beat)) error { return err })
	}
	env.RegisterActivity(body)
	_, failure := env.ExecuteActivity(body)
	var app *temporal.ApplicationError
	require.True(t, errors.As(failure, &app), "%v", failure)
	return app
}

func TestErrorsMeanToTemporalWhatTheirClassSays(t *testing.T) {
	for name, c := range map[string]struct {
		err          error
		kind         string
		nonRetryable bool
	}{
		"operator":            {fault.New(fault.Operator, "use", "slot s", "drop it", "taken").WithCode("slot-taken"), "slot-taken", true},
		"integrity":           {fault.New(fault.Integrity, "apply", "public.t", "", "row missing"), "integrity", true},
		"transient":           {fault.New(fault.Transient, "connect to", "h", "", "no answer").WithCode("unreachable"), "unreachable", false},
		"wrapped, inner code": {fmt.Errorf("begin epoch: %w", fault.New(fault.Operator, "empty", "t", "", "no").WithCode("cannot-empty")), "cannot-empty", true},
		"privilege":           {&pgconn.PgError{Code: "42501", Message: "must be owner"}, "operator", true},
		"connection lost":     {&pgconn.PgError{Code: "57P01"}, "transient", false},
		"not ready":           {fault.New(fault.NotReady, "reboot", "i", "", "backing up"), "not-ready", false},
		"unknown":             {errors.New("what is this"), "unknown", false},
		"table rewritten":     {fault.New(fault.Transient, "copy", "t", "", "rewritten").WithCode(bulk.CodeTableRewritten), bulk.CodeTableRewritten, true},
	} {
		t.Run(name, func(t *testing.T) {
			app := failWith(t, c.err)
			require.Equal(t, c.kind, app.Type())
			require.Equal(t, c.nonRetryable, app.NonRetryable())
			var problem contract.Problem
			require.NoError(t, app.Details(&problem))
			require.Equal(t, c.err.Error(), problem.Message)
		})
	}
}

func TestAStoppingWorkerGivesItsWorkBackAtOnce(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	stop := make(chan struct{})
	env.SetWorkerStopChannel(stop)
	body := func(ctx context.Context) error {
		return (&Activities{}).live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
			close(stop)
			<-ctx.Done()
			return ctx.Err()
		})
	}
	env.RegisterActivity(body)
	_, err := env.ExecuteActivity(body)
	var app *temporal.ApplicationError
	require.True(t, errors.As(err, &app), "%v", err)
	require.Equal(t, "worker-stopping", app.Type())
	require.False(t, app.NonRetryable())
	require.Equal(t, time.Second, app.NextRetryDelay())
	require.Equal(t, temporal.ApplicationErrorCategoryBenign, app.Category())
}
