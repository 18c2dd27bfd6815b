package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
)

// EnvRequire lists, with commas, what tests must not be skipped for: "pg".
const EnvRequire = "TIMEFERRY_REQUIRE"

// Names of the roles that stand for the services' master users.
const (
	SourceMaster = "shopmaster"
	TargetMaster = "tsdbadmin"
)

// side is one of the shared servers, and how one of its kind is prepared.
type side struct {
	major   int // 0: the installation's own choice
	start   func(context.Context, pgserver.Options) (*pgserver.Server, error)
	prepare string // roles, run once as superuser
	master  string
	fill    string // run as superuser in each new database

	once   sync.Once
	shared *host
	err    error
}

// host is a server with its roles.
type host struct {
	*pgserver.Server
	side           *side
	masterPassword string
	databases      atomic.Int64
}

// sourceRoles follow RDS: the master user is no superuser but a member of rds_superuser. RDS has it NOREPLICATION and
// lets members of rds_replication replicate; plain PostgreSQL cannot do that, so it has REPLICATION itself.
const sourceRoles = `
CREATE ROLE rds_replication NOLOGIN;
CREATE ROLE rds_password NOLOGIN;
CREATE ROLE rds_superuser NOLOGIN;
GRANT rds_replication, rds_password TO rds_superuser WITH ADMIN OPTION;
GRANT pg_monitor, pg_signal_backend, pg_read_all_stats, pg_read_all_settings, pg_stat_scan_tables TO rds_superuser WITH ADMIN OPTION;
DO $$ BEGIN
	IF current_setting('server_version_num')::int >= 150000 THEN -- before, only superusers may set it
		EXECUTE 'GRANT SET ON PARAMETER session_replication_role TO rds_superuser';
	END IF;
END $$;
CREATE ROLE shopmaster LOGIN NOSUPERUSER CREATEDB CREATEROLE REPLICATION;
GRANT rds_superuser TO shopmaster;`

const targetRoles = `
CREATE ROLE tsdbadmin LOGIN NOSUPERUSER CREATEDB CREATEROLE REPLICATION;
GRANT pg_monitor, pg_signal_backend, pg_read_all_stats, pg_read_all_settings TO tsdbadmin;
GRANT SET ON PARAMETER session_replication_role TO tsdbadmin;`

var (
	source = newSource(0)
	target = newTarget(0)

	versionsMu sync.Mutex
	sources    = map[int]*side{0: source} // by major version
	targets    = map[int]*side{0: target}
)

func newSource(major int) *side {
	return &side{major: major, start: pgserver.StartSource, prepare: sourceRoles, master: SourceMaster}
}

func newTarget(major int) *side {
	return &side{major: major, start: pgserver.StartTarget, prepare: targetRoles, master: TargetMaster, fill: "CREATE EXTENSION timescaledb"}
}

// ofMajor is the side of one major version, the same each time.
func ofMajor(sides map[int]*side, major int, make func(int) *side) *side {
	versionsMu.Lock()
	defer versionsMu.Unlock()
	if sides[major] == nil {
		sides[major] = make(major)
	}
	return sides[major]
}

// allSides are those that may have a shared server.
func allSides() []*side {
	versionsMu.Lock()
	defer versionsMu.Unlock()
	return slices.AppendSeq(slices.Collect(maps.Values(sources)), maps.Values(targets))
}

// Main runs the package's tests, stops the servers that they started, calls the functions given, and exits. Call it from
// TestMain.
func Main(m *testing.M, after ...func()) {
	code := m.Run()
	for _, f := range after {
		f()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, s := range allSides() {
		if s.shared == nil {
			continue
		}
		if err := s.shared.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "stop the test server:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// shareServer returns the server of this process, started by whoever comes first.
func (s *side) shareServer(t testing.TB) *host {
	t.Helper()
	s.once.Do(func() { s.shared, s.err = s.newHost(context.Background(), pgserver.Options{}) })
	skipOrFail(t, s.err)
	return s.shared
}

// newHost starts a server and makes its roles.
func (s *side) newHost(ctx context.Context, options pgserver.Options) (*host, error) {
	options.Major = s.major
	server, err := s.start(ctx, options)
	if err != nil {
		return nil, err
	}
	h := &host{Server: server, side: s, masterPassword: rand.Text()}
	err = h.asSuperuser(ctx, "postgres", s.prepare+
		"\nALTER ROLE "+ident.Quote(s.master)+" PASSWORD "+ident.Literal(h.masterPassword))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the roles of the test server: %w", err), server.Stop(ctx))
	}
	return h, nil
}

func (h *host) asSuperuser(ctx context.Context, db string, statements ...string) error {
	conn, err := pgkit.Dial(ctx, h.Superuser(db), "pgtest")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// skipOrFail ends the test if err is not nil: skipped when the server is not installed and not required.
func skipOrFail(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, pgserver.ErrUnavailable) && !Required("pg"):
		t.Skipf("%v; set %s=pg to fail instead", err, EnvRequire)
	default:
		t.Fatalf("test server: %v", err)
	}
}

// Required says whether TIMEFERRY_REQUIRE lists word.
func Required(word string) bool {
	return slices.ContainsFunc(strings.Split(os.Getenv(EnvRequire), ","), func(s string) bool { return strings.TrimSpace(s) == word })
}
