package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
	"timeferry/internal/verify"
	"timeferry/sandbox/load"
	"timeferry/sandbox/proc"
)

// team is a migration with several workers, each with a data directory of its own, named by their hosts.
type team struct {
	*migration
	workers map[string]*proc.Process
}

func (w *world) newTeam(m *migration, hosts ...string) *team {
	w.t.Helper()
	w.killWorker() // it has no known name
	team := &team{m, map[string]*proc.Process{}}
	for _, host := range hosts {
		team.startHost(host)
	}
	w.t.Cleanup(func() {
		for host, p := range team.workers {
			if w.t.Failed() {
				w.t.Logf("end of the log of worker %s:\n%s", host, p.Tail())
			}
			_ = p.Kill() // it may be dead already
		}
	})
	return team
}

func (m *team) startHost(host string) {
	m.t.Helper()
	p, err := proc.Start(proc.Options{Name: "worker", Path: shared.worker, Args: []string{"--data-dir", filepath.Join(m.dir, host), "--host-id", host, "--aws-poll", "50ms"},
		Env: m.env, LogFile: filepath.Join(m.dir, host+".log"), Grace: 40 * time.Second})
	require.NoError(m.t, err)
	m.workers[host] = p
}

func (m *team) hosts() []string {
	var hosts []string
	for host := range m.workers {
		hosts = append(hosts, host)
	}
	slices.Sort(hosts)
	return hosts
}

// killHosts kills workers and starts them again after a while.
func (m *team) killHosts(down time.Duration, hosts ...string) {
	m.t.Helper()
	for _, host := range hosts {
		require.NoError(m.t, m.workers[host].Kill())
	}
	time.Sleep(down)
	for _, host := range hosts {
		m.startHost(host)
	}
}

// patience is long, since a new epoch waits for what is under way: a throttled stream notices that its source is gone only when it
// has taken what was underway already, and that can be a whole part.
const patience = 3 * time.Minute

// onLedger asks the target until it answers: it may just be starting.
func (m *team) onLedger(what string, ask func(context.Context, *pgx.Conn) (bool, error)) {
	m.t.Helper()
	var last error
	require.Eventually(m.t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		conn, err := pgkit.Dial(ctx, m.dst.Endpoint, "e2e")
		if err != nil {
			last = err
			return false
		}
		defer func() { _ = conn.Close(ctx) }()
		ok, err := ask(ctx, conn)
		last = err
		return err == nil && ok
	}, patience, 20*time.Millisecond, "%s: %v", what, &last)
}

// holders is who holds the snapshot, once somebody is known to, and who its copy ("" if nobody does).
func (m *team) holders() (first, second string) {
	m.t.Helper()
	m.onLedger("who holds the snapshot", func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		shared, err := ledger.SharedSnapshot(ctx, conn)
		first, second = shared.Hosts[ledger.RoleHolder], shared.Hosts[ledger.RoleCopy]
		return first != "", err
	})
	return first, second
}

// markers is, per complete table, when and in which epoch it and each of its parts were copied.
func (m *team) markers() map[string]string {
	m.t.Helper()
	marks := map[string]string{}
	m.onLedger("markers", func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		clear(marks)
		rows, err := conn.Query(ctx, `SELECT t.schema_name || '.' || t.table_name, t.completed_at || ' epoch ' || t.epoch || ' start ' || t.start_lsn ||
				coalesce((SELECT string_agg(concat_ws(' ', p.part, p.done_at, p.epoch, p.copied_rows, p.worker), ', ' ORDER BY p.part) FROM timeferry.parts p
					WHERE (p.schema_name, p.table_name) = (t.schema_name, t.table_name)), '')
			FROM timeferry.tables t WHERE t.completed_at IS NOT NULL`)
		if err != nil {
			return false, err
		}
		var table, mark string
		_, err = pgx.ForEachRow(rows, []any{&table, &mark}, func() error { marks[table] = mark; return nil })
		return true, err
	})
	return marks
}

// requireKept asserts that no table that was ever seen complete was copied again, and adds those that are by now.
func (m *team) requireKept(seen map[string]string) {
	m.t.Helper()
	now := m.markers()
	for table, mark := range seen {
		require.Equal(m.t, mark, now[table], "table %s was complete, and was copied again", table)
	}
	maps.Copy(seen, now)
}

// requireCopying asserts that the copy is not over; a migration without a worker does not answer at once.
func (m *team) requireCopying() {
	m.t.Helper()
	require.Eventually(m.t, func() bool {
		s, err := m.status()
		if err != nil {
			return false
		}
		require.Equal(m.t, contract.PhaseCopying, s.Phase, "the copy is too quick for the test")
		return true
	}, time.Minute, 50*time.Millisecond)
}

// victims of a kill.
const (
	copier = "a worker that copies"
	keeper = "the worker that holds the snapshot"
	both   = "both workers"
	source = "the source server"
	target = "the target server"
)

var victims = []string{copier, keeper, both, source, target}

func (m *team) kill(victim string, down time.Duration) {
	m.t.Helper()
	first, _ := m.holders()
	switch victim {
	case copier:
		others := slices.DeleteFunc(m.hosts(), func(host string) bool { return host == first })
		m.killHosts(down, others[0])
	case keeper:
		m.killHosts(down, first)
	case both:
		m.killHosts(down, m.hosts()...)
	case source:
		require.NoError(m.t, m.src.Server.Kill())
		require.NoError(m.t, m.src.Server.Start(context.Background()))
	case target:
		require.NoError(m.t, m.dst.Server.Kill())
		require.NoError(m.t, m.dst.Server.Start(context.Background()))
	default:
		require.Fail(m.t, "unknown victim", victim)
	}
}

// killsOf is how often each victim is killed, how long the longest pause before a kill is, and a copy slow enough to last as long.
func killsOf() (rounds int, pause time.Duration, copy map[string]any) {
	if os.Getenv("TIMEFERRY_SOAK") != "" {
		return 4, 15 * time.Second, map[string]any{"partSize": "2MiB", "concurrency": 4, "maxBytesPerSecond": "64KiB"}
	}
	return 1, 4 * time.Second, map[string]any{"partSize": "2MiB", "concurrency": 4, "maxBytesPerSecond": "128KiB"}
}

// TestCopySurvives kills whatever takes part in a copy, again and again at random moments, while the application writes. The
// kills and their moments follow from a fixed seed.
func TestCopySurvives(t *testing.T) {
	t.Parallel()
	setup(t)
	rounds, pause, slow := killsOf()
	random := rand.New(rand.NewPCG(5, 20))
	src, dst := pgtest.OwnSource(t, nil), pgtest.OwnTarget(t, nil)
	g := shopUnderLoad(t, src)
	sourceBefore, targetBefore := src.Dump(t, sourceState), dst.Dump(t, targetState)
	w := newWorld(t)
	m := w.newTeam(w.newMigration("killed", src, dst, func(spec map[string]any) {
		shopSpec(spec)
		spec["copy"] = slow
	}), "north", "south")
	m.start()
	planned := m.await(contract.PhaseCopying).Copy
	t.Logf("%d tables in %d parts, %d bytes", planned.Tables, planned.Parts, planned.Bytes)
	require.Eventually(t, func() bool { return len(m.markers()) > 0 }, 2*time.Minute, 50*time.Millisecond, "no table is complete")
	complete := map[string]string{} // with their marks, whenever they were seen
	for round := range rounds {
		for _, i := range random.Perm(len(victims)) {
			time.Sleep(500*time.Millisecond + time.Duration(random.Int64N(int64(pause))))
			down := time.Duration(random.IntN(2000)) * time.Millisecond
			m.requireCopying()
			m.requireKept(complete)
			t.Logf("round %d: %d tables are complete, killing %s", round+1, len(complete), victims[i])
			m.kill(victims[i], down)
			m.requireKept(complete)
		}
	}
	atLast := len(complete)
	s := m.awaitWithin(10*time.Minute, contract.PhaseInSync) // in soak the source has grown by 10 MiB by now, at 64 KiB/s
	m.requireKept(complete)
	t.Logf("in sync in epoch %d, %d tables were complete at the last kill, of %d; epochs began at %v", s.Copy.Epoch, atLast, s.Copy.Tables,
		dst.Dump(t, "SELECT epoch, created_at::time(0) FROM timeferry.epochs ORDER BY 1"))
	m.requireEqualAfter(g)
	m.order(contract.SignalAbort)
	r := m.report()
	require.Equal(t, contract.PhaseAborted, r.Outcome)
	require.Empty(t, r.Left)
	require.Equal(t, sourceBefore, src.Dump(t, sourceState))
	require.Equal(t, targetBefore, dst.Dump(t, targetState))
	m.requireNothingLeft()
	for _, host := range m.hosts() {
		require.NoDirExists(t, filepath.Join(m.dir, host, "spool", m.name))
	}
}

// requireEqualAfter ends the load, waits until all of it has arrived, and compares both sides: by what the application was told,
// by the project's comparison and by the test's own.
func (m *team) requireEqualAfter(g *load.Generator) {
	m.t.Helper()
	require.Eventually(m.t, func() bool { return g.Stats().Committed > 200 }, time.Minute, 50*time.Millisecond)
	summary := g.Stop()
	require.Empty(m.t, summary.Failures)
	const last = "SELECT count(*) || ' ' || coalesce(max(seq), 0) FROM load_journal"
	want := m.src.QueryValue(m.t, last)
	require.Eventually(m.t, func() bool { return m.dst.QueryValue(m.t, last) == want }, time.Minute, 100*time.Millisecond, "the last transactions do not arrive")
	ctx := context.Background()
	require.NoError(m.t, load.Check(ctx, m.dst.Conn(m.t), summary))
	planned, err := ledger.TablesInScope(ctx, m.dst.Conn(m.t))
	require.NoError(m.t, err)
	var tables []verify.Table
	for _, p := range planned {
		tables = append(tables, verify.Table{Source: p.Table, Target: p.Table, Columns: p.Columns, Root: p.Hypertable})
	}
	err = verify.Compare(ctx, verify.Options{Source: m.src.Endpoint, Target: m.dst.Endpoint, Method: verify.MethodChecksum, Parallel: 2}, tables, func(r verify.Result) error {
		require.True(m.t, r.Equal, "%+v", r)
		return nil
	})
	require.NoError(m.t, err)
	m.requireEqual()
}

// TestSnapshotOutlivesItsWorker kills the worker that holds the snapshot once a second one holds it too: the epoch lives on.
func TestSnapshotOutlivesItsWorker(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.OwnSource(t, nil), pgtest.OwnTarget(t, nil)
	g := shopUnderLoad(t, src)
	w := newWorld(t)
	m := w.newTeam(w.newMigration("outlives", src, dst, func(spec map[string]any) {
		shopSpec(spec)
		spec["copy"] = map[string]any{"partSize": "256KiB", "concurrency": 4, "maxBytesPerSecond": "80KiB"}
	}), "north", "south")
	m.start()
	m.await(contract.PhaseCopying)
	var first, second string
	require.Eventually(t, func() bool { first, second = m.holders(); return second != "" }, time.Minute, 100*time.Millisecond, "no second worker holds the snapshot")
	require.NotEqual(t, first, second)
	m.requireCopying()
	require.NoError(t, m.workers[first].Kill())
	require.Eventually(t, func() bool { now, _ := m.holders(); return now == second }, time.Minute, 100*time.Millisecond, "the other worker takes over")
	m.requireCopying()
	m.startHost(first) // which then holds the copy
	require.Eventually(t, func() bool { _, now := m.holders(); return now == first }, time.Minute, 100*time.Millisecond, "the copy moves to the worker that is back")
	m.requireCopying()
	s := m.await(contract.PhaseInSync)
	require.Equal(t, 1, s.Copy.Epoch)
	require.Equal(t, "1", m.dst.QueryValue(t, "SELECT count(*) FROM timeferry.epochs"))
	m.requireEqualAfter(g)
	m.order(contract.SignalAbort)
	require.Equal(t, contract.PhaseAborted, m.report().Outcome)
	m.requireNothingLeft()
}

// TestWorkersShareTheCopy has two and four workers copy one database of many equal parts. Which worker gets a stream, Temporal decides, and none
// moves in the short time that this takes: once one of four was given one of twelve.
func TestWorkersShareTheCopy(t *testing.T) {
	for _, hosts := range [][]string{{"north", "south"}, {"north", "south", "east", "west"}} {
		t.Run(fmt.Sprint(len(hosts)), func(t *testing.T) {
			t.Parallel()
			setup(t)
			src, dst := pgtest.Source(t), pgtest.Target(t)
			asMaster(t, src, `CREATE TABLE equal_parts (id int PRIMARY KEY, v text);
				INSERT INTO equal_parts SELECT g, repeat('x', 1000) FROM generate_series(1, 20000) g; ANALYZE equal_parts`)
			w := newWorld(t)
			m := w.newTeam(w.newMigration("shared-"+strings.Join(hosts, "-"), src, dst, func(spec map[string]any) {
				spec["copy"] = map[string]any{"partSize": "256KiB", "concurrency": 12, "maxBytesPerSecond": "2MiB"}
			}), hosts...)
			m.start()
			m.await(contract.PhaseInSync)
			counts := dst.Dump(t, "SELECT worker, count(*) FROM timeferry.parts GROUP BY 1 ORDER BY 1")
			t.Log(counts)
			require.Len(t, counts, len(hosts))
			require.Empty(t, dst.Dump(t, fmt.Sprintf(`SELECT worker FROM timeferry.parts GROUP BY 1 HAVING count(*) < (SELECT count(*) FROM timeferry.parts) / (4.0 * %d)`, len(hosts))),
				"less than a quarter of a fair share: %v", counts)
			m.order(contract.SignalAbort)
			require.Equal(t, contract.PhaseAborted, m.report().Outcome)
			m.requireNothingLeft()
		})
	}
}
