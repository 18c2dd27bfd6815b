package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

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
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(func(c client.Client) error { return status(cmd.Context(), out, c, args[0], format) })
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
		return failed(printJSON(out, s))
	}
	printStatus(out, s)
	return nil
}

// readStatus asks the workflow, and merges in the live numbers of the activities that run right now.
func readStatus(ctx context.Context, c client.Client, name string) (contract.Status, error) {
	var s contract.Status
	id := contract.WorkflowID(name)
	value, err := c.QueryWorkflow(ctx, id, "", contract.QueryStatus)
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return s, noMigration(name)
	}
	if err != nil {
		return s, fmt.Errorf("ask %s for its status (is a worker running?): %w", id, err)
	}
	if err := value.Get(&s); err != nil {
		return s, fmt.Errorf("read status of %s: %w", id, err)
	}
	described, err := c.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return s, fmt.Errorf("describe %s: %w", id, err)
	}
	if described.GetWorkflowExecutionInfo().GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return s, nil
	}
	for _, a := range described.GetPendingActivities() {
		var beat contract.Beat
		payloads := a.GetHeartbeatDetails()
		if payloads == nil || converter.GetDefaultDataConverter().FromPayloads(payloads, &beat) != nil {
			continue // no beat yet
		}
		mergeBeat(&s, a.GetActivityType().GetName(), beat)
		if f := a.GetLastFailure(); f != nil && a.GetAttempt() > 1 && f.GetMessage() != "the worker is stopping" {
			s.Problems = append(s.Problems, contract.Problem{Severity: contract.Warning, Code: "retrying", Object: a.GetActivityType().GetName(),
				Message: fmt.Sprintf("attempt %d after: %s", a.GetAttempt(), f.GetMessage())})
		}
	}
	return s, nil
}

// mergeBeat puts what a running activity knows over what the workflow was told last.
func mergeBeat(s *contract.Status, activity string, b contract.Beat) {
	if b.Copy != nil && b.Copy.BytesDone >= s.Copy.BytesDone {
		epoch := s.Copy.Epoch
		s.Copy = *b.Copy
		s.Copy.Epoch = max(epoch, b.Copy.Epoch)
	}
	if r := b.Replication; r != nil {
		switch activity {
		case "Receive":
			s.Replication.ReceivedLSN = max(s.Replication.ReceivedLSN, r.ReceivedLSN)
			s.Replication.SpooledBytes = r.SpooledBytes
		case "Apply":
			s.Replication.AppliedLSN = max(s.Replication.AppliedLSN, r.AppliedLSN)
			s.Replication.Transactions, s.Replication.Changes = r.Transactions, r.Changes
		case "WatchLag":
			s.Replication.LagBytes, s.Replication.LagSeconds, s.Replication.InSync = r.LagBytes, r.LagSeconds, r.InSync
			s.Replication.AppliedLSN = max(s.Replication.AppliedLSN, r.AppliedLSN)
		}
	}
	if b.Message != "" {
		s.Message += "; " + b.Message
	}
}

func watchCommand(out io.Writer) *cobra.Command {
	var every time.Duration
	c := &cobra.Command{
		Use:   "watch NAME",
		Short: "Follow a migration until it ends or waits for you",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(func(c client.Client) error { return watch(cmd.Context(), out, c, args[0], every) })
		},
	}
	c.Flags().DurationVar(&every, "every", time.Second, "how often to look")
	return c
}

// watch prints a line for each look that brought something new, so that it reads well in a log too.
func watch(ctx context.Context, out io.Writer, c client.Client, name string, every time.Duration) error {
	last := ""
	for {
		s, err := readStatus(ctx, c, name)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return failed(err)
		}
		if line := statusLine(s); line != last {
			fmt.Fprintf(out, "%s  %s\n", time.Now().Format(time.TimeOnly), line)
			last = line
		}
		switch s.Phase {
		case contract.PhaseCompleted, contract.PhaseAborted, contract.PhaseRolledBack:
			return nil
		case contract.PhaseFailed:
			printProblems(out, s.Problems)
			return failed(fmt.Errorf("migration %s failed: %s", name, s.Message))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

func reportCommand(out io.Writer) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "report NAME",
		Short: "Print the report of a migration that has ended",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(func(c client.Client) error { return showReport(cmd.Context(), out, c, args[0], format == "json") })
		},
	}
	outputFlag(c, &format)
	return c
}

func showReport(ctx context.Context, out io.Writer, c client.Client, name string, asJSON bool) error {
	id := contract.WorkflowID(name)
	described, err := c.DescribeWorkflowExecution(ctx, id, "")
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return failed(noMigration(name))
	}
	if err != nil {
		return failed(fmt.Errorf("describe %s: %w", id, err))
	}
	if described.GetWorkflowExecutionInfo().GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return refused(fmt.Errorf("migration %s has not ended; see: starter status %s", name, name))
	}
	return printReport(ctx, out, c, c.GetWorkflow(ctx, id, ""), asJSON)
}

func printReport(ctx context.Context, out io.Writer, _ client.Client, run client.WorkflowRun, asJSON bool) error {
	var r contract.Report
	if err := run.Get(ctx, &r); err != nil {
		return failed(errors.New(reason(err)))
	}
	if asJSON {
		return failed(printJSON(out, r))
	}
	printReportText(out, r)
	return nil
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
