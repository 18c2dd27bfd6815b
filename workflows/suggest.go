package workflows

import (
	"encoding/json"

	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// Suggest proposes hypertables for a spec; it changes nothing.
func Suggest(ctx workflow.Context, input json.RawMessage) ([]contract.HypertableSuggestion, error) {
	spec, err := contract.ParseSpec(input)
	if err != nil {
		return nil, specError(err)
	}
	m := newMigration(ctx, spec)
	if m.spec.Source.RDS != nil {
		if err := m.inspect(ctx); err != nil {
			return nil, err
		}
	}
	suggestions := []contract.HypertableSuggestion{}
	if err := workflow.ExecuteActivity(on(ctx, probe, "suggest hypertables"), acts.Suggest, m.spec).Get(ctx, &suggestions); err != nil {
		return nil, m.explainNoWay(err, false)
	}
	return suggestions, nil
}
