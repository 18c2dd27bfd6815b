package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"timeferry/internal/contract"
)

// orderCommands makes one subcommand per signal. Each is sent as an update, so that its sender learns whether it was taken.
func orderCommands(out io.Writer) []*cobra.Command {
	var commands []*cobra.Command
	for _, o := range []struct{ name, short string }{
		{contract.SignalApproveReboot, "Let the source be rebooted"},
		{contract.SignalApproveHypertables, "Go on after the schema"},
		{contract.SignalCutover, "Switch over to the target"},
		{contract.SignalPause, "Hold the migration"},
		{contract.SignalResume, "Try again what a problem stopped"},
		{contract.SignalVerify, "Compare both sides now"},
		{contract.SignalResync, "Start again with a fresh slot and copy"},
		{contract.SignalAbort, "Undo everything and end"},
		{contract.SignalRollback, "Bring the application back to the source"},
		{contract.SignalComplete, "Clean up and end after the switch"},
	} {
		commands = append(commands, orderCommand(out, o.name, o.short))
	}
	return commands
}

func orderCommand(out io.Writer, name, short string) *cobra.Command {
	var note contract.Note
	var schema bool
	var format string
	c := &cobra.Command{
		Use:   name + " NAME",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(func(c client.Client) error {
				if schema {
					return verifySchema(cmd.Context(), out, c, args[0], format)
				}
				return sendOrder(cmd.Context(), out, c, args[0], name, note)
			})
		},
	}
	c.Flags().StringVar(&note.By, "by", "", "who orders it, for the record")
	c.Flags().StringVar(&note.Reason, "reason", "", "why, for the record")
	if name == contract.SignalVerify {
		c.Flags().BoolVar(&schema, "schema", false, "compare the schemas only: every definition on both sides")
		outputFlag(c, &format)
	}
	if name == contract.SignalAbort {
		c.Flags().BoolVar(&note.KeepTarget, "keep-target", false, "leave on the target what the migration made there")
	}
	return c
}

func sendOrder(ctx context.Context, out io.Writer, c client.Client, migration, name string, note contract.Note) error {
	handle, err := c.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: contract.WorkflowID(migration), UpdateName: name, Args: []any{note},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	var answer string
	if err == nil {
		err = handle.Get(ctx, &answer)
	}
	if err != nil {
		return explainOrder(migration, name, err)
	}
	fmt.Fprintf(out, "%s: %s %s\n", migration, name, answer)
	return nil
}

func explainOrder(migration, name string, err error) error {
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return failed(noMigration(migration))
	}
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		return refused(errors.New(withPrefix(app.Message(), name+" refused: ")))
	}
	return failed(fmt.Errorf("send %s to %s: %w", name, migration, err))
}

func withPrefix(message, prefix string) string {
	if strings.HasPrefix(message, prefix) {
		return message
	}
	return prefix + message
}

func noMigration(name string) error {
	return fmt.Errorf("no migration %s is running (workflow %s); see: starter list", name, contract.WorkflowID(name))
}
