package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"timeferry/internal/contract"
)

// verifySchema compares the schemas of a migration's two sides and prints how they compare. Differences that nobody planned make
// it fail.
func verifySchema(ctx context.Context, out io.Writer, c client.Client, name, format string) error {
	spec, err := specOf(ctx, c, name)
	if err != nil {
		return failed(err)
	}
	s, err := readStatus(ctx, c, name)
	if err != nil {
		return failed(err)
	}
	switch s.Phase {
	case contract.PhasePreflight, contract.PhasePreparingSource, contract.PhaseAwaitingReboot, contract.PhaseCreatingSlot, contract.PhaseMigratingSchema:
		return refused(fmt.Errorf("verify --schema refused: migration %s is in phase %s, its schema is not on the target yet", name, s.Phase))
	}
	before := s.Phase != contract.PhaseCutOver && s.Phase != contract.PhaseCompleted
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: contract.WorkflowID(name) + "_verify-schema", TaskQueue: contract.TaskQueue,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
	}, contract.VerifySchemaType, contract.VerifySchemaInput{Spec: spec, BeforeCutover: before})
	if err != nil {
		return failed(fmt.Errorf("start verify: %w", err))
	}
	var found contract.SchemaComparison
	if err := run.Get(ctx, &found); err != nil {
		return failed(fmt.Errorf("verify: %s", reason(err)))
	}
	if format == "json" {
		if err := printJSON(out, found); err != nil {
			return failed(err)
		}
	} else {
		printComparison(out, found)
	}
	if found.Unexpected > 0 {
		return failed(fmt.Errorf("the schemas differ in %d ways that nobody planned", found.Unexpected))
	}
	return nil
}

// specOf is the spec that a migration was started with: the first event of its history has it.
func specOf(ctx context.Context, c client.Client, name string) (json.RawMessage, error) {
	events := c.GetWorkflowHistory(ctx, contract.WorkflowID(name), "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	event, err := events.Next()
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return nil, noMigration(name)
	}
	if err != nil {
		return nil, fmt.Errorf("read the history of %s: %w", name, err)
	}
	var spec json.RawMessage
	input := event.GetWorkflowExecutionStartedEventAttributes().GetInput()
	if err := converter.GetDefaultDataConverter().FromPayloads(input, &spec); err != nil {
		return nil, fmt.Errorf("read the spec of %s: %w", name, err)
	}
	return spec, nil
}

func printComparison(out io.Writer, c contract.SchemaComparison) {
	fmt.Fprintf(out, "%d objects compared, %d differences, %d as planned\n", c.Objects, c.Unexpected, c.AsPlanned)
	printDifferences(out, "Differences that nobody planned", c.Differences, c.Unexpected)
	printDifferences(out, "As planned", c.Planned, c.AsPlanned)
}

func printDifferences(out io.Writer, title string, list []contract.SchemaDifference, whole int) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s\n", title)
	for _, d := range list {
		why := ""
		if d.Why != "" {
			why = "  (" + d.Why + ")"
		}
		fmt.Fprintf(out, "  %s %s: %s%s\n", d.Kind, d.Object, d.Property, why)
		fmt.Fprintf(out, "      source: %s\n      target: %s\n", shown(d.Source), shown(d.Target))
	}
	if whole > len(list) {
		fmt.Fprintf(out, "  and %d more\n", whole-len(list))
	}
}

func shown(value string) string {
	if value == "" {
		return "–"
	}
	return value
}
