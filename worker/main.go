// Command worker runs the activities and workflows of Timeferry. It is the machine that the data flows through, and it
// keeps the spool of changes in its data directory. "worker environment" fetches its secret variables, for systemd; "worker
// spool inspect" shows what a spool holds.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"timeferry/activities"
	"timeferry/internal/contract"
	"timeferry/internal/spool"
	"timeferry/internal/temporalclient"
	"timeferry/workflows"
)

// drainTimeout is how long a stopping worker lets its activities come to a clean stand.
const drainTimeout = 30 * time.Second

type settings struct {
	dataDir        string
	hostID         string
	metricsAddress string
	awsPoll        time.Duration
	debug          bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "environment" {
		exitOn(writeEnvironment(ctx, os.Args[2:], os.Stderr))
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "spool" {
		os.Exit(spoolMain(os.Args[2:]))
	}
	var s settings
	flag.StringVar(&s.dataDir, "data-dir", "timeferry-data", "directory for the spool and this worker's identity; keep it over restarts")
	flag.StringVar(&s.hostID, "host-id", "", "this worker's identity (default: kept in the data directory)")
	flag.StringVar(&s.metricsAddress, "metrics-address", "", "address that serves /metrics and /healthz, like 127.0.0.1:9464 (default: none)")
	flag.DurationVar(&s.awsPoll, "aws-poll", 0, "how often RDS is asked while something is awaited (default 5s)")
	flag.BoolVar(&s.debug, "debug", false, "log more")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "worker: unexpected argument %q; see worker -h\n", flag.Arg(0))
		os.Exit(2)
	}
	exitOn(run(ctx, s))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

// run works until ctx ends.
func run(ctx context.Context, s settings) error {
	level := slog.LevelInfo
	if s.debug {
		level = slog.LevelDebug
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	slog.SetDefault(logger) // for what a room notes by itself: a downloaded certificate bundle
	home, err := openHome(s.dataDir, s.hostID)
	if err != nil {
		return err
	}
	defer func() { _ = home.Close() }() // the lock goes with the process anyway
	facts, err := readMachine(ctx, s.dataDir, logger)
	if err != nil {
		return err
	}
	observed, err := serveMetrics(s.metricsAddress, measured(facts, s.dataDir), logger)
	if err != nil {
		return err
	}
	defer observed.close()
	c, err := temporalclient.Dial(logger, observed.temporal)
	if err != nil {
		return err
	}
	defer c.Close()

	acts := &activities.Activities{Client: c, Spools: spool.NewSet(home.spoolDir()), HostID: home.hostID, Log: logger, Metrics: observed.ours, AWSPoll: s.awsPoll,
		Machine: machineNow(facts, s.dataDir)}
	workers := []worker.Worker{sharedWorker(c, acts), hostWorker(c, acts)}
	for _, w := range workers {
		if err := w.Start(); err != nil {
			return fmt.Errorf("start: %w", err)
		}
	}
	logger.Info("worker started", "host_id", home.hostID, "data_dir", s.dataDir)
	<-ctx.Done()
	logger.Info("worker stopping: activities come to a clean stand")
	stopTogether(workers)
	logger.Info("worker stopped")
	return nil
}

// sharedWorker takes the work that any worker can do.
func sharedWorker(c client.Client, acts *activities.Activities) worker.Worker {
	w := worker.New(c, contract.TaskQueue, options())
	w.RegisterWorkflowWithOptions(workflows.LiveMigration, workflow.RegisterOptions{Name: contract.WorkflowType})
	w.RegisterWorkflowWithOptions(workflows.Preflight, workflow.RegisterOptions{Name: contract.PreflightType})
	w.RegisterWorkflowWithOptions(workflows.VerifySchema, workflow.RegisterOptions{Name: contract.VerifySchemaType})
	w.RegisterWorkflowWithOptions(workflows.ShowDifferences, workflow.RegisterOptions{Name: contract.ShowDifferencesType})
	w.RegisterWorkflowWithOptions(workflows.Suggest, workflow.RegisterOptions{Name: contract.SuggestType})
	w.RegisterWorkflowWithOptions(workflows.SetPasswords, workflow.RegisterOptions{Name: contract.SetPasswordsType})
	w.RegisterActivity(acts)
	return w
}

// hostWorker takes the work that belongs to this worker's spool.
func hostWorker(c client.Client, acts *activities.Activities) worker.Worker {
	o := options()
	o.DisableWorkflowWorker = true
	w := worker.New(c, contract.HostQueue(acts.HostID), o)
	w.RegisterActivity(acts)
	return w
}

func options() worker.Options {
	return worker.Options{
		WorkerStopTimeout: drainTimeout,
		// The streams of a copy are begun all at once: they are for whoever is free, not for the worker that decided on them.
		DisableEagerActivities: true,
		// Progress in the UI and the latency of a cancellation follow the heartbeats that are let through.
		MaxHeartbeatThrottleInterval:     2 * time.Second,
		DefaultHeartbeatThrottleInterval: 2 * time.Second,
	}
}

func stopTogether(workers []worker.Worker) {
	done := make(chan struct{})
	for _, w := range workers {
		go func() {
			w.Stop()
			done <- struct{}{}
		}()
	}
	for range workers {
		<-done
	}
}
