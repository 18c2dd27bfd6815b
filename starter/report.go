package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"timeferry/internal/contract"
	"timeferry/internal/page"
)

func reportCommand(out io.Writer) *cobra.Command {
	var format, file string
	c := &cobra.Command{
		Use:   "report NAME",
		Short: "Print the report of a migration that has ended, or make a page of it",
		Args:  oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("html") && file == "" {
				return usage(errors.New("report: --html needs the name of a file, or - for the output"))
			}
			return withClient(cmd, func(c client.Client) error {
				if file == "" {
					return showReport(cmd.Context(), out, c, args[0], format == "json")
				}
				return writePage(cmd.Context(), out, c, args[0], file)
			})
		},
	}
	outputFlag(c, &format)
	c.Flags().StringVar(&file, "html", "", "write one page of HTML, which needs nothing else, into this `file`; - is the output")
	c.MarkFlagsMutuallyExclusive("html", "output")
	return c
}

func showReport(ctx context.Context, out io.Writer, c client.Client, name string, asJSON bool) error {
	run, err := endedRun(ctx, c, name)
	if err != nil {
		return err
	}
	return printReport(ctx, out, c, run, asJSON)
}

// writePage makes the page before it opens the file: a file that is there stays whole when there is no report.
func writePage(ctx context.Context, out io.Writer, c client.Client, name, file string) error {
	run, err := endedRun(ctx, c, name)
	if err != nil {
		return err
	}
	r, err := readReport(ctx, run)
	if err != nil {
		return err
	}
	var html bytes.Buffer
	if err := page.Write(&html, r); err != nil {
		return failed(fmt.Errorf("make the page of %s: %w", name, err))
	}
	if file == "-" {
		_, err := html.WriteTo(out)
		return failed(err)
	}
	if err := os.WriteFile(file, html.Bytes(), 0o644); err != nil {
		return failed(fmt.Errorf("write the page of %s: %w", name, err))
	}
	fmt.Fprintf(out, "%s: the report is in %s\n", name, file)
	return nil
}

// endedRun is the migration's last run, which must have ended.
func endedRun(ctx context.Context, c client.Client, name string) (client.WorkflowRun, error) {
	id := contract.WorkflowID(name)
	described, err := c.DescribeWorkflowExecution(ctx, id, "")
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return nil, failed(noMigration(name))
	}
	if err != nil {
		return nil, failed(fmt.Errorf("describe %s: %w", id, err))
	}
	if described.GetWorkflowExecutionInfo().GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return nil, refused(fmt.Errorf("migration %s has not ended; see: starter status %s", name, name))
	}
	return c.GetWorkflow(ctx, id, ""), nil
}

func readReport(ctx context.Context, run client.WorkflowRun) (r contract.Report, err error) {
	if err := run.Get(ctx, &r); err != nil {
		return r, failed(errors.New(reason(err)))
	}
	return r, nil
}

func printReport(ctx context.Context, out io.Writer, _ client.Client, run client.WorkflowRun, asJSON bool) error {
	r, err := readReport(ctx, run)
	if err != nil {
		return err
	}
	if asJSON {
		return failed(printJSON(out, r))
	}
	printReportText(out, r)
	return nil
}
