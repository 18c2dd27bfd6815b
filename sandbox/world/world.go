package world

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"timeferry/internal/awssim"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
	"timeferry/sandbox/proc"
	"timeferry/sandbox/shop"
)

// What the world's parts are called.
const (
	Host           = "127.0.0.1"
	Instance       = "shop-prod"
	Region         = "us-west-2"
	Migration      = "shop"
	SourceDatabase = "shop"
	SourceUser     = "shopadmin"
	TargetDatabase = "tsdb"
	TargetUser     = "tsdbadmin"
	SecurityGroup  = "sg-0a1b2c3d4e5f60718" // the instance's
)

// World is a running world. Its methods are safe for concurrent use, one at a time.
type World struct {
	options   Options
	Ports     Ports
	Source    *pgserver.Server
	Target    *pgserver.Server
	AWS       *awssim.Simulator
	passwords passwords
	gate      *Gate

	temporalProgram string
	temporal        *proc.Process
	servers         []*http.Server
	lock            *os.File

	mu     sync.Mutex
	worker *proc.Process

	secretMu sync.Mutex // guards passwords.source, which is rotated
}

type passwords struct{ source, target, app string }

// Start starts everything and fills the source. If it fails, nothing is left. Stop the world.
func Start(ctx context.Context, o Options) (*World, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	w := &World{options: o, Ports: o.Ports, passwords: passwords{rand.Text(), rand.Text(), rand.Text()}}
	if err := w.start(ctx); err != nil {
		return nil, errors.Join(err, w.Stop(context.WithoutCancel(ctx)))
	}
	return w, nil
}

func (w *World) start(ctx context.Context) error {
	if err := w.prepareDir(); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.startTarget(groupCtx) })
	group.Go(func() error { return w.startSource(groupCtx) })
	group.Go(func() error {
		if err := w.startTemporal(groupCtx); err != nil {
			return err
		}
		return w.build(groupCtx)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if err := w.startAWS(ctx); err != nil {
		return err
	}
	if err := w.writeFiles(); err != nil {
		return err
	}
	if w.options.NoWorker {
		return nil
	}
	return w.StartWorker(ctx)
}

func (w *World) say(format string, args ...any) { fmt.Fprintf(w.options.Log, format+"\n", args...) }

// Dir is where the world's state is: logs, spec, environment.
func (w *World) Dir() string { return w.options.Dir }

// Path is a file of the world's state.
func (w *World) Path(name ...string) string {
	return filepath.Join(append([]string{w.options.Dir}, name...)...)
}

// prepareDir empties the state directory, which must not be another world's.
func (w *World) prepareDir() error {
	if err := os.MkdirAll(w.Path("logs"), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(w.Path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fault.New(fault.Operator, "use directory", w.options.Dir, "stop it first", "another sandbox is running in it"), lock.Close())
	}
	w.lock = lock
	for _, old := range []string{"logs", "worker", "env", "secrets", sourceRoot, targetRoot, "pg_service.conf", "temporal.toml", "shop.yaml", "shop.json", "report.json", "pids"} {
		if err := os.RemoveAll(w.Path(old)); err != nil {
			return err
		}
	}
	return errors.Join(os.MkdirAll(w.Path("logs"), 0o755), os.MkdirAll(w.Path("bin"), 0o755), os.WriteFile(w.Path("temporal.toml"), nil, 0o600))
}

// sourceRoles follow RDS: the master user is no superuser but a member of rds_superuser. RDS has it NOREPLICATION and lets
// members of rds_replication replicate; plain PostgreSQL cannot do that, so it has REPLICATION itself.
const sourceRoles = `
CREATE ROLE rds_replication NOLOGIN;
CREATE ROLE rds_password NOLOGIN;
CREATE ROLE rds_iam NOLOGIN;
CREATE ROLE rds_superuser NOLOGIN;
GRANT rds_replication, rds_password TO rds_superuser WITH ADMIN OPTION;
GRANT pg_monitor, pg_signal_backend, pg_read_all_stats, pg_read_all_settings, pg_stat_scan_tables TO rds_superuser WITH ADMIN OPTION;
GRANT SET ON PARAMETER session_replication_role TO rds_superuser;
CREATE ROLE shopadmin LOGIN NOSUPERUSER CREATEDB CREATEROLE REPLICATION;
GRANT rds_superuser TO shopadmin;
CREATE DATABASE shop OWNER shopadmin;`

// sourceSettings are those of an instance that has never replicated logically.
var sourceSettings = map[string]string{"wal_level": "replica", "rds.logical_replication": "off"}

func (w *World) startSource(ctx context.Context) error {
	o := pgserver.Options{Port: w.Ports.Source, Settings: sourceSettings, TLS: &pgserver.TLS{Only: true}, Log: w.options.Log}
	if w.options.Gate {
		o.Port = 0 // the gate has the source's
	}
	server, err := pgserver.StartSource(ctx, o)
	if err != nil {
		return err
	}
	w.Source = server
	if err := errors.Join(w.linkLog("source.log", server), w.keepRoot(sourceRoot, server)); err != nil {
		return err
	}
	if err := run(ctx, server.Superuser("postgres"), sourceRoles, "ALTER ROLE shopadmin PASSWORD '"+w.passwords.source+"'"); err != nil {
		return fmt.Errorf("prepare the source: %w", err)
	}
	began := time.Now()
	w.say("filling the shop (scale %g)", w.options.Scale)
	conn, err := pgkit.Dial(ctx, w.SourceMaster(), "sandbox")
	if err != nil {
		return err
	}
	err = errors.Join(shop.CreateRoles(ctx, conn, w.passwords.app), conn.Close(context.WithoutCancel(ctx)))
	if err != nil {
		return err
	}
	if err := shop.Create(ctx, w.SourceMaster(), w.options.Scale); err != nil {
		return err
	}
	w.say("filled the shop in %.1f s", time.Since(began).Seconds())
	return nil
}

// targetRoles follow the service: its administrator is no superuser, and the extension is there already.
const targetRoles = `
CREATE ROLE tsdbadmin LOGIN NOSUPERUSER CREATEDB CREATEROLE REPLICATION;
GRANT pg_monitor, pg_signal_backend, pg_read_all_stats, pg_read_all_settings TO tsdbadmin;
GRANT SET ON PARAMETER session_replication_role TO tsdbadmin;
CREATE DATABASE tsdb OWNER tsdbadmin;`

func (w *World) startTarget(ctx context.Context) error {
	server, err := pgserver.StartTarget(ctx, pgserver.Options{Port: w.Ports.Target, TLS: &pgserver.TLS{Only: true}, Log: w.options.Log})
	if err != nil {
		return err
	}
	w.Target = server
	if err := errors.Join(w.linkLog("target.log", server), w.keepRoot(targetRoot, server)); err != nil {
		return err
	}
	if err := run(ctx, server.Superuser("postgres"), targetRoles, "ALTER ROLE tsdbadmin PASSWORD '"+w.passwords.target+"'"); err != nil {
		return fmt.Errorf("prepare the target: %w", err)
	}
	if err := run(ctx, server.Superuser(TargetDatabase), "CREATE EXTENSION IF NOT EXISTS timescaledb"); err != nil {
		return fmt.Errorf("prepare the target's database: %w", err)
	}
	return nil
}

// run executes scripts as they are, statement by statement: CREATE DATABASE must not be in a transaction.
func run(ctx context.Context, e pgkit.Endpoint, scripts ...string) (err error) {
	conn, err := pgkit.Dial(ctx, e, "sandbox")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for _, script := range scripts {
		for _, statement := range statements(script) {
			if _, err := conn.Exec(ctx, statement); err != nil {
				return err
			}
		}
	}
	return nil
}

// StartWorker starts the worker, or starts it again after KillWorker, on the same data directory.
func (w *World) StartWorker(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.worker != nil && w.worker.Err() == nil {
		return nil
	}
	args := append([]string{"--data-dir", w.Path("worker"), "--aws-poll", "500ms"}, w.options.WorkerArgs...)
	worker, err := proc.Start(proc.Options{Name: "worker", Path: w.Path("bin", "worker"), Args: args, Env: w.Env(), Dir: w.options.Dir,
		LogFile: w.Path("logs", "worker.log"), Grace: 40 * time.Second})
	if err != nil {
		return err
	}
	w.worker = worker
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("it was not ready within a minute"))
	defer cancel()
	if err := worker.Await(ctx, func(context.Context) bool { return worker.Logged("worker started") }); err != nil {
		return err
	}
	w.say("worker is running, process %d", worker.PID())
	return w.writePIDs()
}

// KillWorker ends the worker as a power cut would.
func (w *World) KillWorker() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.worker == nil {
		return nil
	}
	return w.worker.Kill()
}

// StopWorker asks the worker to come to a clean stand and end.
func (w *World) StopWorker(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.worker == nil {
		return nil
	}
	return w.worker.Stop(ctx)
}

// Err says which part of the world has died, nil if none has.
func (w *World) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, p := range []*proc.Process{w.worker, w.temporal} {
		if p != nil {
			errs = append(errs, p.Err())
		}
	}
	return errors.Join(errs...)
}

// Stop ends everything in order and leaves logs and spec behind, but no password. Stopping twice is harmless.
func (w *World) Stop(ctx context.Context) error {
	errs := []error{w.StopWorker(ctx)}
	if w.temporal != nil {
		errs = append(errs, w.temporal.Stop(ctx))
	}
	for _, server := range w.servers {
		errs = append(errs, server.Close())
	}
	if w.AWS != nil {
		w.AWS.Close()
	}
	if w.gate != nil {
		errs = append(errs, w.gate.Close())
	}
	for name, server := range map[string]*pgserver.Server{"source.log": w.Source, "target.log": w.Target} {
		if server != nil {
			errs = append(errs, w.keepLog(name, server), server.Stop(ctx))
		}
	}
	if w.lock != nil {
		for _, name := range []string{"pids", "env", "pg_service.conf", "secrets"} {
			errs = append(errs, os.RemoveAll(w.Path(name)))
		}
		errs = append(errs, w.lock.Close())
		w.lock = nil
	}
	return errors.Join(errs...)
}
