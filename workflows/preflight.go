package workflows

import (
	"encoding/json"
	"errors"
	"slices"

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
	if err == nil {
		return m.status.Problems, nil
	}
	var app *temporal.ApplicationError
	if !errors.As(err, &app) && len(m.status.Problems) == 0 {
		return nil, err
	}
	// An error is one of the findings already, or what kept the rest from being looked at: then nothing was found out.
	problem := problemOf(err)
	told := slices.ContainsFunc(m.status.Problems, func(p contract.Problem) bool {
		return p.Severity == problem.Severity && p.Code == problem.Code && p.Object == problem.Object
	})
	if !told {
		m.status.Problems = append(m.status.Problems, problem)
	}
	return m.status.Problems, nil
}
