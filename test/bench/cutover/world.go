package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgbouncer"
	"timeferry/internal/testkit/pgserver"
	"timeferry/sandbox/proc"
)

const (
	byHTTP      = "http"
	byPgBouncer = "pgbouncer"

	sourceMajor  = 15
	targetMajor  = 17
	roleName     = "bench"
	databaseName = "bench"
	readyWithin  = time.Minute
)

// world is the two servers, Temporal and one worker, for all rounds.
type world struct {
	settings
	dir              string
	env              []string
	password         string
	source, target   *pgserver.Server
	temporal, worker *proc.Process
	starter          string
	hook             *hook
	bouncer          *pgbouncer.Bouncer // of the round, with switch pgbouncer
}

func newWorld(ctx context.Context, s settings) (*world, error) {
	w := &world{settings: s, password: rand.Text()}
	if err := w.open(ctx); err != nil {
		return nil, errors.Join(err, w.stop(context.WithoutCancel(ctx)))
	}
	return w, nil
}

func (w *world) open(ctx context.Context) (err error) {
	if w.dir, err = os.MkdirTemp("", "timeferry-bench-"); err != nil {
		return err
	}
	if err := pgserver.Ensure(ctx, os.Stderr); err != nil {
		return err
	}
	options := pgserver.Options{Settings: map[string]string{"max_wal_size": "4GB", "shared_buffers": "128MB"}, Log: os.Stderr, Major: sourceMajor}
	if w.source, err = pgserver.StartSource(ctx, options); err != nil {
		return err
	}
	options.Major = targetMajor
	if w.target, err = pgserver.StartTarget(ctx, options); err != nil {
		return err
	}
	for _, server := range []*pgserver.Server{w.source, w.target} {
		if err := w.makeRole(ctx, server); err != nil {
			return err
		}
	}
	if w.hook, err = openHook(); err != nil {
		return err
	}
	return w.startPrograms(ctx)
}

func (w *world) makeRole(ctx context.Context, server *pgserver.Server) error {
	role := ident.Quote(roleName)
	return super(ctx, server, "postgres",
		"CREATE ROLE "+role+" LOGIN NOSUPERUSER CREATEDB CREATEROLE REPLICATION PASSWORD "+ident.Literal(w.password),
		"GRANT pg_monitor, pg_signal_backend TO "+role, "GRANT SET ON PARAMETER session_replication_role TO "+role)
}

func super(ctx context.Context, server *pgserver.Server, database string, statements ...string) error {
	return session(ctx, server.Superuser(database), func(conn *pgx.Conn) error {
		for _, sql := range statements {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	})
}

func session(ctx context.Context, e pgkit.Endpoint, do func(*pgx.Conn) error) (err error) {
	conn, err := pgkit.Dial(ctx, e, "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	return do(conn)
}

// endpoint is the login of the migration and of the clients.
func (w *world) endpoint(server *pgserver.Server) pgkit.Endpoint {
	e := server.Superuser(databaseName)
	e.User, e.Password, e.SSLMode = roleName, w.password, "disable"
	return e
}

func (w *world) startPrograms(ctx context.Context) (err error) {
	temporal, err := exec.LookPath("temporal")
	if err != nil {
		return fmt.Errorf("find the temporal program, which `make bench-cutover` builds: %w", err)
	}
	w.starter = filepath.Join(w.dir, "starter")
	worker := filepath.Join(w.dir, "worker")
	for _, program := range []string{worker, w.starter} {
		build := exec.CommandContext(ctx, "go", "build", "-o", program, "timeferry/"+filepath.Base(program))
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", filepath.Base(program), err, out)
		}
	}
	clients, err := pgserver.ClientBin(ctx, targetMajor)
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	w.env = append(os.Environ(), "PATH="+clients+":"+os.Getenv("PATH"), "TEMPORAL_ADDRESS="+net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), "TEMPORAL_NAMESPACE=default",
		"BENCH_PASSWORD="+w.password, "HOOK_KEY="+hookKey)
	args := []string{"server", "start-dev", "--ip", "127.0.0.1", "--port", strconv.Itoa(port), "--headless", "--log-level", "error"}
	if w.temporal, err = proc.Start(proc.Options{Name: "temporal", Path: temporal, Args: args, Env: w.env, LogFile: w.file("temporal.log"), Grace: 10 * time.Second}); err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	err = w.temporal.Await(ready, func(ctx context.Context) bool {
		cmd := exec.CommandContext(ctx, temporal, "operator", "namespace", "describe", "--namespace", "default")
		cmd.Env = w.env
		return cmd.Run() == nil
	})
	if err != nil {
		return err
	}
	w.worker, err = proc.Start(proc.Options{Name: "worker", Path: worker, Args: []string{"--data-dir", w.file("data")}, Env: w.env, Dir: w.dir, LogFile: w.file("worker.log"), Grace: 40 * time.Second})
	if err != nil {
		return err
	}
	return w.worker.Await(ready, func(context.Context) bool { return w.worker.Logged("worker started") })
}

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

func (w *world) stop(ctx context.Context) error {
	var errs []error
	for _, p := range []*proc.Process{w.worker, w.temporal} {
		if p != nil {
			errs = append(errs, p.Stop(ctx))
		}
	}
	if w.hook != nil {
		errs = append(errs, w.hook.server.Close())
	}
	for _, server := range []*pgserver.Server{w.source, w.target} {
		if server != nil {
			errs = append(errs, server.Stop(ctx))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

// fresh makes both databases anew.
func (w *world) fresh(ctx context.Context) error {
	for _, server := range []*pgserver.Server{w.source, w.target} {
		err := super(ctx, server, "postgres", "DROP DATABASE IF EXISTS "+databaseName+" WITH (FORCE)", "CREATE DATABASE "+databaseName+" OWNER "+roleName, "CHECKPOINT")
		if err != nil {
			return err
		}
	}
	if err := super(ctx, w.target, databaseName, "CREATE EXTENSION timescaledb"); err != nil {
		return err
	}
	return session(ctx, w.endpoint(w.source), func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf(schemaSQL, w.rows))
		return err
	})
}

// schemaSQL is a journal that clients append to, and accounts that they change.
const schemaSQL = `CREATE TABLE journal (writer int, seq int, at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (writer, seq));
	CREATE TABLE account (id int PRIMARY KEY, n bigint NOT NULL, note text NOT NULL);
	INSERT INTO account SELECT g, 0, md5(g::text) FROM generate_series(1, %d) g;
	CREATE SEQUENCE tickets; ANALYZE account`

// run runs the starter.
func (w *world) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, w.starter, args...)
	cmd.Env = w.env
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("starter %s: %w: %s", strings.Join(args, " "), err, said.String())
	}
	return out, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
