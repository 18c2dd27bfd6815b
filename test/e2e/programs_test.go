package e2e

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgserver"
	"timeferry/internal/testkit/pgtest"
)

// small is a schema with the cases that a first migration meets.
const small = `
	CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
	CREATE TABLE people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, mood mood, tags mood[], extra jsonb, shout text GENERATED ALWAYS AS (upper(name)) STORED);
	CREATE TABLE notes (person int REFERENCES people, body text);
	CREATE TABLE metrics (device int NOT NULL, ts timestamptz NOT NULL, value double precision, PRIMARY KEY (device, ts));
	CREATE VIEW happy AS SELECT * FROM people WHERE mood = 'happy';
	INSERT INTO people (name, mood, tags, extra) SELECT 'p' || g, 'ok', ARRAY['sad', 'happy']::mood[], jsonb_build_object('n', g) FROM generate_series(1, 500) g;
	INSERT INTO notes SELECT g, repeat('x', g) FROM generate_series(1, 300) g;
	INSERT INTO metrics SELECT d, '2024-01-01'::timestamptz + m * interval '1 hour', d * m FROM generate_series(1, 5) d, generate_series(0, 999) m;`

func asMaster(t *testing.T, db *pgtest.Database, sql string) {
	t.Helper()
	_, err := db.MasterConn(t).Exec(context.Background(), sql)
	require.NoError(t, err)
}

// restarter is the simulator's hook: the server that plays the RDS instance.
type restarter struct{ server *pgserver.Server }

func (r restarter) Restart(ctx context.Context, parameters map[string]string) error {
	return r.server.Restart(ctx, parameters)
}

// rdsSource is a server booted with wal_level=replica behind a simulated RDS API.
func rdsSource(t *testing.T) (*pgtest.Database, *awssim.Simulator, []string) {
	t.Helper()
	src := pgtest.OwnSource(t, map[string]string{"wal_level": "replica"})
	sim := awssim.New(awssim.Options{})
	t.Cleanup(sim.Close)
	sim.AddInstance(awssim.InstanceConfig{ID: "shop-prod", Engine: "postgres", EngineVersion: "15.18", MasterUser: src.Master.User,
		Host: src.Master.Host, Port: src.Master.Port, ParameterGroup: "default.postgres15", Server: restarter{src.Server}})
	api := httptest.NewServer(sim)
	t.Cleanup(api.Close)
	return src, sim, []string{"AWS_ENDPOINT_URL=" + api.URL, "AWS_REGION=us-west-2", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true"}
}

func withRDS(spec map[string]any) {
	source := spec["source"].(map[string]any)
	source["rds"] = map[string]any{"instance": "shop-prod", "region": "us-west-2"}
	delete(source, "host")
	delete(source, "port")
	spec["hypertables"] = []any{map[string]any{"table": "public.metrics", "timeColumn": "ts", "chunkInterval": "7 days"}}
}

// TestTctl drives a whole migration of an RDS instance with tctl alone.
func TestTctl(t *testing.T) {
	t.Parallel()
	setup(t)
	src, _, env := rdsSource(t)
	dst := pgtest.Target(t)
	asMaster(t, src, small)
	w := newWorld(t, env...)
	m := w.newMigration("tctl", src, dst, withRDS)
	tctl := func(args ...string) string {
		return w.run(shared.tctl, append([]string{"--address", shared.address, "--namespace", w.namespace}, args...)...)
	}
	tctl("workflow", "start", "--taskqueue", "timeferry", "--workflow_type", "LiveMigration", "--workflow_id", "timeferry-tctl", "--input_file", m.file)
	m.await(contract.PhaseAwaitingReboot)
	status := tctl("workflow", "query", "--workflow_id", "timeferry-tctl", "--query_type", "status")
	require.Contains(t, status, "rds.logical_replication")
	tctl("workflow", "signal", "--workflow_id", "timeferry-tctl", "--name", "approve-reboot")
	m.await(contract.PhaseInSync)
	asMaster(t, src, "INSERT INTO notes VALUES (1, 'late'); UPDATE people SET name = 'renamed' WHERE id = 1; DELETE FROM notes WHERE person = 2")
	tctl("workflow", "signal", "--workflow_id", "timeferry-tctl", "--name", "cutover", "--input", `{"by":"alice","reason":"quiet hour"}`)
	m.await(contract.PhaseCutOver)
	tctl("workflow", "signal", "--workflow_id", "timeferry-tctl", "--name", "complete")
	r := m.report()
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	require.Equal(t, "alice", r.Decisions[1].By)
	m.requireEqual()
	m.requireNothingLeft()
	require.Equal(t, []string{"1"}, dst.Dump(t, "SELECT count(*)::text FROM timescaledb_information.hypertables WHERE hypertable_name = 'metrics'"))
	require.Contains(t, tctl("workflow", "show", "--workflow_id", "timeferry-tctl"), "WorkflowExecutionCompleted")
}

// TestTemporalProgram drives a migration of a plain PostgreSQL source with temporal, by update and signal.
func TestTemporalProgram(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.Source(t), pgtest.Target(t)
	asMaster(t, src, small)
	w := newWorld(t)
	m := w.newMigration("temporal", src, dst, nil)
	temporal := func(args ...string) string {
		return w.run(shared.temporal, append(args, "--address", shared.address, "--namespace", w.namespace)...)
	}
	temporal("workflow", "start", "-w", "timeferry-temporal", "--type", "LiveMigration", "--task-queue", "timeferry", "--input-file", m.file)
	m.await(contract.PhaseInSync)
	require.Contains(t, temporal("workflow", "query", "-w", "timeferry-temporal", "--type", "status"), "in-sync")
	metadata := temporal("workflow", "metadata", "-w", "timeferry-temporal")
	require.Contains(t, metadata, "Switch over: stop writes on the source")
	temporal("workflow", "update", "execute", "-w", "timeferry-temporal", "--name", "cutover", "--input", `{"by":"bob"}`)
	m.await(contract.PhaseCutOver)
	out, err := exec.Command(shared.temporal, "workflow", "update", "execute", "-w", "timeferry-temporal", "--name", "abort",
		"--address", shared.address, "--namespace", w.namespace).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "abort refused")
	temporal("workflow", "signal", "-w", "timeferry-temporal", "--name", "complete")
	require.Equal(t, contract.PhaseCompleted, m.report().Outcome)
	m.requireEqual()
	m.requireNothingLeft()
}

// requireWholeReport asserts that a report has what only the activities could see while they ran.
func requireWholeReport(t *testing.T, r contract.Report) {
	t.Helper()
	require.NotEmpty(t, r.Lag, "also what the look that the cutover cancelled had seen")
	inSync := time.Time{}
	for _, p := range r.Phases {
		if p.Phase == contract.PhaseInSync {
			inSync = p.Entered
		}
	}
	require.True(t, r.Lag[len(r.Lag)-1].At.After(inSync), "the last look, %s, was in sync, from %s on", r.Lag[len(r.Lag)-1].At, inSync)
	copied := map[string]int64{}
	for _, c := range r.CopiedTables.Largest {
		copied[c.Table] = c.Rows
		require.False(t, c.Ended.Before(c.Began), c.Table)
		require.Positive(t, c.Bytes, c.Table)
	}
	require.Equal(t, map[string]int64{"public.people": 500, "public.notes": 300, "public.metrics": 5000}, copied)
	require.Equal(t, []contract.OptionChoice{{Option: "roles", Value: "skip", Default: "migrate"}, {Option: "copy.concurrency", Value: "3", Default: "4"}}, r.Options)
	require.NotEmpty(t, r.Target.Version)
	require.Len(t, r.Leftovers.Sought, 5)
	require.Empty(t, r.Leftovers.Found)
}

// TestStarter walks through the commands of the starter and their exit codes.
func TestStarter(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.Source(t), pgtest.Target(t)
	asMaster(t, src, small)
	w := newWorld(t)
	m := w.newMigration("starter", src, dst, func(spec map[string]any) { spec["copy"] = map[string]any{"concurrency": 3} })
	require.Contains(t, w.run(shared.starter, "preflight", "-f", m.file), "SEVERITY")
	m.start()
	out, code := w.try(shared.starter, "start", "-f", m.file)
	require.Equal(t, 3, code, out)
	require.Contains(t, out, "is running already")
	out, code = w.try(shared.starter, "complete", "starter")
	require.Equal(t, 3, code, out)
	require.Contains(t, out, "complete refused: the migration is in phase")
	out, code = w.try(shared.starter, "status", "nobody")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "no migration nobody")
	_, code = w.try(shared.starter, "frobnicate")
	require.Equal(t, 2, code)
	m.await(contract.PhaseInSync)
	require.Contains(t, w.run(shared.starter, "status", "starter"), "in-sync")
	require.Contains(t, w.run(shared.starter, "list"), "starter")
	file := filepath.Join(w.dir, "starter.html")
	out, code = w.try(shared.starter, "report", "starter", "--html", file)
	require.Equal(t, 3, code, out)
	require.NoFileExists(t, file)
	_, code = w.try(shared.starter, "report", "starter", "--html", file, "-o", "json")
	require.Equal(t, 2, code)
	r := m.finish()
	require.Contains(t, w.run(shared.starter, "report", "starter"), "Downtime")
	requireWholeReport(t, r)
	require.Contains(t, w.run(shared.starter, "report", "starter", "--html", file), file)
	html, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(html), w.run(shared.starter, "report", "starter", "--html", "-"))
	for _, words := range []string{"Migration starter", "public.people", "Nothing of the migration was left", "behind the fence", "copy.concurrency", "<polyline"} {
		require.Contains(t, string(html), words)
	}
	require.True(t, strings.Contains(w.run(shared.starter, "watch", "starter"), "completed"))
}
