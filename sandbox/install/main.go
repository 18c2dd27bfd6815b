// Command install brings the PostgreSQL servers that the tests and the sandbox run: a plain PostgreSQL and one with
// TimescaleDB, both with PostGIS, by apt-get as root, and plain ones of every version from 12 to 18, by npm; PgBouncer, which
// the cutover switches; Chromium, in which reports are looked at; and the AWS CLI, which checks the simulator of AWS. It prints a line for each step, and nothing when all is there.
//
//	go run ./sandbox/install             # what the tests need
//	go run ./sandbox/install -target 18  # besides, TimescaleDB on PostgreSQL 18 and its client programs
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"timeferry/internal/testkit/pgbouncer"
	"timeferry/internal/testkit/pgserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	target := flag.Int("target", 0, "also install a server with TimescaleDB on this major `version` of PostgreSQL and its client programs")
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
	if err := errors.Join(pgserver.EnsurePostGIS(ctx, os.Stdout), ensureAWS(ctx), ensurePgBouncer(ctx), ensureBrowser(ctx)); err != nil {
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

// ensurePgBouncer brings what the cutover's switch is tried with.
func ensurePgBouncer(ctx context.Context) error {
	if _, err := pgbouncer.Path(); err == nil {
		return nil
	}
	return pgserver.EnsurePackages(ctx, os.Stdout, "pgbouncer")
}

// ensureBrowser brings what reports are looked at in.
func ensureBrowser(ctx context.Context) error {
	if _, err := exec.LookPath("chromium"); err == nil {
		return nil
	}
	return pgserver.EnsurePackages(ctx, os.Stdout, "chromium")
}

// ensureAWS is content with any AWS CLI that is on the path.
func ensureAWS(ctx context.Context) error {
	if _, err := exec.LookPath("aws"); err == nil {
		return nil
	}
	return pgserver.EnsurePackages(ctx, os.Stdout, "awscli")
}
