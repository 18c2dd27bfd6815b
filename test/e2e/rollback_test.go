package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/testkit/pgtest"
)

// moreTables: beside a table that becomes a hypertable, one that is cut into partitions on the source, and one without a key.
const moreTables = `;
	CREATE TABLE events (at timestamptz NOT NULL, device int NOT NULL, n bigint NOT NULL, payload text, PRIMARY KEY (at, device)) PARTITION BY RANGE (at);
	CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
	CREATE TABLE events_rest PARTITION OF events DEFAULT;
	INSERT INTO events SELECT '2024-03-01'::timestamptz + g * interval '1 day', 1, 0, repeat('x', 3000) FROM generate_series(1, 50) g`

// application writes to where it is led, by a new connection after each error, and keeps a journal of what was acknowledged.
type application struct {
	t    *testing.T
	at   atomic.Pointer[pgtest.Database]
	stop chan struct{}
	done sync.WaitGroup

	mu      sync.Mutex
	journal map[*pgtest.Database][]int // numbers of transactions, by where they were committed
	refused map[*pgtest.Database]int
}

func runApplication(t *testing.T, at *pgtest.Database) *application {
	a := &application{t: t, stop: make(chan struct{}), journal: map[*pgtest.Database][]int{}, refused: map[*pgtest.Database]int{}}
	a.at.Store(at)
	a.done.Go(a.run)
	t.Cleanup(a.end)
	return a
}

func (a *application) run() {
	var conn *pgx.Conn
	var led *pgtest.Database
	for n := 1; ; n++ {
		select {
		case <-a.stop:
			if conn != nil {
				_ = conn.Close(context.Background()) // the test is over
			}
			return
		default:
		}
		if now := a.at.Load(); now != led {
			if conn != nil {
				_ = conn.Close(context.Background()) // it goes elsewhere
			}
			conn, led = nil, now
		}
		var err error
		conn, err = commit(conn, led, n)
		a.mu.Lock()
		if err == nil {
			a.journal[led] = append(a.journal[led], n)
		} else {
			a.refused[led]++
		}
		a.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
}

// commit makes one transaction of inserts, updates and deletes, in old chunks and in new ones.
func commit(conn *pgx.Conn, at *pgtest.Database, n int) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if conn == nil {
		var err error
		if conn, err = dialPlain(ctx, at.Master.Host, at.Master.Port, at.Master.Database, at.Master.User, at.Master.Password); err != nil {
			return nil, err
		}
	}
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, sql := range []string{
			"INSERT INTO people (name, mood) VALUES ('n' || $1::int, 'sad')",
			"UPDATE people SET name = 'u' || $1::int WHERE id = $1 % 500 + 1",
			"INSERT INTO notes VALUES (1, 'n' || $1::int)",
			"INSERT INTO metrics VALUES (1000 + $1, '2024-06-01'::timestamptz + $1 * interval '6 hours', $1)",
			"UPDATE metrics SET value = -$1::int WHERE device = 1 AND ts = '2024-01-01'::timestamptz + $1 % 1000 * interval '1 hour'",
			"DELETE FROM metrics WHERE device = 1000 + $1 - 10",
			"INSERT INTO events VALUES ('2024-12-01'::timestamptz + $1 * interval '6 hours', 2, $1, 'p')",
			"UPDATE events SET n = $1 WHERE device = 1 AND at = '2024-03-01'::timestamptz + ($1 % 50 + 1) * interval '1 day'",
		} {
			if _, err := tx.Exec(ctx, sql, n); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
	if err != nil {
		_ = conn.Close(ctx) // it may be broken
		return nil, err
	}
	return conn, nil
}

func (a *application) end() {
	select {
	case <-a.stop:
	default:
		close(a.stop)
	}
	a.done.Wait()
}

// written is how many transactions a database has acknowledged, and how many it refused.
func (a *application) written(at *pgtest.Database) (acknowledged, refused int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.journal[at]), a.refused[at]
}

func (a *application) awaitWritten(at *pgtest.Database, n int) {
	a.t.Helper()
	require.Eventually(a.t, func() bool { done, _ := a.written(at); return done >= n }, time.Minute, 20*time.Millisecond)
}

// requireJournal asserts that everything that was acknowledged, wherever that was, is in a database, once.
func (a *application) requireJournal(db *pgtest.Database) {
	a.t.Helper()
	for _, query := range []string{"SELECT substr(body, 2) FROM notes WHERE body LIKE 'n%'", "SELECT n::text FROM events WHERE device = 2", "SELECT substr(shout, 2) FROM people WHERE id > 500 AND mood = 'sad'"} {
		have := map[string]int{}
		for _, n := range db.Dump(a.t, query) {
			have[n]++
		}
		for _, numbers := range a.journal {
			for _, n := range numbers {
				require.Equal(a.t, 1, have[fmt.Sprint(n)], "transaction %d, which was acknowledged: %s", n, query)
			}
		}
	}
}

// reversible is a migration with a way back, in sync.
func reversible(t *testing.T, w *world, src, dst *pgtest.Database, cutover map[string]any) *migration {
	t.Helper()
	dst.TrustWal2json(t)
	asMaster(t, src, small+moreTables)
	cutover["reverse"] = true
	m := w.newMigration("shop", src, dst, func(spec map[string]any) {
		spec["cutover"] = cutover
		spec["hypertables"] = []any{map[string]any{"table": "public.metrics", "timeColumn": "ts", "chunkInterval": "7 days"},
			map[string]any{"table": "public.events", "timeColumn": "at", "chunkInterval": "30 days"}}
	})
	m.start()
	m.await(contract.PhaseInSync)
	return m
}

// requireNoWayBack asserts that nothing of the way back is left on either side.
func (m *migration) requireNoWayBack() {
	m.t.Helper()
	require.Empty(m.t, m.dst.Dump(m.t, "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"))
	require.Empty(m.t, m.dst.Dump(m.t, "SELECT pubname FROM pg_publication"))
	require.Empty(m.t, m.dst.Dump(m.t, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relreplident <> 'd' AND relnamespace = 'public'::regnamespace"))
	require.Empty(m.t, m.src.Dump(m.t, "SELECT nspname FROM pg_namespace WHERE nspname = 'timeferry'"))
	require.NoDirExists(m.t, filepath.Join(m.dir, "data", "spool", m.name+"-back"))
}

// What was written to the target after the switch is on the source after the rollback, all of it, by the application's own
// journal, also what was written while the rollback began.
func TestRollbackBringsEverythingBack(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.OwnSource(t, nil), pgtest.OwnTarget(t, nil)
	m := reversible(t, newWorld(t), src, dst, map[string]any{})
	app := runApplication(t, src)
	app.awaitWritten(src, 50)
	m.order(contract.SignalCutover)
	m.await(contract.PhaseCutOver)
	require.Eventually(t, func() bool {
		s, err := m.status()
		return err == nil && s.Back != nil && s.Back.Since != 0
	}, time.Minute, 50*time.Millisecond)
	asMaster(t, dst, "CREATE TABLE only_here (id int PRIMARY KEY); INSERT INTO only_here VALUES (1)")
	app.at.Store(dst)
	app.awaitWritten(dst, 200)
	require.Contains(t, m.run(shared.starter, "status", m.name), "way back")
	m.order(contract.SignalRollback, "--by", "alice")
	s := m.await(contract.PhaseRolledBack)
	app.at.Store(src)
	before, _ := app.written(src)
	app.awaitWritten(src, before+20) // its sequences go on
	app.end()
	_, refused := app.written(dst)
	require.Positive(t, refused, "it wrote on until the target was fenced")
	require.Equal(t, "checksum", s.Rollback.Verified)
	requireTimed(t, s.Rollback, "fence", "marker", "drain", "sequences", "verify", "seal", "open")
	require.Contains(t, s.Message, "the source is open again")
	app.requireJournal(src)
	written, _ := app.written(dst) // each with seven or eight changes
	require.GreaterOrEqual(t, s.Back.Replication.Changes, int64(7*written))
	require.LessOrEqual(t, s.Back.Replication.Changes, int64(8*(written+refused)), "what came from the source does not go back")
	_, err := dst.MasterConn(t).Exec(t.Context(), "INSERT INTO notes VALUES (1, 'never both')")
	require.NoError(t, err, "Timeferry's own sessions are not held") // MasterConn is one of them
	require.ErrorContains(t, writeNote(dst), "read-only")
	m.order(contract.SignalComplete)
	r := m.report()
	require.Equal(t, contract.PhaseRolledBack, r.Outcome)
	require.Contains(t, strings.Join(r.Left, "\n"), "target database "+dst.Master.Database+" stays read-only")
	left := rollbackProblems(r.Problems)
	require.Len(t, left, 1)
	require.Equal(t, "left-behind", left[0].Code)
	require.Contains(t, left[0].Message, "public.only_here")
	m.requireNoWayBack()
	m.requireNothingLeft()
}

func rollbackProblems(all []contract.Problem) (found []contract.Problem) {
	for _, p := range all {
		if p.Object == "rollback" {
			found = append(found, p)
		}
	}
	return found
}

func writeNote(at *pgtest.Database) error {
	ctx := context.Background()
	conn, err := dialPlain(ctx, at.Master.Host, at.Master.Port, at.Master.Database, at.Master.User, at.Master.Password)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "INSERT INTO notes VALUES (1, 'by somebody')")
	return err
}

// Without a rollback, complete leaves nothing of the way back.
func TestTheWayBackEndsWithComplete(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.OwnSource(t, nil), pgtest.OwnTarget(t, nil)
	asMaster(t, src, small)
	m := newWorld(t).newMigration("shop", src, dst, func(spec map[string]any) { spec["cutover"] = map[string]any{"reverse": true} })
	m.start()
	m.await(contract.PhaseInSync)
	m.order(contract.SignalCutover)
	m.await(contract.PhaseCutOver)
	require.NoError(t, writeNote(dst))
	require.Eventually(t, func() bool {
		return src.QueryValue(t, "SELECT count(*) FROM notes WHERE body = 'by somebody'") == "1"
	}, time.Minute, 50*time.Millisecond, "it streams back")
	m.requireEqual()
	m.order(contract.SignalComplete)
	r := m.report()
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	require.Equal(t, "1", src.QueryValue(t, "SELECT count(*) FROM notes WHERE body = 'by somebody'"))
	m.requireNoWayBack()
	m.requireNothingLeft()
}

// requireOneSideOpen asserts where the application can write.
func requireOneSideOpen(t *testing.T, open, closed *pgtest.Database, id int) {
	t.Helper()
	require.NoError(t, write(open, id))
	require.ErrorContains(t, write(closed, id), "read-only")
}

// requireClosed asserts that new sessions are read-only, without touching a table, which may be locked.
func requireClosed(t *testing.T, side *pgtest.Database) {
	t.Helper()
	conn, err := dialPlain(t.Context(), side.Master.Host, side.Master.Port, side.Master.Database, side.Master.User, side.Master.Password)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	var readOnly string
	require.NoError(t, conn.QueryRow(t.Context(), "SHOW transaction_read_only").Scan(&readOnly))
	require.Equal(t, "on", readOnly)
}

// rollBackAfter orders a rollback until it is taken, and waits for its end.
func (m *migration) rollBackAfter() {
	m.t.Helper()
	require.Eventually(m.t, func() bool {
		_, code := m.try(shared.starter, contract.SignalRollback, m.name)
		return code == 0
	}, time.Minute, 500*time.Millisecond)
	m.await(contract.PhaseRolledBack)
}

func (m *migration) endRolledBack() {
	m.t.Helper()
	m.order(contract.SignalComplete)
	require.Equal(m.t, contract.PhaseRolledBack, m.report().Outcome)
	m.requireNoWayBack()
	m.requireNothingLeft()
}

// holdSequences keeps a rollback from its end, by a lock on the source, until the function it returns is called.
func holdSequences(t *testing.T, src *pgtest.Database) (release func()) {
	t.Helper()
	blocker := src.Conn(t)
	_, err := blocker.Exec(t.Context(), "BEGIN; ALTER SEQUENCE tickets INCREMENT 1")
	require.NoError(t, err)
	return func() { _, _ = blocker.Exec(context.Background(), "ROLLBACK") } // its session is gone where the server was restarted
}

// Whatever dies while a rollback is stuck: the target is open again within maxDowntime and a moment, the source
// stays closed, and the next rollback works.
func TestFaultsWhileARollbackIsStuck(t *testing.T) {
	const limit = 8 * time.Second
	for name, c := range map[string]struct {
		strike   func(t *testing.T, m *migration)
		after    func(m *migration)
		patience time.Duration
	}{
		// No worker is left: it is the target's own server that lowers the fence.
		"the worker is killed": {func(_ *testing.T, m *migration) { m.killWorker() }, func(m *migration) { m.startWorker() }, limit + 3*time.Second},
		"the target restarts": {func(t *testing.T, m *migration) {
			require.NoError(t, m.dst.Server.Restart(context.Background(), nil))
		}, func(*migration) {}, limit + 10*time.Second},
		"the source restarts": {func(t *testing.T, m *migration) {
			require.NoError(t, m.src.Server.Restart(context.Background(), nil))
		}, func(*migration) {}, limit + 10*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			setup(t)
			src, dst := pgtest.OwnSource(t, nil), pgtest.OwnTarget(t, nil)
			m := newSwitch(t, newWorld(t), "shop", src, dst, map[string]any{"reverse": true, "maxDowntime": limit.String(), "verify": "none"})
			m.order(contract.SignalCutover)
			m.await(contract.PhaseCutOver)
			requireOneSideOpen(t, dst, src, 2)
			require.Eventually(t, func() bool { return src.QueryValue(t, "SELECT count(*) FROM journal WHERE id = 2") == "1" }, time.Minute, 50*time.Millisecond)
			release := holdSequences(t, src)
			require.NoError(t, write(dst, 3))
			m.order(contract.SignalRollback)
			awaitFence(t, dst)
			began := time.Now()
			c.strike(t, m)
			if name != "the source restarts" { // there the lock is gone, and the rollback may come to its end
				awaitOpen(t, dst, 4, began, c.patience)
				requireClosed(t, src)
				t.Logf("open again after %s", time.Since(began).Round(time.Millisecond))
			}
			c.after(m)
			release()
			require.Eventually(t, func() bool {
				s, err := m.status()
				return err == nil && (s.Phase == contract.PhaseCutOver || s.Phase == contract.PhaseRolledBack)
			}, time.Minute, 50*time.Millisecond)
			if s, err := m.status(); err == nil && s.Phase == contract.PhaseCutOver {
				requireOneSideOpen(t, dst, src, 5)
				m.rollBackAfter()
			}
			requireOneSideOpen(t, src, dst, 6)
			const ids = "SELECT id::text FROM journal WHERE id < 6 ORDER BY 1"
			require.Equal(t, dst.Dump(t, ids), src.Dump(t, ids))
			m.endRolledBack()
		})
	}
}

// A fence that cannot be raised leaves the target open; a hook that fails does not close the source again.
func TestARollbackThatFailsAndAHookThatFails(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.Source(t), pgtest.Target(t)
	var status atomic.Int32
	status.Store(http.StatusNoContent)
	var calls sync.Map // by idempotency key, where they led
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var call struct {
			Port      int    `json:"port"`
			Migration string `json:"migration"`
		}
		if json.NewDecoder(r.Body).Decode(&call) == nil {
			calls.Store(r.Header.Get("Idempotency-Key"), fmt.Sprint(call.Migration, " ", call.Port))
		}
		w.WriteHeader(int(status.Load()))
	}))
	t.Cleanup(hook.Close)
	m := newSwitch(t, newWorld(t, "HOOK_KEY=hidden"), "shop", src, dst, map[string]any{"reverse": true, "maxDowntime": "20s",
		"switch": map[string]any{"http": map[string]any{"url": hook.URL, "key": map[string]any{"env": "HOOK_KEY"}}}})
	m.order(contract.SignalCutover)
	m.await(contract.PhaseCutOver)
	requireOneSideOpen(t, dst, src, 2)
	dst.Exec(t, "CREATE ROLE shop_exempt LOGIN; ALTER ROLE shop_exempt IN DATABASE "+ident.Quote(dst.Master.Database)+" SET default_transaction_read_only = off")
	m.order(contract.SignalRollback)
	require.Eventually(t, func() bool {
		s, err := m.status()
		return err == nil && slices.ContainsFunc(s.Problems, func(p contract.Problem) bool {
			return p.Code == "exempt-roles" && p.Object == "rollback"
		})
	}, time.Minute, 100*time.Millisecond)
	m.await(contract.PhaseCutOver)
	requireOneSideOpen(t, dst, src, 3)
	dst.Exec(t, "DROP ROLE shop_exempt")
	status.Store(http.StatusForbidden)
	m.rollBackAfter()
	requireOneSideOpen(t, src, dst, 4)
	s, err := m.status()
	require.NoError(t, err)
	left := rollbackProblems(s.Problems)
	require.Len(t, left, 1, "the first one's is gone")
	require.Equal(t, contract.CodeSwitchUnknown, left[0].Code)
	led, called := calls.Load(fmt.Sprintf("timeferry-shop-back-%d", 2))
	require.True(t, called)
	require.Equal(t, fmt.Sprint("shop ", src.Master.Port), led)
	m.endRolledBack()
}
