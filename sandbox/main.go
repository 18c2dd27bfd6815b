// Command sandbox is a whole world for Timeferry on one machine, without a cloud: a PostgreSQL server that plays an RDS
// instance, with its API simulated, a TimescaleDB target, a Temporal server, a worker, and an application that writes.
//
//	go run ./sandbox demo     migrates it once, proves the result, and ends
//	go run ./sandbox up       keeps it up for you to try things, until Ctrl-C
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"timeferry/internal/testkit/pgserver"
	"timeferry/sandbox/demo"
	"timeferry/sandbox/world"
)

func main() {
	followGoRun()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends us at once; the kernel then ends what we started
	if err := command().ExecuteContext(ctx); err != nil {
		red, plain := "", ""
		if isTerminal(os.Stderr) {
			red, plain = "\x1b[31m", "\x1b[0m"
		}
		fmt.Fprintf(os.Stderr, "%ssandbox: %v%s\n", red, err, plain)
		os.Exit(1)
	}
}

// followGoRun makes the kernel tell us when `go run` is gone, since it does not pass a SIGTERM on. The kernel ties that to
// a thread: main starts on the first one, which never ends.
func followGoRun() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	name, err := os.ReadFile("/proc/" + strconv.Itoa(os.Getppid()) + "/comm")
	if err == nil && strings.TrimSpace(string(name)) == "go" {
		_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0) // without it we only end later
	}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// settings are what the flags say.
type settings struct {
	world   world.Options
	rate    int
	timeout time.Duration
	noLoad  bool
}

func command() *cobra.Command {
	s := &settings{world: world.Options{Ports: world.DefaultPorts(), Timings: world.DemoTimings, Log: os.Stdout}}
	root := &cobra.Command{
		Use:          "sandbox",
		Short:        "A whole world for Timeferry on this machine: source, RDS API, target, Temporal, worker, load",
		SilenceUsage: true, SilenceErrors: true,
	}
	flags := root.PersistentFlags()
	flags.Float64Var(&s.world.Scale, "scale", 1, "how much data; 1 is two million rows in metrics and half a million elsewhere")
	flags.IntVar(&s.rate, "rate", 300, "transactions a second of the application")
	for _, p := range s.world.Ports.Settings() {
		flags.IntVar(p.Port, p.Flag, fromEnv(p.Env, *p.Port), fmt.Sprintf("port for %s; 0 is any free one (%s)", p.What, p.Env))
	}
	run := &cobra.Command{Use: "demo", Short: "Migrate the shop once, prove the result, and end", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd.Context(), *s) }}
	run.Flags().DurationVar(&s.timeout, "timeout", 12*time.Minute, "for the migration itself")
	up := &cobra.Command{Use: "up", Short: "Keep the world up until Ctrl-C", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runUp(cmd.Context(), *s) }}
	up.Flags().StringVar(&s.world.TemporalDB, "temporal-db", "", "a file that keeps Temporal's histories (default: in memory)")
	up.Flags().BoolVar(&s.noLoad, "no-load", false, "no application that writes")
	root.AddCommand(run, up)
	return root
}

func fromEnv(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// check refuses what cannot work before anything is installed or started.
func (s settings) check() error {
	switch {
	case s.world.Scale <= 0 || s.world.Scale > 100:
		return errors.New("--scale: choose more than 0 and at most 100")
	case s.rate < 1 || s.rate > 10000:
		return errors.New("--rate: choose 1 to 10000")
	}
	return nil
}

func runDemo(ctx context.Context, s settings) error {
	if err := s.check(); err != nil {
		return err
	}
	if err := pgserver.Ensure(ctx, os.Stdout); err != nil {
		return err
	}
	return demo.Run(ctx, demo.Options{World: s.world, Rate: s.rate, Timeout: s.timeout, Out: os.Stdout, Fancy: isTerminal(os.Stdout)})
}
