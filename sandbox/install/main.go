// Command install brings the PostgreSQL servers that the tests and the sandbox run: a plain PostgreSQL and one with
// TimescaleDB, by apt-get as root, and plain ones of every version from 12 to 18, by npm; and the AWS CLI, which checks
// the simulator of AWS. It prints a line for each step, and nothing when all is there.
//
//	go run ./sandbox/install             # what the tests need
//	go run ./sandbox/install -target 18  # besides, TimescaleDB on PostgreSQL 18 and its client programs
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"timeferry/internal/testkit/pgserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	target := flag.Int("target", 0, "also install a server with TimescaleDB on this major `version` of PostgreSQL, and its client programs")
	flag.Parse()
	if err := install(ctx, *target); err != nil {
		fmt.Fprintln(os.Stderr, "install:", err)
		os.Exit(1)
	}
}

func install(ctx context.Context, target int) error {
	if err := pgserver.Ensure(ctx, os.Stdout); err != nil { // first: it makes the user that servers run as
		return err
	}
	if err := ensureAWS(ctx); err != nil {
		return err
	}
	if err := pgserver.EnsureSources(ctx, os.Stdout, pgserver.Majors()...); err != nil || target == 0 {
		return err
	}
	if err := pgserver.EnsureTarget(ctx, os.Stdout, target); err != nil {
		return err
	}
	return pgserver.EnsureClients(ctx, os.Stdout, target)
}

// ensureAWS is content with any AWS CLI that is on the path.
func ensureAWS(ctx context.Context) error {
	if _, err := exec.LookPath("aws"); err == nil {
		return nil
	}
	return pgserver.EnsurePackages(ctx, os.Stdout, "awscli")
}
