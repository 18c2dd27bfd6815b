package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// VerifySchema compares the schemas of a migration's two sides, at any time after the schema is on the target, and returns how
// they compare; it changes nothing.
func VerifySchema(ctx workflow.Context, input contract.VerifySchemaInput) (contract.SchemaComparison, error) {
	spec, err := contract.ParseSpec(input.Spec)
	if err != nil {
		return contract.SchemaComparison{}, specError(err)
	}
	m := newMigration(ctx, spec)
	if spec.Source.RDS != nil {
		if err := m.inspect(ctx); err != nil {
			return contract.SchemaComparison{}, err
		}
	}
	return m.schemaComparison(ctx, probe, input.BeforeCutover)
}

func (m *migration) schemaComparison(ctx workflow.Context, k kind, beforeCutover bool) (out contract.SchemaComparison, err error) {
	input := contract.SchemaInput{Spec: m.spec, BeforeCutover: beforeCutover}
	err = workflow.ExecuteActivity(on(ctx, k, "definitions on both sides"), acts.CompareSchema, input).Get(ctx, &out)
	return out, err
}

// compareSchema compares the schemas once everything is there that comes before the cutover. What nobody planned is a warning
// that whoever orders the cutover reads first; the rows are compared on their own.
func (m *migration) compareSchema(ctx workflow.Context) error {
	if !m.since(ctx, schemaCompared) {
		return nil
	}
	m.say(ctx, "comparing the schemas")
	var found contract.SchemaComparison
	err := m.persist(ctx, func(ctx workflow.Context) (err error) {
		found, err = m.schemaComparison(ctx, quick, true)
		return err
	})
	if err != nil {
		return err
	}
	m.report.Schema = &found
	if found.Unexpected > 0 {
		d := found.Differences[0]
		m.addProblem(contract.Problem{Severity: contract.Warning, Code: "schema-differs", Object: "schema",
			Message: fmt.Sprintf("%d differences that nobody planned, first %s %s, %s: %q on the source, %q on the target", found.Unexpected, d.Kind, d.Object, d.Property, d.Source, d.Target),
			Remedy:  "see them all: starter verify " + m.spec.Name + " --schema; mend what matters before the cutover"})
	}
	return nil
}

// lookForNewTables warns of tables that came into being on the source after the migration was planned. They are looked for
// while the stream is followed, and once more before a switch.
func (m *migration) lookForNewTables(ctx workflow.Context) {
	if m.since(ctx, schemaWatched) {
		m.watchSchema(ctx)
		return
	}
	if !m.since(ctx, newTablesSought) {
		return
	}
	var names []string
	if err := workflow.ExecuteActivity(on(ctx, asked, "new tables"), acts.FindNewTables, m.spec).Get(ctx, &names); err != nil {
		return // the source or the target does not answer for the moment: the next look tells
	}
	m.forgetProblems([]string{contract.CodeNewTable})
	m.nameNewTables(names)
}

func (m *migration) nameNewTables(names []string) {
	for _, name := range names {
		m.addProblem(contract.Problem{Severity: contract.Warning, Code: contract.CodeNewTable, Object: name,
			Message: "it was created on the source during the migration: neither it nor its rows are on the target",
			Remedy:  "create and fill it on the target by hand after the cutover, or abort and start again"})
	}
}
