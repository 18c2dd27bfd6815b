// Package e2e runs whole migrations: real PostgreSQL and TimescaleDB servers, a real Temporal development server, the real
// worker as a process of its own, steered by the programs that people use.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgtest"
	"timeferry/sandbox/proc"
)

func TestMain(m *testing.M) { pgtest.Main(m, stopShared) }

// stopShared ends the development server and removes the programs.
func stopShared() {
	if shared.server != nil {
		_ = shared.server.Kill() // it dies with this process anyway
	}
	if shared.directory != "" {
		_ = os.RemoveAll(shared.directory) // only a temporary directory
	}
}

// namespaces is how many migrations' worlds one development server offers: each test has one to itself, so that no
// worker takes another test's work.
const namespaces = 72

// shared is what all tests of the process use: the development server, and the programs under test.
var shared struct {
	once            sync.Once
	err             error
	address         string
	temporal, tctl  string
	worker, starter string
	directory       string
	namespace       atomic.Int32
	temporalMissing bool
	server          *proc.Process
}

func setup(t *testing.T) {
	t.Helper()
	shared.once.Do(func() { shared.err = startShared() })
	if shared.temporalMissing && !pgtest.Required("temporal") {
		t.Skip("no temporal program on PATH; make test builds one")
	}
	require.NoError(t, shared.err)
}

func startShared() (err error) {
	if shared.temporal, err = exec.LookPath("temporal"); err != nil {
		shared.temporalMissing = true
		return err
	}
	if shared.tctl, err = exec.LookPath("tctl"); err != nil {
		shared.temporalMissing = true
		return err
	}
	if shared.directory, err = os.MkdirTemp("", "timeferry-e2e-"); err != nil {
		return err
	}
	for _, program := range []string{"worker", "starter"} {
		build := exec.Command("go", "build", "-o", filepath.Join(shared.directory, program), "timeferry/"+program)
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", program, err, out)
		}
	}
	shared.worker, shared.starter = filepath.Join(shared.directory, "worker"), filepath.Join(shared.directory, "starter")
	return startTemporal()
}

// startTemporal starts a development server that dies with this process.
func startTemporal() error {
	port, err := freePort()
	if err != nil {
		return err
	}
	shared.address = fmt.Sprintf("127.0.0.1:%d", port)
	args := []string{"server", "start-dev", "--ip", "127.0.0.1", "--port", fmt.Sprint(port), "--headless", "--log-level", "error"}
	for i := range namespaces {
		args = append(args, "--namespace", fmt.Sprintf("test-%d", i+1))
	}
	logFile := filepath.Join(shared.directory, "temporal.log")
	p, err := proc.Start(proc.Options{Name: "temporal", Path: shared.temporal, Args: args, Env: os.Environ(), LogFile: logFile, Grace: time.Second})
	if err != nil {
		return err
	}
	shared.server = p
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return p.Await(ctx, func(ctx context.Context) bool {
		c, err := dial(fmt.Sprintf("test-%d", namespaces))
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = c.CheckHealth(ctx, &client.CheckHealthRequest{})
		return err == nil
	})
}

func dial(namespace string) (client.Client, error) {
	return client.Dial(client.Options{HostPort: shared.address, Namespace: namespace, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// world is one test's namespace, with its worker.
type world struct {
	t         *testing.T
	dir       string
	namespace string
	env       []string
	client    client.Client
	worker    *proc.Process
}

// newWorld starts a worker in a namespace of its own. The variables are added to its environment.
func newWorld(t *testing.T, env ...string) *world {
	t.Helper()
	w := newIdleWorld(t, env...)
	w.startWorker()
	return w
}

// newIdleWorld has no worker yet.
func newIdleWorld(t *testing.T, env ...string) *world {
	t.Helper()
	setup(t)
	n := shared.namespace.Add(1)
	require.LessOrEqual(t, n, int32(namespaces), "raise the number of namespaces")
	w := &world{t: t, dir: t.TempDir(), namespace: fmt.Sprintf("test-%d", n)}
	w.env = append(os.Environ(), "TEMPORAL_ADDRESS="+shared.address, "TEMPORAL_NAMESPACE="+w.namespace, "TEMPORAL_CLI_NAMESPACE="+w.namespace, "TEMPORAL_CLI_ADDRESS="+shared.address)
	w.env = append(w.env, env...)
	var err error
	w.client, err = dial(w.namespace)
	require.NoError(t, err)
	t.Cleanup(w.client.Close)
	t.Cleanup(func() {
		if w.worker == nil {
			return
		}
		if t.Failed() {
			w.showLog()
		}
		_ = w.worker.Kill() // it may be dead already
	})
	return w
}

func (w *world) startWorker() {
	w.t.Helper()
	p, err := proc.Start(proc.Options{Name: "worker", Path: shared.worker, Args: []string{"--data-dir", filepath.Join(w.dir, "data"), "--aws-poll", "50ms"},
		Env: w.env, LogFile: filepath.Join(w.dir, "worker.log"), Grace: 40 * time.Second})
	require.NoError(w.t, err)
	w.worker = p
}

func (w *world) killWorker() {
	w.t.Helper()
	require.NoError(w.t, w.worker.Kill())
}

func (w *world) showLog() {
	content, err := os.ReadFile(filepath.Join(w.dir, "worker.log"))
	if err != nil {
		return
	}
	lines := strings.Split(string(content), "\n")
	w.t.Logf("end of the worker's log:\n%s", strings.Join(lines[max(0, len(lines)-40):], "\n"))
}

// run runs a program in the world's environment; it must succeed.
func (w *world) run(program string, args ...string) string {
	w.t.Helper()
	out, code := w.try(program, args...)
	require.Zero(w.t, code, "%s %s:\n%s", filepath.Base(program), strings.Join(args, " "), out)
	return out
}

// try runs a program and returns its output and exit code.
func (w *world) try(program string, args ...string) (string, int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = w.env
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		require.NoError(w.t, err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// migration is one migration in a world.
type migration struct {
	*world
	name     string
	src, dst *pgtest.Database
	file     string
	excluded []string // tables, by the name that format gives
}

// newMigration writes the spec of a migration of src to dst; the passwords are in files. change may alter the spec.
func (w *world) newMigration(name string, src, dst *pgtest.Database, change func(spec map[string]any)) *migration {
	w.t.Helper()
	m := &migration{world: w, name: name, src: src, dst: dst, file: filepath.Join(w.dir, name+".json")}
	spec := map[string]any{
		"name": name,
		"source": map[string]any{"host": src.Master.Host, "port": src.Master.Port, "database": src.Master.Database, "user": src.Master.User,
			"password": w.secret(name+"-source", src.Master.Password), "sslMode": "disable"},
		"target": map[string]any{"host": dst.Master.Host, "port": dst.Master.Port, "database": dst.Master.Database, "user": dst.Master.User,
			"password": w.secret(name+"-target", dst.Master.Password), "sslMode": "disable"},
		"roles": "skip",
	}
	if change != nil {
		change(spec)
	}
	content, err := json.MarshalIndent(spec, "", "  ")
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(m.file, content, 0o600))
	return m
}

func (w *world) secret(name, value string) map[string]any {
	w.t.Helper()
	file := filepath.Join(w.dir, name+".secret")
	require.NoError(w.t, os.WriteFile(file, []byte(value+"\n"), 0o600))
	return map[string]any{"file": file}
}

func (m *migration) start() {
	m.t.Helper()
	m.run(shared.starter, "start", "-f", m.file)
}

func (m *migration) order(signal string, args ...string) {
	m.t.Helper()
	m.run(shared.starter, append([]string{signal, m.name}, args...)...)
}

func (m *migration) status() (contract.Status, error) {
	var s contract.Status
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	value, err := m.client.QueryWorkflow(ctx, contract.WorkflowID(m.name), "", contract.QueryStatus)
	if err == nil {
		err = value.Get(&s)
	}
	return s, err
}

// await waits until the migration is in the phase; another end than that fails the test.
func (m *migration) await(phase contract.Phase) contract.Status {
	m.t.Helper()
	return m.awaitWithin(3*time.Minute, phase)
}

func (m *migration) awaitWithin(patience time.Duration, phase contract.Phase) contract.Status {
	m.t.Helper()
	var s contract.Status
	var err error
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if s, err = m.status(); err == nil {
			if s.Phase == phase || phase == contract.PhaseCopying && entered(s, phase) { // a small copy may be over between two looks
				return s
			}
			switch s.Phase {
			case contract.PhaseFailed, contract.PhaseAborted, contract.PhaseCompleted:
				require.FailNow(m.t, "ended", "in phase %s while waiting for %s: %s", s.Phase, phase, s.Message)
			}
			for _, p := range s.Problems {
				require.NotEqual(m.t, contract.Fatal, p.Severity, "problem while waiting for %s: %+v", phase, p)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	require.FailNow(m.t, "timeout", "waiting for phase %s: last %+v, %v", phase, s, err)
	return s
}

func entered(s contract.Status, phase contract.Phase) bool {
	return slices.ContainsFunc(s.Phases, func(p contract.PhaseTime) bool { return p.Phase == phase })
}

// report waits for the end and returns the result.
func (m *migration) report() contract.Report {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var r contract.Report
	require.NoError(m.t, m.client.GetWorkflow(ctx, contract.WorkflowID(m.name), "").Get(ctx, &r))
	m.record()
	return r
}

// finish cuts over, completes, and checks that both sides are equal and nothing is left.
func (m *migration) finish() contract.Report {
	m.t.Helper()
	m.await(contract.PhaseInSync)
	m.order(contract.SignalCutover)
	m.await(contract.PhaseCutOver)
	m.order(contract.SignalComplete)
	r := m.report()
	require.Equal(m.t, contract.PhaseCompleted, r.Outcome)
	require.True(m.t, r.Verification.Equal)
	m.requireEqual()
	m.requireNothingLeft()
	return r
}

// requireEqual compares every table by a way of its own: the sorted texts of all rows, hashed, on both sides.
func (m *migration) requireEqual() {
	m.t.Helper()
	const tables = `SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'timeferry') ORDER BY 1`
	names := m.src.Dump(m.t, tables)
	require.NotEmpty(m.t, names)
	for _, name := range names {
		if slices.Contains(m.excluded, name) {
			continue
		}
		query := "SELECT count(*) || ' ' || coalesce(md5(string_agg(h, '' ORDER BY h)), '') FROM (SELECT md5(x::text) AS h FROM " + name + " x) s"
		require.Equal(m.t, m.src.Dump(m.t, query), m.dst.Dump(m.t, query), "table %s", name)
	}
}

// sourceState is everything on the source that a migration may touch and must set back.
const sourceState = `
	SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
	UNION ALL SELECT 'publication ' || pubname FROM pg_publication
	UNION ALL SELECT 'identity ' || c.oid::regclass || ' ' || c.relreplident::text || coalesce((SELECT ' ' || indexrelid::regclass FROM pg_index WHERE indrelid = c.oid AND indisreplident), '')
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
	UNION ALL SELECT 'setting ' || array_to_string(setconfig, ',') FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
	UNION ALL SELECT 'schema ' || nspname FROM pg_namespace ORDER BY 1`

// targetState is everything on the target that a migration may make.
const targetState = `
	SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^(pg_|_timescaledb|timescaledb)'
	UNION ALL SELECT 'relation ' || c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^(pg_|_timescaledb|timescaledb|information_schema)'
	UNION ALL SELECT 'function ' || p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname !~ '^(pg_|_timescaledb|timescaledb|information_schema)' AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
	UNION ALL SELECT 'type ' || t.oid::regtype FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
		WHERE n.nspname !~ '^(pg_|_timescaledb|timescaledb|information_schema)' AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = t.oid AND d.deptype = 'e')
	UNION ALL SELECT 'extension ' || extname FROM pg_extension ORDER BY 1`

// requireNothingLeft asserts that no slot, publication or bookkeeping of the migration is left anywhere.
func (m *migration) requireNothingLeft() {
	m.t.Helper()
	require.Empty(m.t, m.src.Dump(m.t, "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"))
	require.Empty(m.t, m.src.Dump(m.t, "SELECT pubname FROM pg_publication WHERE pubname LIKE 'timeferry%'"))
	require.Empty(m.t, m.dst.Dump(m.t, "SELECT nspname FROM pg_namespace WHERE nspname = 'timeferry'"))
	require.NoDirExists(m.t, filepath.Join(m.dir, "data", "spool", m.name))
}

// rawJSON is sent to a workflow as it is.
type rawJSON []byte

func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

// record keeps the history for the replay tests if TIMEFERRY_RECORD names a directory.
func (m *migration) record() {
	m.t.Helper()
	into := os.Getenv("TIMEFERRY_RECORD")
	if into == "" {
		return
	}
	history := m.run(shared.temporal, "workflow", "show", "-w", contract.WorkflowID(m.name), "-o", "json", "--address", shared.address, "--namespace", m.namespace)
	name := strings.NewReplacer("/", "-", " ", "-").Replace(strings.TrimPrefix(m.t.Name(), "Test"))
	require.NoError(m.t, os.WriteFile(filepath.Join(into, strings.ToLower(name)+".json"), []byte(history), 0o600))
}
