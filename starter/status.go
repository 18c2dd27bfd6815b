package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"timeferry/internal/contract"
)

func statusCommand(out io.Writer) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "status NAME",
		Short: "Show where a migration stands",
		Args:  oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(cmd, func(c client.Client) error { return status(cmd.Context(), out, c, args[0], format) })
		},
	}
	outputFlag(c, &format)
	return c
}

func status(ctx context.Context, out io.Writer, c client.Client, name, format string) error {
	s, err := readStatus(ctx, c, name)
	if err != nil {
		return failed(err)
	}
	if format == "json" {
		return failed(printJSON(out, s.Status))
	}
	printStatus(out, s.Status)
	return nil
}

// live is a status with the live numbers of the activities that run right now.
type live struct {
	contract.Status
	// told is the message without what the activities add to it.
	told string
}

// readStatus asks the workflow, and merges in what the running activities told last.
func readStatus(ctx context.Context, c client.Client, name string) (live, error) {
	var s live
	id := contract.WorkflowID(name)
	value, err := c.QueryWorkflow(ctx, id, "", contract.QueryStatus)
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return s, noMigration(name)
	}
	if err != nil {
		return s, fmt.Errorf("ask %s for its status (is a worker running?): %w", id, err)
	}
	if err := value.Get(&s.Status); err != nil {
		return s, fmt.Errorf("read status of %s: %w", id, err)
	}
	s.told = s.Message
	described, err := c.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return s, fmt.Errorf("describe %s: %w", id, err)
	}
	if described.GetWorkflowExecutionInfo().GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return s, nil
	}
	for _, a := range described.GetPendingActivities() {
		activity := a.GetActivityType().GetName()
		var beat contract.Beat
		payloads := a.GetHeartbeatDetails()
		if payloads == nil || converter.GetDefaultDataConverter().FromPayloads(payloads, &beat) != nil {
			continue // no beat yet
		}
		mergeBeat(&s.Status, activity, beat)
		declined := a.GetLastFailure().GetApplicationFailureInfo().GetType() == contract.CodeNeedsAnotherWorker
		if f := a.GetLastFailure(); f != nil && a.GetAttempt() > 1 && f.GetMessage() != "the worker is stopping" && !declined {
			nameRetry(&s.Status, activity, fmt.Sprintf("attempt %d after: %s", a.GetAttempt(), f.GetMessage()))
		}
	}
	addRunning(&s.Copy)
	return s, nil
}

// nameRetry names an activity that is tried again: one of many alike is enough.
func nameRetry(s *contract.Status, activity, message string) {
	p := contract.Problem{Severity: contract.Warning, Code: "retrying", Object: activity, Message: message}
	alike := func(q contract.Problem) bool { return q.Code == p.Code && q.Object == p.Object }
	if !slices.ContainsFunc(s.Problems, alike) {
		s.Problems = append(s.Problems, p)
	}
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
