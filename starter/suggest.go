package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"timeferry/internal/contract"
)

// suggest asks for proposals and prints them; nothing is done with them.
func suggest(ctx context.Context, out io.Writer, c client.Client, raw json.RawMessage, spec contract.Spec, format string) error {
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: contract.WorkflowID(spec.Name) + "_suggest", TaskQueue: contract.TaskQueue,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
	}, contract.SuggestType, raw)
	if err != nil {
		return failed(fmt.Errorf("start suggest: %w", err))
	}
	suggestions := []contract.HypertableSuggestion{}
	if err := run.Get(ctx, &suggestions); err != nil {
		return failed(fmt.Errorf("suggest: %s", reason(err)))
	}
	if format == "json" {
		return failed(printJSON(out, suggestions))
	}
	printSuggestions(out, suggestions)
	return nil
}

// printSuggestions writes YAML that can be put into a spec, with the reasons as comments.
func printSuggestions(out io.Writer, suggestions []contract.HypertableSuggestion) {
	if len(suggestions) == 0 {
		fmt.Fprintln(out, "# no table looks like a hypertable: none is partitioned by time, or large, only growing and in the order of a time column")
		return
	}
	fmt.Fprintln(out, "# proposals only: look at each before putting it into the spec")
	fmt.Fprintln(out, "hypertables:")
	for _, s := range suggestions {
		for _, r := range s.Reasons {
			fmt.Fprintf(out, "  # %s\n", oneLine(r))
		}
		fmt.Fprintf(out, "  - table: %s\n    timeColumn: %s\n    chunkInterval: %s\n", yamlString(s.Hypertable.Table), yamlString(s.Hypertable.TimeColumn), yamlString(s.Hypertable.ChunkInterval))
		for _, choice := range s.Choices {
			fmt.Fprintf(out, "    # %s\n", oneLine(choice))
		}
		if len(s.Choices) > 0 {
			fmt.Fprintln(out, "    # key: extend")
		}
	}
}

// yamlString writes a string that YAML reads as it is: JSON's form is YAML's too.
func yamlString(s string) string {
	quoted, err := json.Marshal(s)
	if err != nil {
		return fmt.Sprintf("%q", s) // it cannot be: every string has a JSON form
	}
	return string(quoted)
}

// oneLine keeps a name with a line break from ending a comment.
func oneLine(s string) string { return strings.NewReplacer("\n", " ", "\r", " ").Replace(s) }
