package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"timeferry/internal/launch"
)

func machineTerminateCommand(out io.Writer) *cobra.Command {
	var file, region, format string
	var ids []string
	var poll time.Duration
	c := &cobra.Command{
		Use:   "terminate NAME | -f SPEC",
		Short: "Terminate the machine of a migration, with its disk and its security group",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, region, err := machineToEnd(args, file, region)
			if err != nil {
				return err
			}
			return machineTerminate(cmd.Context(), out, name, ids, format, launch.Options{Region: region, PollInterval: poll})
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "the spec, instead of the migration's name")
	c.Flags().StringVar(&region, "region", "", "region of the machine (default: the spec's, or that of the AWS configuration)")
	c.Flags().StringArrayVar(&ids, "instance", nil, "only the machine with this id; refused if it is not the migration's")
	hiddenPoll(c, &poll)
	outputFlag(c, &format)
	return c
}

func machineToEnd(args []string, file, region string) (name, inRegion string, err error) {
	if (len(args) == 1) == (file != "") {
		return "", "", usage(errors.New("give the migration's name, or its spec with -f"))
	}
	if len(args) == 1 {
		return args[0], region, nil
	}
	_, spec, err := readSpec(file)
	if err != nil {
		return "", "", err
	}
	if region == "" && spec.Source.RDS != nil {
		region = spec.Source.RDS.Region
	}
	return spec.Name, region, nil
}

func machineTerminate(ctx context.Context, out io.Writer, name string, ids []string, format string, options launch.Options) error {
	c, err := launch.Open(ctx, options)
	if err != nil {
		return machineError(err)
	}
	gone, err := c.Terminate(ctx, name, ids, progressOn(format))
	if err != nil {
		return machineError(err)
	}
	if format == "json" {
		return failed(printJSON(out, gone))
	}
	if len(gone.Machines)+len(gone.SecurityGroups) == 0 {
		fmt.Fprintf(out, "migration %s has no machine in %s\n", name, c.Region())
		return nil
	}
	fmt.Fprintf(out, "terminated %s; deleted security group %s\n", orNone(gone.Machines), orNone(gone.SecurityGroups))
	return nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
