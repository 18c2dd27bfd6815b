package workflows

import (
	"encoding/json"
	"errors"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// Preflight runs the checks of LiveMigration alone and returns what they found; it changes nothing. A check that could not
// be made (no connection) is one of the problems.
func Preflight(ctx workflow.Context, input json.RawMessage) ([]contract.Problem, error) {
	spec, err := contract.ParseSpec(input)
	if err != nil {
		return nil, specError(err)
	}
	m := newMigration(ctx, spec)
	err = m.check(ctx, false)
	var app *temporal.ApplicationError
	if err != nil && len(m.status.Problems) == 0 && errors.As(err, &app) {
		return []contract.Problem{problemOf(err)}, nil
	}
	if err != nil && len(m.status.Problems) == 0 {
		return nil, err
	}
	return m.status.Problems, nil
}
