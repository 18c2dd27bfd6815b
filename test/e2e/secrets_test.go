package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"timeferry/deploy/iam"
	"timeferry/internal/awssim"
	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
	"timeferry/internal/testkit/pgtest"
	"timeferry/sandbox/load"
	sandbox "timeferry/sandbox/world"
)

// The source of this test is behind a security group that lets nobody in: the migration opens it for its worker, and closes it.
//
// TestSecretsAppearNowhereWhileTheyRotate runs the whole job on the sandbox's world, with TLS checked on both ends: the source's
// password is managed by RDS and rotated before the copy and during the stream, the target's is in a file. Connections made while
// the server has the new password and the secret still shows the old one wait. Then it looks for every password that there was.
func TestSecretsAppearNowhereWhileTheyRotate(t *testing.T) {
	setup(t)
	j := newSecretJob(t)
	watch := watchCommandLines(t)
	app := load.Start(j.ctx, load.Options{Endpoint: j.SourceApp(), Connections: 3, Rate: 100, Seed: 11})
	defer app.Stop()
	j.requireShut()
	j.order("start", "-f", j.spec)

	j.await(contract.PhaseAwaitingHypertables)
	j.requireOpen()
	j.rotate()
	j.order("approve-hypertables", sandbox.Migration)
	j.requireRefused("while the copy begins")
	j.await(contract.PhaseInSync)

	j.rotate()
	j.endSessions()
	j.requireRefused("when the stream comes back")
	j.awaitStream()
	j.searchLive()

	j.order("cutover", sandbox.Migration)
	j.await(contract.PhaseCutOver)
	written := app.Stop()
	require.Empty(t, written.Failures)
	require.Positive(t, written.Committed)
	target, err := pgkit.Dial(j.ctx, j.TargetMaster(), "e2e")
	require.NoError(t, err)
	require.NoError(t, load.Check(j.ctx, target, written))
	require.NoError(t, target.Close(j.ctx))
	j.order("complete", sandbox.Migration)
	j.await(contract.PhaseCompleted)
	require.Empty(t, j.AWS.Ingress(sandbox.SecurityGroup), "the rule is revoked")
	j.requireAllowedCalls()

	j.search("a process's arguments", watch())
	j.searchHistory()
	j.searchFiles()
	j.search("what the starter printed", j.said.String())
}

// requireShut makes sure that preflight alone does not get in, says why, and opens nothing.
func (j *secretJob) requireShut() {
	j.t.Helper()
	out, err := j.Starter(j.ctx, "preflight", "-f", j.spec)
	require.Error(j.t, err)
	j.said.Write(out)
	said := strings.Join(strings.Fields(string(out)), " ") // the lines are broken where they must be
	require.Contains(j.t, said, "preflight alone does not open security group "+sandbox.SecurityGroup)
	require.Empty(j.t, j.AWS.Ingress(sandbox.SecurityGroup))
}

func (j *secretJob) requireOpen() {
	j.t.Helper()
	rules := j.AWS.Ingress(sandbox.SecurityGroup)
	require.Len(j.t, rules, 1)
	require.Equal(j.t, "127.0.0.1/32", rules[0].CIDR, "the address that the instance metadata gives")
	require.Equal(j.t, rules[0].ID, j.status().Source.IngressRule)
}

// requireAllowedCalls compares every call that was made to AWS with the policies that a migration needs.
func (j *secretJob) requireAllowedCalls() {
	j.t.Helper()
	var allowed []string
	for _, file := range []string{"database.json", "ingress.json", "secrets.json"} {
		actions, err := iam.Actions(file)
		require.NoError(j.t, err)
		allowed = append(allowed, actions...)
	}
	calls := j.AWS.Log()
	require.NotEmpty(j.t, calls)
	for _, call := range calls {
		require.Contains(j.t, allowed, call.Service+":"+call.Action)
	}
}

// secretJob is the migration, with all that it was told and every password that it was given.
type secretJob struct {
	*sandbox.World
	t       *testing.T
	ctx     context.Context
	spec    string
	said    strings.Builder
	secrets []string
	refused int // logins, so far
}

// newSecretJob starts a world, and writes its spec with the references that this test is about.
func newSecretJob(t *testing.T) *secretJob {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	t.Cleanup(cancel)
	w, err := sandbox.Start(ctx, sandbox.Options{Dir: t.TempDir(), Scale: 0.01, Timings: awssim.DefaultTimings, RotationGap: 4 * time.Second, Gate: true})
	if errors.Is(err, pgserver.ErrUnavailable) && !pgtest.Required("pg") {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Stop(context.Background())) })
	j := &secretJob{World: w, t: t, ctx: ctx, spec: w.Path("secret.yaml"), secrets: []string{w.SourceMaster().Password, w.TargetMaster().Password}}
	spec := w.Spec() + "hypertableGate: true\n"
	for old, text := range map[string]string{
		"{env: SOURCE_PASSWORD}": "{rdsManaged: true}",
		"{env: TARGET_PASSWORD}": "{file: '" + w.TargetPasswordFile() + "'}",
		"reboot: approve":        "reboot: auto",
	} {
		require.Equal(t, 1, strings.Count(spec, old), old)
		spec = strings.Replace(spec, old, text, 1)
	}
	require.Equal(t, 2, strings.Count(spec, "sslMode: verify-full"))
	require.NoError(t, os.WriteFile(j.spec, []byte(spec), 0o644))
	return j
}

// order runs the starter, and keeps what it says.
func (j *secretJob) order(args ...string) []byte {
	j.t.Helper()
	out, err := j.Starter(j.ctx, args...)
	j.said.Write(out)
	if err != nil {
		j.said.WriteString(err.Error())
	}
	require.NoError(j.t, err, "%s", out)
	return out
}

func (j *secretJob) status() contract.Status {
	j.t.Helper()
	var s contract.Status
	require.NoError(j.t, json.Unmarshal(j.order("status", sandbox.Migration, "-o", "json"), &s))
	for _, p := range s.Problems {
		require.NotEqual(j.t, contract.Fatal, p.Severity, "%+v", p)
	}
	require.NotContains(j.t, s.Awaiting, contract.SignalResume, s.Message)
	return s
}

func (j *secretJob) until(what string, done func() bool) {
	j.t.Helper()
	for !done() {
		require.NoError(j.t, j.ctx.Err(), "waiting for %s", what)
		require.NoError(j.t, j.Err())
		time.Sleep(200 * time.Millisecond)
	}
}

func (j *secretJob) await(phase contract.Phase) {
	j.t.Helper()
	j.until(string(phase), func() bool { return j.status().Phase == phase })
}

// rotate returns when the server has the new password and the secret does not show it yet.
func (j *secretJob) rotate() {
	j.t.Helper()
	before := j.SourceMaster().Password
	j.refused = j.refusedLogins()
	require.NoError(j.t, j.RotateSource())
	j.until("the rotation", func() bool { return j.SourceMaster().Password != before })
	j.secrets = append(j.secrets, j.SourceMaster().Password)
}

// refusedLogins counts them in the server's own log.
func (j *secretJob) refusedLogins() int {
	j.t.Helper()
	text, err := os.ReadFile(j.Path("logs", "source.log"))
	require.NoError(j.t, err)
	return strings.Count(string(text), `password authentication failed for user "`+sandbox.SourceUser+`"`)
}

// requireRefused makes sure that the test tests something: a login fell into the gap.
func (j *secretJob) requireRefused(when string) {
	j.t.Helper()
	j.until("a refused login "+when, func() bool { return j.refusedLogins() > j.refused })
}

// endSessions makes all of the worker's connections to the source come anew.
func (j *secretJob) endSessions() {
	j.t.Helper()
	conn, err := pgkit.Dial(j.ctx, j.Source.Superuser("postgres"), "e2e")
	require.NoError(j.t, err)
	tag, err := conn.Exec(j.ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", sandbox.SourceUser)
	require.NoError(j.t, err)
	require.Positive(j.t, tag.RowsAffected())
	require.NoError(j.t, conn.Close(j.ctx))
}

// awaitStream returns when what is committed now has arrived.
func (j *secretJob) awaitStream() {
	j.t.Helper()
	source, err := pgkit.Dial(j.ctx, j.SourceMaster(), "e2e")
	require.NoError(j.t, err)
	var now string
	require.NoError(j.t, source.QueryRow(j.ctx, "SELECT pg_current_wal_lsn()::text").Scan(&now))
	require.NoError(j.t, source.Close(j.ctx))
	written, err := change.ParseLSN(now)
	require.NoError(j.t, err)
	j.until("the stream", func() bool { return j.status().Replication.AppliedLSN >= written })
}

// search fails if text holds a password. Some text must be there to be searched.
func (j *secretJob) search(where, text string) {
	j.t.Helper()
	require.NotEmpty(j.t, text, where)
	for n, secret := range j.secrets {
		require.NotEmpty(j.t, secret)
		// The text itself stays out of the message: it may be long, and would show the password.
		require.False(j.t, strings.Contains(text, secret), "password %d is in %s", n, where)
	}
}

// searchLive looks into what is gone when the migration is complete: the ledger, the heartbeats, and the queries of sessions.
func (j *secretJob) searchLive() {
	j.t.Helper()
	target, err := pgkit.Dial(j.ctx, j.TargetMaster(), "e2e")
	require.NoError(j.t, err)
	tables := j.strings(target, "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'timeferry'")
	require.NotEmpty(j.t, tables)
	for _, table := range tables {
		if rows := j.strings(target, "SELECT x::text FROM "+table+" x"); len(rows) > 0 {
			j.search("the ledger's "+table, strings.Join(rows, "\n"))
		}
	}
	require.NoError(j.t, target.Close(j.ctx))
	c := j.client()
	defer c.Close()
	described, err := c.DescribeWorkflowExecution(j.ctx, contract.WorkflowID(sandbox.Migration), "")
	require.NoError(j.t, err)
	require.NotEmpty(j.t, described.PendingActivities)
	j.search("the workflow's description", j.bytes(described))
}

func (j *secretJob) strings(q pgkit.Querier, sql string) (list []string) {
	j.t.Helper()
	rows, err := q.Query(j.ctx, sql)
	require.NoError(j.t, err)
	defer rows.Close()
	for rows.Next() {
		var s string
		require.NoError(j.t, rows.Scan(&s))
		list = append(list, s)
	}
	require.NoError(j.t, rows.Err())
	return list
}

func (j *secretJob) client() client.Client {
	j.t.Helper()
	c, err := client.Dial(client.Options{HostPort: fmt.Sprintf("%s:%d", sandbox.Host, j.Ports.Temporal)})
	require.NoError(j.t, err)
	return c
}

// bytes is a message as it is stored. Its payloads are JSON inside, in clear.
func (j *secretJob) bytes(m interface{ Marshal() ([]byte, error) }) string {
	j.t.Helper()
	raw, err := m.Marshal()
	require.NoError(j.t, err)
	return string(raw)
}

func (j *secretJob) searchHistory() {
	j.t.Helper()
	c := j.client()
	defer c.Close()
	events := c.GetWorkflowHistory(j.ctx, contract.WorkflowID(sandbox.Migration), "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	var all strings.Builder
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(j.t, err)
		all.WriteString(j.bytes(event))
	}
	require.Contains(j.t, all.String(), sandbox.TargetUser, "payloads are readable as they are stored")
	j.search("the history", all.String())
}

// searchFiles looks into the programs' logs and into the worker's data directory, names and contents.
func (j *secretJob) searchFiles() {
	j.t.Helper()
	for _, log := range []string{"worker.log", "temporal.log", "source.log", "target.log"} {
		text, err := os.ReadFile(j.Path("logs", log))
		require.NoError(j.t, err)
		if log == "worker.log" {
			require.Contains(j.t, string(text), "worker started")
		}
		j.search(log, log+string(text))
	}
	require.NoError(j.t, filepath.WalkDir(j.Path("worker"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		j.search(path, path+string(text))
		return err
	}))
}

// watchCommandLines reads the arguments of all processes of this machine over and over, until the function it returns is called,
// which gives all that it has seen.
func watchCommandLines(t *testing.T) func() string {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	seen := map[string]bool{}
	go func() {
		defer close(done)
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, name := range names {
				if text, err := os.ReadFile(name); err == nil { // or it has ended meanwhile
					seen[string(text)] = true
				}
			}
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
		}
	}()
	finish := func() string {
		close(stop)
		<-done
		var all []string
		for text := range seen {
			all = append(all, strings.ReplaceAll(text, "\x00", " "))
		}
		slices.Sort(all)
		text := strings.Join(all, "\n")
		require.Contains(t, text, "pg_dump", "it must have looked often enough")
		require.Contains(t, text, "worker --data-dir")
		return text
	}
	return finish
}
