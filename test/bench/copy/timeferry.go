package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgserver"
	"timeferry/sandbox/proc"
	"timeferry/test/bench/report"
	"timeferry/test/bench/rig"
)

// migrationName is what the migration is called in every run.
const migrationName = "bench"

// lookEvery is how often the status is asked for, which takes a program's start. The times come from the status itself, so that
// it need not be often: twice a second it took a twelfth of a processor.
const lookEvery = 3 * time.Second

// timeferryRun is the real thing: a Temporal server and a worker of their own for each run, and a migration that goes until
// both sides are in sync, and is then aborted.
type timeferryRun struct {
	*world
	dir              string
	env              []string
	temporal, worker *proc.Process
}

// start starts the Temporal server and the worker. They run before the clock does: they are there before a migration begins.
func (t *timeferryRun) start(ctx context.Context, jobs int) (err error) {
	t.temporal, t.worker = nil, nil
	if t.dir, err = os.MkdirTemp(t.Dir, "timeferry-"); err != nil {
		return err
	}
	if err := t.startTemporal(ctx); err != nil {
		return errors.Join(err, t.end(ctx))
	}
	if err := t.startWorker(ctx); err != nil {
		return errors.Join(err, t.end(ctx))
	}
	spec, err := json.Marshal(t.spec(jobs))
	if err != nil {
		return err
	}
	return os.WriteFile(t.file("spec.json"), spec, 0o600)
}

func (t *timeferryRun) file(name string) string { return t.dir + "/" + name }

func (t *timeferryRun) startTemporal(ctx context.Context) (err error) {
	port, err := freePort()
	if err != nil {
		return err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	t.env = append(slices.Clone(t.Programs.Env), "TEMPORAL_ADDRESS="+address, "TEMPORAL_NAMESPACE=default", "TEMPORAL_CONFIG_FILE="+t.file("temporal.toml"),
		"SOURCE_PASSWORD="+t.Password, "TARGET_PASSWORD="+t.Password)
	if err := os.WriteFile(t.file("temporal.toml"), nil, 0o600); err != nil { // no profile of the user's is mixed in
		return err
	}
	args := []string{"server", "start-dev", "--ip", "127.0.0.1", "--port", strconv.Itoa(port), "--headless", "--log-level", "error"}
	if t.temporal, err = proc.Start(proc.Options{Name: "temporal", Path: t.world.temporal, Args: args, Env: t.env, LogFile: t.file("temporal.log"), Grace: 10 * time.Second}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("it was not ready within a minute"))
	defer cancel()
	return t.temporal.Await(ctx, func(ctx context.Context) bool {
		cmd := t.Programs.Command(ctx, t.world.temporal, "operator", "namespace", "describe", "--namespace", "default")
		cmd.Env = t.env
		return cmd.Run() == nil
	})
}

func (t *timeferryRun) startWorker(ctx context.Context) (err error) {
	t.worker, err = proc.Start(proc.Options{Name: "worker", Path: t.world.worker, Args: []string{"--data-dir", t.file("data")}, Env: t.env, Dir: t.dir,
		LogFile: t.file("worker.log"), Grace: 40 * time.Second})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("it was not ready within a minute"))
	defer cancel()
	return t.worker.Await(ctx, func(context.Context) bool { return t.worker.Logged("worker started") })
}

// spec is the order. Everything that matters for speed is left at its default but the number of jobs. Nothing is compared: that begins
// when the copy is complete, which others do not do at all, and would count as processor time until the status is asked for.
func (t *timeferryRun) spec(jobs int) map[string]any {
	end := func(server *pgserver.Server, env string) map[string]any {
		e := t.Endpoint(server)
		return map[string]any{"host": e.Host, "port": e.Port, "database": e.Database, "user": e.User, "password": map[string]string{"env": env}, "sslMode": e.SSLMode}
	}
	return map[string]any{
		"name": migrationName, "source": end(t.Source, "SOURCE_PASSWORD"), "target": end(t.Target, "TARGET_PASSWORD"),
		"prepare": map[string]any{"machine": "skip"},
		"roles":   "skip",
		"copy":    map[string]any{"concurrency": jobs, "indexJobs": jobs},
		"cutover": map[string]any{"mode": "signal", "verify": "none"},
	}
}

// copy runs a migration until both sides are in sync.
func (t *timeferryRun) copy(ctx context.Context, _ int) (o outcome, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w; the end of the worker's log:\n%s", err, t.worker.Tail()), t.end(context.WithoutCancel(ctx)))
		}
	}()
	cpu, err := t.cpu()
	if err != nil {
		return o, err
	}
	if _, err := t.order(ctx, "start", "-f", t.file("spec.json")); err != nil {
		return o, err
	}
	s, err := t.await(ctx, contract.PhaseInSync)
	if err != nil {
		return o, err
	}
	o = timesOf(s.Phases)
	if o.programs, err = t.cpu(); err != nil {
		return o, err
	}
	for name := range cpu {
		o.programs[name] -= cpu[name]
	}
	return o, nil
}

// timesOf takes the times from the status: the copy begins with the slot and ends when all indexes stand.
func timesOf(phases []contract.PhaseTime) outcome {
	o := outcome{phases: map[string]float64{}}
	entered := map[contract.Phase]time.Time{}
	for _, p := range phases {
		if _, again := entered[p.Phase]; !again {
			entered[p.Phase] = p.Entered
		}
		if p.MS > 0 {
			o.phases[string(p.Phase)] += float64(p.MS) / 1000
		}
	}
	o.seconds = entered[contract.PhaseCatchingUp].Sub(entered[contract.PhaseCreatingSlot]).Seconds()
	o.inSync = entered[contract.PhaseInSync].Sub(phases[0].Entered).Seconds()
	return o
}

// order runs the starter.
func (t *timeferryRun) order(ctx context.Context, args ...string) ([]byte, error) {
	cmd := t.Programs.Command(ctx, t.world.starter, args...)
	cmd.Env = t.env
	out := &strings.Builder{}
	cmd.Stdout = out
	_, err := rig.Run(cmd)
	return []byte(out.String()), err
}

// await asks for the status until the migration is in a phase.
func (t *timeferryRun) await(ctx context.Context, phase contract.Phase) (s contract.Status, err error) {
	for {
		out, err := t.order(ctx, "status", migrationName, "-o", "json")
		if err == nil {
			if err := json.Unmarshal(out, &s); err != nil {
				return s, fmt.Errorf("read the status: %w", err)
			}
			if s.Phase == phase {
				return s, nil
			}
			if s.Phase == contract.PhaseFailed || s.Phase == contract.PhaseAborted || slices.Contains(s.Awaiting, contract.SignalResume) {
				return s, fmt.Errorf("it is %s: %s: %v", s.Phase, s.Message, s.Problems)
			}
		}
		if dead := errors.Join(t.worker.Err(), t.temporal.Err()); dead != nil {
			return s, errors.Join(dead, err)
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

// stop undoes the migration, so that the source is as it was, and ends worker and Temporal.
func (t *timeferryRun) stop(ctx context.Context, _ int) error {
	_, err := t.order(ctx, contract.SignalAbort, migrationName)
	if err == nil {
		_, err = t.await(ctx, contract.PhaseAborted)
	}
	return errors.Join(err, t.end(ctx))
}

func (t *timeferryRun) end(ctx context.Context) error {
	var errs []error
	for _, p := range []*proc.Process{t.worker, t.temporal} {
		if p != nil {
			errs = append(errs, p.Stop(ctx))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(t.dir))...)
}

func (t *timeferryRun) cpu() (map[string]float64, error) {
	worker, err := report.TreeCPU(t.worker.PID())
	if err != nil {
		return nil, err
	}
	temporal, err := report.TreeCPU(t.temporal.PID())
	return map[string]float64{"worker": worker, "temporal": temporal}, err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
