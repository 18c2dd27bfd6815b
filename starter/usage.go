package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"timeferry/internal/contract"
)

// oneName is the argument of a command about one migration.
func oneName(cmd *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return usage(fmt.Errorf("%s: name the migration, like: %s shop (starter list shows all)", cmd.Name(), cmd.CommandPath()))
	case 1:
		return checkName(cmd, args[0])
	}
	return usage(fmt.Errorf("%s: name one migration, not %d: %s", cmd.Name(), len(args), strings.Join(args, " ")))
}

// checkName refuses what no migration can be called.
func checkName(cmd *cobra.Command, name string) error {
	if problem := contract.NameProblem(name); problem != "" {
		return usage(fmt.Errorf("%s: %s (starter list shows all)", cmd.Name(), problem))
	}
	return nil
}

// group is a command that only has others below it.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return usage(fmt.Errorf("unknown command %q for %q (see: %s --help)", args[0], cmd.CommandPath(), cmd.CommandPath()))
}

// speaksToAWS is true for the machine commands, whose work ends with them.
func speaksToAWS(cmd *cobra.Command) bool {
	return cmd.HasParent() && cmd.Parent().Name() == "machine"
}

// explainUsage says of cobra's own errors, which all are about usage, where to read on.
func explainUsage(cmd *cobra.Command, err error) error {
	var coded *exitError
	if err == nil || errors.As(err, &coded) {
		return err
	}
	words := strings.Join(strings.Fields(err.Error()), " ") // a suggestion comes in lines of its own
	if cmd.HasParent() {
		words = cmd.Name() + ": " + words
	}
	return usage(fmt.Errorf("%s (see: %s --help)", words, cmd.CommandPath()))
}
