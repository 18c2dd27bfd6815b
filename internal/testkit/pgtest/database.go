package pgtest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
)

// Database is a test's own database. Its methods fail the test on error.
type Database struct {
	Endpoint pgkit.Endpoint   // of the superuser
	Master   pgkit.Endpoint   // of the database's owner, who is no superuser: SourceMaster or TargetMaster
	Server   *pgserver.Server // shared with the process's other tests, unless made by one of the Own functions
}

// Source returns a fresh, empty database on this process's source server, wal_level=logical. It is dropped with the test.
func Source(t testing.TB) *Database {
	t.Helper()
	return source.shareServer(t).newDatabase(t)
}

// SourceOf is Source on a server of one major version, 12 to 18, which is shared too.
func SourceOf(t testing.TB, major int) *Database {
	t.Helper()
	return ofMajor(sources, major, newSource).shareServer(t).newDatabase(t)
}

// Target returns a fresh database with TimescaleDB on this process's target server. It is dropped with the test.
func Target(t testing.TB) *Database {
	t.Helper()
	return target.shareServer(t).newDatabase(t)
}

// TargetOf is Target on a server of one major version, which is shared too: 17, or 18 where that is installed.
func TargetOf(t testing.TB, major int) *Database {
	t.Helper()
	return ofMajor(targets, major, newTarget).shareServer(t).newDatabase(t)
}

// OwnSource is Source on a server that belongs to this test alone, started with settings and stopped with the test: for
// tests that restart or kill it, or need other settings.
func OwnSource(t testing.TB, settings map[string]string) *Database {
	t.Helper()
	return source.ownServer(t, pgserver.Options{Settings: settings}).newDatabase(t)
}

// OwnSourceOf is OwnSource on a server of one major version, 12 to 18.
func OwnSourceOf(t testing.TB, major int, settings map[string]string) *Database {
	t.Helper()
	return ofMajor(sources, major, newSource).ownServer(t, pgserver.Options{Settings: settings}).newDatabase(t)
}

// OwnTLSSource is OwnSource on a server that speaks TLS. Both Endpoints have sslMode verify-ca and its authority.
func OwnTLSSource(t testing.TB, tls pgserver.TLS) *Database {
	t.Helper()
	return source.ownServer(t, pgserver.Options{TLS: &tls}).newDatabase(t)
}

// OwnTLSSourceOf is OwnTLSSource on a server of one major version, 12 to 18.
func OwnTLSSourceOf(t testing.TB, major int, tls pgserver.TLS) *Database {
	t.Helper()
	return ofMajor(sources, major, newSource).ownServer(t, pgserver.Options{TLS: &tls}).newDatabase(t)
}

// OwnTarget is Target on a server that belongs to this test alone.
func OwnTarget(t testing.TB, settings map[string]string) *Database {
	t.Helper()
	return target.ownServer(t, pgserver.Options{Settings: settings}).newDatabase(t)
}

func (s *side) ownServer(t testing.TB, options pgserver.Options) *host {
	t.Helper()
	h, err := s.newHost(context.Background(), options)
	skipOrFail(t, err)
	t.Cleanup(func() {
		if err := h.Stop(context.Background()); err != nil {
			t.Errorf("stop the test's own server: %v", err)
		}
	})
	return h
}

// newDatabase makes a database and drops it with the test, unless its server is stopped then anyway.
func (h *host) newDatabase(t testing.TB) *Database {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	name := fmt.Sprintf("test%d", h.databases.Add(1))
	master := h.Superuser(name)
	master.User, master.Password = h.side.master, h.masterPassword
	d := &Database{Endpoint: h.Superuser(name), Master: master, Server: h.Server}
	must(t, "create database", h.asSuperuser(ctx, "postgres", "CREATE DATABASE "+ident.Quote(name)+" OWNER "+ident.Quote(h.side.master)))
	if h.side.shared == h { // a server of one's own is thrown away as a whole
		t.Cleanup(func() { d.drop(t) })
	}
	if h.side.fill != "" {
		must(t, "fill database", h.asSuperuser(ctx, name, h.side.fill))
	}
	return d
}

// dropSQL ends the database's sessions, walsenders among them, so that its slots become free, and drops those.
const (
	endSessionsSQL = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()`
	openSlotsSQL   = `SELECT slot_name FROM pg_replication_slots WHERE database = $1`
)

func (d *Database) drop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if !d.Server.Running() {
		t.Errorf("drop database %s: its shared server is not running", d.Endpoint.Database)
		return
	}
	conn, err := pgkit.Dial(ctx, d.Server.Superuser("postgres"), "pgtest drop")
	must(t, "connect to drop the database", err)
	defer conn.Close(ctx)
	for {
		left, err := d.dropSlots(ctx, conn)
		must(t, "drop replication slots", err)
		if left == 0 {
			break
		}
		must(t, "wait for replication slots", ctx.Err())
		time.Sleep(10 * time.Millisecond)
	}
	must(t, "drop database", d.dropEmpty(ctx, conn))
}

// dropEmpty drops the database. PostgreSQL 12 cannot end its sessions in the same breath: there it is tried until they
// are gone.
func (d *Database) dropEmpty(ctx context.Context, conn *pgx.Conn) error {
	drop := "DROP DATABASE IF EXISTS " + ident.Quote(d.Endpoint.Database)
	if conn.PgConn().ParameterStatus("server_version") >= "13" { // two digits for all that there are
		_, err := conn.Exec(ctx, drop+" WITH (FORCE)")
		return err
	}
	for {
		if _, err := conn.Exec(ctx, endSessionsSQL, d.Endpoint.Database); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, drop)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != objectInUse || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// objectInUse is the SQLSTATE of a database that has sessions.
const objectInUse = "55006"

// dropSlots drops the slots that are free and returns how many are not, or not yet.
func (d *Database) dropSlots(ctx context.Context, conn *pgx.Conn) (left int, err error) {
	if _, err := conn.Exec(ctx, endSessionsSQL, d.Endpoint.Database); err != nil {
		return 0, err
	}
	rows, err := conn.Query(ctx, openSlotsSQL, d.Endpoint.Database)
	if err != nil {
		return 0, err
	}
	slots, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, err
	}
	for _, slot := range slots {
		if _, err := conn.Exec(ctx, "SELECT pg_drop_replication_slot($1)", slot); err != nil {
			left++ // its session is still ending
		}
	}
	return left, nil
}

// Exec runs SQL as superuser. Without args it may be several statements.
func (d *Database) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	conn := d.dial(t, d.Endpoint)
	defer closeConn(t, conn)
	_, err := conn.Exec(context.Background(), sql, args...)
	must(t, "run SQL", err)
}

// Conn is a superuser's session, closed with the test.
func (d *Database) Conn(t testing.TB) *pgx.Conn {
	t.Helper()
	return d.connect(t, d.Endpoint)
}

// MasterConn is the owner's session, closed with the test.
func (d *Database) MasterConn(t testing.TB) *pgx.Conn {
	t.Helper()
	return d.connect(t, d.Master)
}

// QueryValue returns the first column of the query's only row as text, "NULL" for null.
func (d *Database) QueryValue(t testing.TB, query string) string {
	t.Helper()
	rows := d.Dump(t, query)
	if len(rows) != 1 {
		t.Fatalf("query %q: got %d rows, want 1", query, len(rows))
	}
	return rows[0]
}

// Dump returns the query's rows as text in the query's order: columns separated by "|", null as "NULL".
func (d *Database) Dump(t testing.TB, query string) []string {
	t.Helper()
	conn := d.dial(t, d.Endpoint)
	defer closeConn(t, conn)
	results, err := conn.PgConn().Exec(context.Background(), query).ReadAll() // the simple protocol answers in text
	must(t, "query "+query, err)
	dump := []string{}
	for _, result := range results {
		for _, row := range result.Rows {
			dump = append(dump, rowText(row))
		}
	}
	return dump
}

// TrustWal2json lets the output plugin be used where the server has a list of those that may be (minor releases of 2026). The
// server must be the test's own.
func (d *Database) TrustWal2json(t testing.TB) {
	t.Helper()
	const listed = "SELECT coalesce((SELECT setting LIKE '%wal2json%' FROM pg_settings WHERE name = 'output_plugin_libraries'), true)::text"
	if d.QueryValue(t, listed) == "true" {
		return
	}
	d.Exec(t, "ALTER SYSTEM SET output_plugin_libraries = 'pgoutput', 'wal2json'")
	d.Exec(t, "SELECT pg_reload_conf()")
	for deadline := time.Now().Add(time.Minute); d.QueryValue(t, listed) != "true"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the plugin wal2json is not trusted after a minute")
		}
	}
}

func rowText(row [][]byte) string {
	text := ""
	for i, value := range row {
		if i > 0 {
			text += "|"
		}
		if value == nil {
			text += "NULL"
		} else {
			text += string(value)
		}
	}
	return text
}

func (d *Database) connect(t testing.TB, e pgkit.Endpoint) *pgx.Conn {
	t.Helper()
	conn := d.dial(t, e)
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // the test may have killed the server
	return conn
}

func (d *Database) dial(t testing.TB, e pgkit.Endpoint) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgkit.Dial(ctx, e, "test")
	must(t, "connect", err)
	return conn
}

func closeConn(t testing.TB, conn *pgx.Conn) {
	t.Helper()
	must(t, "close connection", conn.Close(context.Background()))
}

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
