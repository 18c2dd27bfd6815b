package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/testkit/pgbouncer"
	"timeferry/internal/testkit/pgtest"
)

// dialPlain connects as an application does.
func dialPlain(ctx context.Context, host string, port int, database, user, password string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d dbname=%s user=%s password=%s sslmode=disable application_name=shop connect_timeout=2", host, port, database, user, password))
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	return pgx.ConnectConfig(ctx, config)
}

// write commits one row as the application, into a table that every migration of these tests has.
func write(d *pgtest.Database, id int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := dialPlain(ctx, d.Master.Host, d.Master.Port, d.Master.Database, d.Master.User, d.Master.Password)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "INSERT INTO journal VALUES ($1)", id)
	return err
}

const journal = "CREATE TABLE journal (id int PRIMARY KEY, at timestamptz DEFAULT clock_timestamp()); CREATE SEQUENCE tickets; SELECT nextval('tickets') FROM generate_series(1, 10);"

// newSwitch is a migration in sync, with one row; cutover is its key of that name.
func newSwitch(t *testing.T, w *world, name string, src, dst *pgtest.Database, cutover map[string]any) *migration {
	t.Helper()
	asMaster(t, src, journal+"INSERT INTO journal VALUES (1)")
	m := w.newMigration(name, src, dst, func(spec map[string]any) { spec["cutover"] = cutover })
	m.start()
	m.await(contract.PhaseInSync)
	return m
}

// awaitOpen waits until a side can be written to again, within limit since began.
func awaitOpen(t *testing.T, side *pgtest.Database, id int, began time.Time, limit time.Duration) {
	t.Helper()
	for write(side, id) != nil {
		require.Less(t, time.Since(began), limit, "it is not open again")
		time.Sleep(50 * time.Millisecond)
	}
}

func awaitFence(t *testing.T, of *pgtest.Database) {
	t.Helper()
	require.Eventually(t, func() bool {
		return of.QueryValue(t, `SELECT count(*) FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) AND array_to_string(setconfig, ' ') LIKE '%default_transaction_read_only%'`) == "1"
	}, 30*time.Second, 10*time.Millisecond)
}

func requireTimed(t *testing.T, c *contract.CutoverStatus, steps ...string) {
	t.Helper()
	var seen []string
	for _, step := range c.Steps {
		seen = append(seen, step.Step)
	}
	require.ElementsMatch(t, steps, seen)
	require.Positive(t, c.DowntimeMS)
	t.Logf("downtime %d ms: %+v", c.DowntimeMS, c.Steps)
}

func TestSwitchByHTTPIsUndoneWhenItIsRefused(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.Source(t), pgtest.Target(t)
	var status atomic.Int32
	var calls atomic.Int32
	status.Store(http.StatusForbidden)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.WriteHeader(int(status.Load()))
	}))
	t.Cleanup(hook.Close)
	w := newWorld(t, "HOOK_KEY=hidden")
	m := newSwitch(t, w, "hooked", src, dst, map[string]any{"maxDowntime": "15s", "sequenceMargin": 100,
		"switch": map[string]any{"http": map[string]any{"url": hook.URL, "key": map[string]any{"env": "HOOK_KEY"}}}})
	out := m.run(shared.starter, "cutover", m.name, "--dry-run")
	require.Contains(t, out, "is ready for a cutover")
	src.Exec(t, "CREATE ROLE shop_free LOGIN; ALTER ROLE shop_free IN DATABASE "+ident.Quote(src.Master.Database)+" SET default_transaction_read_only = off")
	out, code := m.try(shared.starter, "cutover", m.name, "--dry-run", "-o", "json")
	require.Equal(t, 3, code, out)
	require.Contains(t, out, "shop_free")
	src.Exec(t, "DROP ROLE shop_free")
	idle, err := dialPlain(t.Context(), src.Master.Host, src.Master.Port, src.Master.Database, src.Master.User, src.Master.Password)
	require.NoError(t, err)
	defer idle.Close(context.Background())

	m.order(contract.SignalCutover)
	began := time.Now()
	require.Eventually(t, func() bool { return calls.Load() > 0 }, 20*time.Second, 10*time.Millisecond)
	awaitOpen(t, src, 2, began, 15*time.Second)
	s := m.await(contract.PhaseInSync)
	require.True(t, slices.ContainsFunc(s.Problems, func(p contract.Problem) bool { return p.Code == contract.CodeSwitchRefused && p.Object == "cutover" }))
	require.False(t, s.Cutover.Fenced)

	status.Store(http.StatusNoContent)
	m.order(contract.SignalCutover)
	s = m.await(contract.PhaseCutOver)
	requireTimed(t, &s.Cutover, "fence", "marker", "drain", "sequences", "verify", "triggers", "seal", "switch")
	require.Error(t, write(src, 3))
	require.NoError(t, write(dst, 3))
	require.Equal(t, "110", dst.QueryValue(t, "SELECT last_value FROM tickets"))
	require.NotContains(t, m.run(shared.temporal, "workflow", "show", "-w", contract.WorkflowID(m.name), "-o", "json", "--address", shared.address, "--namespace", w.namespace), "hidden")
	m.order(contract.SignalComplete)
	r := m.report()
	require.Equal(t, contract.PhaseCompleted, r.Outcome)
	m.requireNothingLeft()
}

func TestSwitchBySecret(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.Source(t), pgtest.Target(t)
	sim := awssim.New(awssim.Options{})
	t.Cleanup(sim.Close)
	arn := sim.PutSecret("shop/app", fmt.Sprintf(`{"username":"app","password":"hidden","host":"%s","port":%d,"dbname":"%s"}`, src.Master.Host, src.Master.Port, src.Master.Database))
	api := httptest.NewServer(sim)
	t.Cleanup(api.Close)
	w := newWorld(t, "AWS_ENDPOINT_URL="+api.URL, "AWS_REGION=us-west-2", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true")
	m := newSwitch(t, w, "secret", src, dst, map[string]any{"switch": map[string]any{"secret": map[string]any{"arn": arn}}})
	m.order(contract.SignalCutover)
	s := m.await(contract.PhaseCutOver)
	require.Contains(t, s.Cutover.SwitchPrevious, fmt.Sprintf("port %d", src.Master.Port))
	value := m.run("aws", "--region", "us-west-2", "--endpoint-url", api.URL, "secretsmanager", "get-secret-value", "--secret-id", arn, "--query", "SecretString", "--output", "text")
	var address struct {
		Host, Dbname, Password string
		Port                   int
	}
	require.NoError(t, json.Unmarshal([]byte(value), &address))
	require.Equal(t, []any{dst.Master.Host, dst.Master.Port, dst.Master.Database, "hidden"}, []any{address.Host, address.Port, address.Dbname, address.Password})
	m.order(contract.SignalComplete)
	require.Equal(t, contract.PhaseCompleted, m.report().Outcome)
}

// Clients of PgBouncer see no error at all: they wait, and go on at the target, and after a rollback at the source.
func TestSwitchByPgBouncer(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.Source(t), pgtest.Target(t)
	dst.Exec(t, "CREATE ROLE shop_pool LOGIN PASSWORD 'pool'; GRANT "+pgtest.TargetMaster+" TO shop_pool")
	src.Exec(t, "CREATE ROLE shop_pool LOGIN PASSWORD 'pool'; GRANT "+pgtest.SourceMaster+" TO shop_pool")
	t.Cleanup(func() {
		for _, d := range []*pgtest.Database{src, dst} {
			d.Exec(t, "DROP OWNED BY shop_pool; DROP ROLE shop_pool")
		}
	})
	w := newWorld(t, "POOL_PASSWORD=hidden")
	b, err := pgbouncer.Start(t.Context(), pgbouncer.Options{Dir: filepath.Join(t.TempDir()), Included: true,
		Databases: fmt.Sprintf("shop = host=127.0.0.1 port=%d dbname=%s pool_size=4", src.Master.Port, src.Master.Database),
		Users:     map[string]string{"shop_pool": "pool", pgbouncer.AdminUser: "hidden"}})
	if errors.Is(err, pgbouncer.ErrUnavailable) && !pgtest.Required("pgbouncer") {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(b.Kill)
	m := newSwitch(t, w, "pooled", src, dst, map[string]any{"reverse": true, "switch": map[string]any{"pgbouncer": map[string]any{
		"admin":    map[string]any{"host": "127.0.0.1", "port": b.Port, "user": pgbouncer.AdminUser, "password": map[string]any{"env": "POOL_PASSWORD"}, "sslMode": "disable"},
		"database": "shop", "file": b.File}}})

	conn, err := dialPlain(t.Context(), "127.0.0.1", b.Port, "shop", "shop_pool", "pool")
	require.NoError(t, err)
	defer conn.Close(context.Background())
	stop, done := make(chan struct{}), make(chan error, 1)
	var last atomic.Int32
	last.Store(100)
	go func() {
		for id := 101; ; id++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, err := conn.Exec(context.Background(), "INSERT INTO journal VALUES ($1)", id); err != nil {
				done <- err
				return
			}
			last.Store(int32(id))
			time.Sleep(2 * time.Millisecond)
		}
	}()
	m.order(contract.SignalCutover)
	s := m.await(contract.PhaseCutOver)
	before := last.Load()
	require.Eventually(t, func() bool { return last.Load() > before+20 }, 10*time.Second, 10*time.Millisecond, "it goes on at the target")
	text, err := os.ReadFile(b.File)
	require.NoError(t, err)
	require.Contains(t, string(text), fmt.Sprintf("port=%d", dst.Master.Port))
	m.rollBackAfter()
	before = last.Load()
	require.Eventually(t, func() bool { return last.Load() > before+20 }, 10*time.Second, 10*time.Millisecond, "it goes on at the source")
	close(stop)
	require.NoError(t, <-done, "no error was seen")
	requireTimed(t, &s.Cutover, "hold", "fence", "marker", "drain", "sequences", "verify", "way back", "triggers", "seal", "switch")
	require.Equal(t, fmt.Sprint(last.Load()-100), src.QueryValue(t, "SELECT count(*) FROM journal WHERE id > 100"), "nothing is lost")
	text, err = os.ReadFile(b.File)
	require.NoError(t, err)
	require.Contains(t, string(text), fmt.Sprintf("port=%d", src.Master.Port))
	m.endRolledBack()
}

// stall keeps the applier from going on, by a lock on the target, until the function it returns is called.
func stall(t *testing.T, m *migration, id int) (release func()) {
	t.Helper()
	blocker := m.dst.Conn(t)
	_, err := blocker.Exec(t.Context(), "BEGIN; LOCK TABLE journal IN ACCESS EXCLUSIVE MODE")
	require.NoError(t, err)
	require.NoError(t, write(m.src, id))
	return func() { _, _ = blocker.Exec(context.Background(), "ROLLBACK") } // its session is gone where the server was restarted
}

// Whatever dies while the drain is stuck: the source is open again within maxDowntime and a moment, and the next cutover works.
func TestFaultsWhileTheDrainIsStuck(t *testing.T) {
	const limit = 8 * time.Second
	for name, c := range map[string]struct {
		strike   func(t *testing.T, m *migration)
		after    func(m *migration)
		patience time.Duration
	}{
		"nothing dies": {func(*testing.T, *migration) {}, func(*migration) {}, limit + 3*time.Second},
		// No worker is left: it is the source's own server that lowers the fence.
		"the worker is killed": {func(_ *testing.T, m *migration) { m.killWorker() }, func(m *migration) { m.startWorker() }, limit + 3*time.Second},
		"the source restarts": {func(t *testing.T, m *migration) {
			require.NoError(t, m.src.Server.Restart(context.Background(), nil))
		}, func(*migration) {}, limit + 10*time.Second},
		"the target crashes": {func(t *testing.T, m *migration) { crashTarget(t, m) }, func(*migration) {}, limit + 10*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			setup(t)
			src, dst := pgtest.OwnSource(t, nil), pgtest.OwnTarget(t, nil)
			w := newWorld(t)
			m := newSwitch(t, w, "shop", src, dst, map[string]any{"maxDowntime": limit.String(), "verify": "none"}) // else it is found out before the fence
			release := stall(t, m, 2)
			m.order(contract.SignalCutover)
			awaitFence(t, src)
			began := time.Now()
			require.Error(t, write(src, 3))
			c.strike(t, m)
			if name != "the target crashes" { // there the lock is gone, and the cutover may come to its end
				awaitOpen(t, src, 4, began, c.patience)
				t.Logf("open again after %s", time.Since(began).Round(time.Millisecond))
			}
			c.after(m)
			release()
			require.Eventually(t, func() bool {
				s, err := m.status()
				return err == nil && (s.Phase == contract.PhaseInSync || s.Phase == contract.PhaseCutOver)
			}, time.Minute, 50*time.Millisecond)
			if s, err := m.status(); err == nil && s.Phase == contract.PhaseInSync {
				require.NoError(t, write(src, 5))
				require.Eventually(t, func() bool {
					_, code := m.try(shared.starter, contract.SignalCutover, m.name)
					return code == 0
				}, time.Minute, 500*time.Millisecond)
				m.await(contract.PhaseCutOver)
			}
			require.Error(t, write(src, 6), "the source is fenced for good")
			require.NoError(t, write(dst, 6))
			m.order(contract.SignalComplete)
			require.Equal(t, contract.PhaseCompleted, m.report().Outcome)
			const ids = "SELECT id::text FROM journal WHERE id < 6 ORDER BY 1"
			require.Equal(t, src.Dump(t, ids), dst.Dump(t, ids))
			m.requireNothingLeft()
		})
	}
}
