package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"timeferry/internal/contract"
)

func startCommand(out io.Writer) *cobra.Command {
	var file string
	var wait bool
	c := &cobra.Command{
		Use:   "start -f SPEC",
		Short: "Start the migration that a spec (YAML or JSON) describes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			raw, spec, err := readSpec(file)
			if err != nil {
				return err
			}
			return withClient(cmd, func(c client.Client) error { return start(cmd.Context(), out, c, raw, spec, wait) })
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "the spec; - is standard input")
	c.Flags().BoolVar(&wait, "wait", false, "wait for the end and print the report")
	if err := c.MarkFlagRequired("file"); err != nil {
		panic(err)
	}
	return c
}

func start(ctx context.Context, out io.Writer, c client.Client, raw json.RawMessage, spec contract.Spec, wait bool) error {
	id := contract.WorkflowID(spec.Name)
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: id, TaskQueue: contract.TaskQueue,
		WorkflowIDConflictPolicy:                 enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            "migration " + spec.Name,
	}, contract.WorkflowType, raw)
	var started *serviceerror.WorkflowExecutionAlreadyStarted
	if errors.As(err, &started) {
		return refused(fmt.Errorf("migration %s is running already (workflow %s); see: starter status %s", spec.Name, id, spec.Name))
	}
	if err != nil {
		return failed(fmt.Errorf("start %s: %w", id, err))
	}
	fmt.Fprintf(out, "started %s\nfollow it with: starter watch %s\n", id, spec.Name)
	if there, err := workerThere(ctx, c); err == nil && !there {
		fmt.Fprintln(out, "it begins once a worker is there: "+noWorker)
	}
	if !wait {
		return nil
	}
	return printReport(ctx, out, c, run, false)
}

func preflightCommand(out io.Writer) *cobra.Command {
	var file, format string
	var suggesting bool
	c := &cobra.Command{
		Use:   "preflight -f SPEC",
		Short: "Check both ends without changing anything",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			raw, spec, err := readSpec(file)
			if err != nil {
				return err
			}
			return withClient(cmd, func(c client.Client) error {
				if suggesting {
					return suggest(cmd.Context(), out, c, raw, spec, format)
				}
				return preflight(cmd.Context(), out, c, raw, spec, format)
			})
		},
	}
	c.Flags().BoolVar(&suggesting, "suggest", false, "only print proposals for hypertables, to be put into the spec by hand")
	c.Flags().StringVarP(&file, "file", "f", "", "the spec; - is standard input")
	outputFlag(c, &format)
	if err := c.MarkFlagRequired("file"); err != nil {
		panic(err)
	}
	return c
}

func preflight(ctx context.Context, out io.Writer, c client.Client, raw json.RawMessage, spec contract.Spec, format string) error {
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: contract.WorkflowID(spec.Name) + "_preflight", TaskQueue: contract.TaskQueue,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
	}, contract.PreflightType, raw)
	if err != nil {
		return failed(fmt.Errorf("start preflight: %w", err))
	}
	problems := []contract.Problem{}
	if err := run.Get(ctx, &problems); err != nil {
		return failed(fmt.Errorf("preflight: %s", reason(err)))
	}
	if format == "json" {
		err = printJSON(out, problems)
	} else {
		printProblems(out, problems)
	}
	for _, p := range problems {
		if p.Severity == contract.Fatal {
			return failed(errors.New("preflight found errors: nothing was changed, and a migration would not start"))
		}
	}
	return failed(err)
}

// reason is the innermost message that says why a workflow failed.
func reason(err error) string {
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		return app.Message()
	}
	return err.Error()
}

func outputFlag(c *cobra.Command, format *string) {
	c.Flags().StringVarP(format, "output", "o", "text", "text or json")
	c.PreRunE = func(*cobra.Command, []string) error {
		if *format != "text" && *format != "json" {
			return usage(fmt.Errorf("--output %s: choose text or json", *format))
		}
		return nil
	}
}
