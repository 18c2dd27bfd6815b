package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"timeferry/internal/contract"
)

func listCommand(out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List migrations, running and ended",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withClient(cmd, func(c client.Client) error { return list(cmd.Context(), out, c) })
		},
	}
}

func list(ctx context.Context, out io.Writer, c client.Client) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tSTARTED\tENDED")
	request := &workflowservice.ListWorkflowExecutionsRequest{Query: fmt.Sprintf("WorkflowType = '%s'", contract.WorkflowType)}
	for {
		page, err := c.ListWorkflow(ctx, request)
		if err != nil {
			return failed(fmt.Errorf("list migrations: %w", err))
		}
		for _, e := range page.GetExecutions() {
			ended := ""
			if e.GetCloseTime().IsValid() {
				ended = e.GetCloseTime().AsTime().Format("2006-01-02 15:04:05")
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", strings.TrimPrefix(e.GetExecution().GetWorkflowId(), contract.WorkflowID("")),
				strings.ToLower(e.GetStatus().String()), e.GetStartTime().AsTime().Format("2006-01-02 15:04:05"), ended)
		}
		if len(page.GetNextPageToken()) == 0 {
			return failed(w.Flush())
		}
		request.NextPageToken = page.GetNextPageToken()
	}
}
