package rig

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
)

const (
	// Database is what the databases on both sides are called. Role owns them and is what contenders log in as.
	Database = "bench"
	Role     = "bench"
	// TargetMajor is the target's version.
	TargetMajor = 17
)

// serverSettings are those of both servers, beside pgserver's own: the cache of a machine of 8 GB, and room in the WAL so that
// no checkpoint falls into one run and not into another.
var serverSettings = map[string]string{
	"shared_buffers":     "2GB",
	"max_wal_size":       "8GB",
	"checkpoint_timeout": "30min",
}

// targetSettings are those that timescaledb-tune writes for a machine of 8 GB with as many processors as this one has.
func targetSettings() map[string]string {
	cpus := runtime.NumCPU()
	return map[string]string{
		"maintenance_work_mem":            "1GB",
		"max_worker_processes":            strconv.Itoa(11 + cpus),
		"max_parallel_workers":            strconv.Itoa(cpus),
		"max_parallel_workers_per_gather": strconv.Itoa((cpus + 1) / 2),
	}
}

// productionSettings make servers as durable as those of production.
var productionSettings = map[string]string{"fsync": "on", "full_page_writes": "on"}

// Options say which servers to start.
type Options struct {
	SourceMajor int
	// Bare servers speak no TLS and never wait for their disks. Others are as those of production: TLS only, as RDS from
	// version 15 on and Timescale demand it, and durable.
	Bare     bool
	Settings map[string]string // on both, beside those that every benchmark has
}

// Rig is the two servers, and the programs that contenders run. Stop it.
type Rig struct {
	Log            io.Writer
	Dir            string // for everything that a run needs; removed at the end
	Source, Target *pgserver.Server
	Password       string // the role's
	Programs       Programs
	sslMode        string // of every login
}

// Open installs what is missing, and starts the servers.
func Open(ctx context.Context, log io.Writer, o Options) (*Rig, error) {
	r := &Rig{Log: log, Password: rand.Text(), sslMode: "disable"}
	if err := r.open(ctx, o); err != nil {
		return nil, errors.Join(err, r.Stop(context.WithoutCancel(ctx)))
	}
	return r, nil
}

func (r *Rig) open(ctx context.Context, o Options) (err error) {
	if r.Dir, err = os.MkdirTemp("", "timeferry-bench-"); err != nil {
		return err
	}
	if err := install(ctx, r.Log, o.SourceMajor); err != nil {
		return err
	}
	if r.Programs, err = findPrograms(ctx, r.Dir); err != nil {
		return err
	}
	options := pgserver.Options{Major: o.SourceMajor, Settings: maps.Clone(serverSettings), Log: r.Log}
	maps.Copy(options.Settings, o.Settings)
	if !o.Bare {
		r.sslMode, options.TLS = "require", &pgserver.TLS{Only: true}
		maps.Copy(options.Settings, productionSettings)
	}
	if r.Source, err = pgserver.StartSource(ctx, options); err != nil {
		return err
	}
	options.Major = TargetMajor
	maps.Copy(options.Settings, targetSettings())
	if r.Target, err = pgserver.StartTarget(ctx, options); err != nil {
		return err
	}
	for _, server := range []*pgserver.Server{r.Source, r.Target} {
		if err := r.makeRole(ctx, server); err != nil {
			return err
		}
	}
	return nil
}

func install(ctx context.Context, log io.Writer, sourceMajor int) error {
	if err := pgserver.Ensure(ctx, log); err != nil { // first: it makes the user that servers run as
		return err
	}
	if err := pgserver.EnsureSources(ctx, log, sourceMajor); err != nil {
		return err
	}
	if err := pgserver.EnsureTarget(ctx, log, TargetMajor); err != nil {
		return err
	}
	if err := pgserver.EnsureClients(ctx, log, TargetMajor); err != nil {
		return err
	}
	if _, err := findPgcopydb(); err == nil {
		return nil
	}
	return pgserver.EnsurePackages(ctx, log, "pgcopydb")
}

// Stop stops the servers and removes the directory.
func (r *Rig) Stop(ctx context.Context) error {
	var errs []error
	for _, server := range []*pgserver.Server{r.Source, r.Target} {
		if server != nil {
			errs = append(errs, server.Stop(ctx))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(r.Dir))...)
}

// Say tells the person who waits.
func (r *Rig) Say(format string, args ...any) {
	fmt.Fprintf(r.Log, "%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}

// makeRole makes the role that every contender logs in as: no superuser, as with managed servers.
func (r *Rig) makeRole(ctx context.Context, server *pgserver.Server) error {
	return r.Super(ctx, server, "postgres", func(conn *pgx.Conn) error {
		role := ident.Quote(Role)
		statements := []string{
			"CREATE ROLE " + role + " LOGIN NOSUPERUSER CREATEDB CREATEROLE REPLICATION PASSWORD " + ident.Literal(r.Password),
			"GRANT pg_monitor, pg_signal_backend TO " + role}
		if server == r.Target {
			statements = append(statements, "GRANT SET ON PARAMETER session_replication_role TO "+role)
		}
		return ExecAll(ctx, conn, statements...)
	})
}

// Super runs do in a superuser's session.
func (r *Rig) Super(ctx context.Context, server *pgserver.Server, database string, do func(*pgx.Conn) error) error {
	return Session(ctx, server.Superuser(database), do)
}

// Session runs do in a session of its own.
func Session(ctx context.Context, e pgkit.Endpoint, do func(*pgx.Conn) error) (err error) {
	conn, err := pgkit.Dial(ctx, e, "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	return do(conn)
}

// ExecAll runs statements one after the other.
func ExecAll(ctx context.Context, conn *pgx.Conn, statements ...string) error {
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("run %.60q: %w", sql, err)
		}
	}
	return nil
}

// Endpoint is the contenders' login on one side.
func (r *Rig) Endpoint(server *pgserver.Server) pgkit.Endpoint {
	e := server.Superuser(Database)
	e.User, e.Password, e.SSLMode, e.SSLRootCert = Role, r.Password, r.sslMode, ""
	return e
}

// Conninfo is how a program of PostgreSQL logs in to one side. The password is in its environment, ClientEnv.
func (r *Rig) Conninfo(server *pgserver.Server) string {
	e := r.Endpoint(server)
	return fmt.Sprintf("host=%s port=%d dbname=%s user=%s sslmode=%s", e.Host, e.Port, e.Database, e.User, e.SSLMode)
}

// ClientEnv is the environment of a program that logs in as the contenders do.
func (r *Rig) ClientEnv() []string {
	return append([]string{"PGPASSWORD=" + r.Password, "PGAPPNAME=bench"}, r.Programs.Env...)
}

// FreshDatabase drops and makes the database on one side, with the extensions named.
func (r *Rig) FreshDatabase(ctx context.Context, server *pgserver.Server, extensions []string) error {
	err := r.Super(ctx, server, "postgres", func(conn *pgx.Conn) error {
		return ExecAll(ctx, conn,
			"DROP DATABASE IF EXISTS "+ident.Quote(Database)+" WITH (FORCE)",
			"CREATE DATABASE "+ident.Quote(Database)+" OWNER "+ident.Quote(Role))
	})
	if err != nil || len(extensions) == 0 {
		return err
	}
	return r.Super(ctx, server, Database, func(conn *pgx.Conn) error {
		for _, e := range extensions {
			if err := ExecAll(ctx, conn, "CREATE EXTENSION IF NOT EXISTS "+ident.Quote(e)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Checkpoint writes out what either server has in memory, so that a run does not pay for what was before it.
func (r *Rig) Checkpoint(ctx context.Context) error {
	for _, server := range []*pgserver.Server{r.Source, r.Target} {
		err := r.Super(ctx, server, "postgres", func(conn *pgx.Conn) error { return ExecAll(ctx, conn, "CHECKPOINT") })
		if err != nil {
			return err
		}
	}
	return nil
}
