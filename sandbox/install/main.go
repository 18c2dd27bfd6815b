// Command install brings the PostgreSQL servers that the tests and the sandbox run: a plain PostgreSQL, and one with
// TimescaleDB. It needs root and apt-get, prints a line for each step, and nothing when all is there.
//
//	go run ./sandbox/install
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"timeferry/internal/testkit/pgserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := pgserver.Ensure(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "install:", err)
		os.Exit(1)
	}
}
