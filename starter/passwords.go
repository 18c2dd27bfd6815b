package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"timeferry/internal/contract"
)

// passwordsOrder is what the command line says.
type passwordsOrder struct {
	contract.PasswordsOrder
	specFile, format string
}

func passwordsCommand(out io.Writer) *cobra.Command {
	var o passwordsOrder
	c := &cobra.Command{
		Use:   "passwords NAME (--file PATH | --secret-arn ARN)",
		Short: "Set the passwords of migrated roles on the target",
		Long: `Set the passwords of migrated roles on the target: roles come without, since RDS shows none.

The worker reads them, a JSON or YAML object of role and password ({"app": "…"}), from a file on its own machine that nobody
else may read, or from a secret of Secrets Manager (JSON). They do not pass through Temporal, and the target gets verifiers only.
The migration may run or be over. Exit codes: 0 all set, 1 some not, 2 bad usage.`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := o.check(args[0])
			if err != nil {
				return err
			}
			return withClient(cmd, func(c client.Client) error { return passwords(cmd.Context(), out, c, args[0], raw, o) })
		},
	}
	c.Flags().StringVar(&o.From.File, "file", "", "the whole path of a file on the worker's machine")
	c.Flags().StringVar(&o.From.SecretARN, "secret-arn", "", "a secret of Secrets Manager")
	c.Flags().StringArrayVar(&o.Roles, "role", nil, "only this role, named exactly as it is; may be given several times")
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "ask the target, but leave everything as it is")
	c.Flags().StringVarP(&o.specFile, "spec", "f", "", "the spec, once Temporal has the migration's history no more; - is standard input")
	outputFlag(c, &o.format)
	return c
}

// check says what is wrong with the command line, before Temporal is asked; the spec is nil unless a file gives it.
func (o passwordsOrder) check(name string) (json.RawMessage, error) {
	switch {
	case (o.From.File == "") == (o.From.SecretARN == ""):
		return nil, usage(errors.New("passwords: give exactly one of --file, --secret-arn"))
	case o.From.File != "" && !filepath.IsAbs(o.From.File):
		return nil, usage(fmt.Errorf("passwords: --file %s is read on the worker's machine: give the whole path", o.From.File))
	case o.specFile == "":
		return nil, nil
	}
	raw, spec, err := readSpec(o.specFile)
	if err == nil && spec.Name != name {
		err = usage(fmt.Errorf("passwords: spec %s is of migration %s, not of %s", o.specFile, spec.Name, name))
	}
	return raw, err
}

func passwords(ctx context.Context, out io.Writer, c client.Client, name string, spec json.RawMessage, o passwordsOrder) error {
	var err error
	if spec == nil {
		if spec, err = specOf(ctx, c, name); err != nil {
			return failed(fmt.Errorf("%w; if its history is gone, give its spec with -f", err))
		}
	}
	if o.Expected, err = rolesReported(ctx, c, name); err != nil {
		return failed(err)
	}
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: contract.PasswordsWorkflowID(name), TaskQueue: contract.TaskQueue,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
	}, contract.SetPasswordsType, contract.PasswordsInput{Spec: spec, PasswordsOrder: o.PasswordsOrder})
	if err != nil {
		return failed(fmt.Errorf("start passwords: %w", err))
	}
	var result contract.PasswordsResult
	if err := run.Get(ctx, &result); err != nil {
		return failed(fmt.Errorf("passwords: %s", reason(err)))
	}
	if o.format == "json" {
		err = printJSON(out, result)
	} else {
		printPasswords(out, result, o.DryRun)
	}
	if err != nil {
		return failed(err)
	}
	return judgePasswords(result, len(o.Roles) > 0)
}

// rolesReported are the roles without a password by the report of a migration that is over; nil: there is no such report.
func rolesReported(ctx context.Context, c client.Client, name string) ([]string, error) {
	id := contract.WorkflowID(name)
	described, err := c.DescribeWorkflowExecution(ctx, id, "")
	var missing *serviceerror.NotFound
	switch {
	case errors.As(err, &missing):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("describe %s: %w", id, err)
	case described.GetWorkflowExecutionInfo().GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		return nil, nil
	}
	var report contract.Report
	if err := c.GetWorkflow(ctx, id, described.GetWorkflowExecutionInfo().GetExecution().GetRunId()).Get(ctx, &report); err != nil {
		return nil, fmt.Errorf("read the report of %s: %w", name, err)
	}
	return append([]string{}, report.RolesWithoutPassword...), nil
}

// judgePasswords fails while a role that the person has in mind has no password: with --role the ones named, or else all.
func judgePasswords(r contract.PasswordsResult, chosen bool) error {
	left := len(r.Missing) + len(r.Refused)
	if !chosen {
		left += len(r.Unnamed)
	}
	switch {
	case left == 1:
		return failed(errors.New("the password of 1 role is not set"))
	case left > 1:
		return failed(fmt.Errorf("the passwords of %d roles are not set", left))
	}
	return nil
}
