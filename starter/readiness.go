package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.temporal.io/sdk/client"

	"timeferry/internal/contract"
)

// dryRun asks whether a cutover would work now, and prints the answer. Not ready is a refusal.
func dryRun(ctx context.Context, out io.Writer, c client.Client, migration, format string) error {
	handle, err := c.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: contract.WorkflowID(migration), UpdateName: contract.UpdateReadiness, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	var r contract.Readiness
	if err == nil {
		err = handle.Get(ctx, &r)
	}
	if err != nil {
		return explainOrder(migration, "cutover --dry-run", err)
	}
	if format == "json" {
		err = printJSON(out, r)
	} else {
		printReadiness(out, migration, r)
	}
	if err != nil {
		return failed(err)
	}
	if !r.Ready {
		return refused(errors.New("a cutover would not work now: " + strings.Join(blocking(r), ", ")))
	}
	return nil
}

func blocking(r contract.Readiness) []string {
	var names []string
	for _, c := range r.Checks {
		if c.State == contract.CheckBlocking {
			names = append(names, c.Name)
		}
	}
	return names
}

// stateMarks stand before each check, in the state's place.
var stateMarks = map[string]string{contract.CheckOK: "ok", contract.CheckWarning: "!", contract.CheckBlocking: "NO"}

func printReadiness(out io.Writer, migration string, r contract.Readiness) {
	verdict := "ready"
	if !r.Ready {
		verdict = "NOT ready"
	}
	fmt.Fprintf(out, "Migration %s is %s for a cutover\n\n", migration, verdict)
	const rest = "                      "
	for _, c := range r.Checks {
		printWrapped(out, fmt.Sprintf("  %-2s  %-14s  ", stateMarks[c.State], c.Name), rest, c.Message)
		for _, item := range c.Items {
			printWrapped(out, rest+"- ", rest+"  ", item)
		}
		if c.Remedy != "" && c.State != contract.CheckOK {
			printWrapped(out, rest+"→ ", rest+"  ", c.Remedy)
		}
	}
	if r.Estimate != "" {
		fmt.Fprintf(out, "\nEstimated downtime %d ms: %s\n", r.EstimatedMS, r.Estimate)
	}
}
