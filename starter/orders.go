package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
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
		{contract.SignalPause, "Hold the migration until resume: nothing new is copied, built or applied"},
		{contract.SignalResume, "Let a paused migration go on, and try again what a problem stopped"},
		{contract.SignalResync, "Start again with a fresh slot and copy"},
		{contract.SignalAbort, "Undo everything and end"},
		{contract.SignalRollback, "Bring the application back to the source"},
		{contract.SignalComplete, "Clean up and end after the switch"},
	} {
		commands = append(commands, orderCommand(out, o.name, o.short))
	}
	return append(commands, concurrencyCommand(out), verifyCommand(out))
}

// concurrencyCommand sets how many streams copy and how many indexes are built at once.
func concurrencyCommand(out io.Writer) *cobra.Command {
	var note contract.Note
	c := &cobra.Command{
		Use:   contract.SignalSetConcurrency + " NAME [STREAMS]",
		Short: "Change how many streams copy, and with --index-jobs how many indexes are built at once",
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 2:
				return usage(fmt.Errorf("%s: name one migration and one number of streams, not %s", cmd.Name(), strings.Join(args, " ")))
			case len(args) == 2:
				return checkName(cmd, args[0])
			}
			return oneName(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				var err error
				if note.Copy, err = strconv.Atoi(args[1]); err != nil || note.Copy < 1 {
					return usage(fmt.Errorf("%q is no number of streams: choose 1 to %d", args[1], contract.MaxConcurrency))
				}
			}
			if len(args) == 1 && !cmd.Flags().Changed("index-jobs") {
				return usage(fmt.Errorf("%s: say how many streams copy (%s %s 8), how many indexes are built at once (--index-jobs 2), or both", cmd.Name(), cmd.CommandPath(), args[0]))
			}
			if problem := note.ConcurrencyProblem(); problem != "" {
				return usage(fmt.Errorf("%s: %s", cmd.Name(), problem))
			}
			return withClient(cmd, func(c client.Client) error {
				return sendOrder(cmd.Context(), out, c, args[0], contract.SignalSetConcurrency, note)
			})
		},
	}
	c.Flags().IntVar(&note.IndexJobs, "index-jobs", 0, "how many indexes are built at once; 0 leaves it as it is")
	c.Flags().StringVar(&note.By, "by", "", "who orders it, for the record")
	c.Flags().StringVar(&note.Reason, "reason", "", "why, for the record")
	return c
}

func orderCommand(out io.Writer, name, short string) *cobra.Command {
	var note contract.Note
	var schema, dry bool
	var format string
	c := &cobra.Command{
		Use:   name + " NAME",
		Short: short,
		Args:  oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(cmd, func(c client.Client) error {
				if schema {
					return verifySchema(cmd.Context(), out, c, args[0], format)
				}
				if dry {
					return dryRun(cmd.Context(), out, c, args[0], format)
				}
				return sendOrder(cmd.Context(), out, c, args[0], name, note)
			})
		},
	}
	c.Flags().StringVar(&note.By, "by", "", "who orders it, for the record")
	c.Flags().StringVar(&note.Reason, "reason", "", "why, for the record")
	if name == contract.SignalCutover {
		c.Flags().BoolVar(&dry, "dry-run", false, "only say whether it would work now, and how long the application would wait")
		outputFlag(c, &format)
	}
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
	answer, err := updateWorkflow(ctx, c, migration, name, note)
	if err != nil {
		return explainOrder(migration, name, err)
	}
	fmt.Fprintf(out, "%s: %s %s\n", migration, name, answer)
	return nil
}

func updateWorkflow(ctx context.Context, c client.Client, migration, name string, note contract.Note) (answer string, err error) {
	handle, err := c.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: contract.WorkflowID(migration), UpdateName: name, Args: []any{note},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(ctx, &answer)
	}
	return answer, err
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
