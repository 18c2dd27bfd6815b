// Command starter starts, steers and watches migrations. For that it speaks to Temporal only: databases and AWS are the
// worker's. Only its machine commands, which come before there is a worker, speak to AWS.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, part of the contract.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	root := rootCommand(out)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	cmd, err := root.ExecuteContextC(ctx)
	err = explainUsage(cmd, err)
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil && !speaksToAWS(cmd) {
		err = failed(errors.New("interrupted: nothing more is waited for, but what was begun goes on (starter list shows migrations)"))
	}
	fmt.Fprintln(errOut, "starter:", err)
	var coded *exitError
	if errors.As(err, &coded) {
		return coded.code
	}
	return exitFailed
}

// exitError carries the exit code of a failure.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func failed(err error) error  { return withCode(exitFailed, err) }
func usage(err error) error   { return withCode(exitUsage, err) }
func refused(err error) error { return withCode(exitRefused, err) }

func withCode(code int, err error) error {
	var coded *exitError
	if err == nil || errors.As(err, &coded) {
		return err
	}
	return &exitError{code, err}
}

func rootCommand(out io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "starter",
		Short: "Move a PostgreSQL database from Amazon RDS to Timescale while the application keeps writing",
		Long: `Move a PostgreSQL database from Amazon RDS to Timescale while the application keeps writing.

Temporal is found by TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and the other standard variables and profiles.
Exit codes: 0 done, 1 failed, 2 bad usage or spec, 3 refused (not in that phase, lag too high).`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(preflightCommand(out), startCommand(out), statusCommand(out), watchCommand(out), reportCommand(out), listCommand(out), passwordsCommand(out), machineCommand(out))
	for _, c := range orderCommands(out) {
		root.AddCommand(c)
	}
	return root
}
