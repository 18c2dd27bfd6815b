package cutover_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"timeferry/internal/cutover"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// dialApp connects as an application does: not by pgkit, and under another name. options are libpq's.
func dialApp(e pgkit.Endpoint, name, options string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d dbname=%s user=%s password=%s sslmode=disable application_name=%s options='%s'",
		e.Host, e.Port, e.Database, e.User, e.Password, name, options))
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(context.Background(), config)
}

func mustDialApp(t *testing.T, e pgkit.Endpoint, name string) *pgx.Conn {
	t.Helper()
	conn, err := dialApp(e, name, "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // most are ended by the fence
	return conn
}

func requireState(t *testing.T, err error, state string) {
	t.Helper()
	var pg *pgconn.PgError
	require.ErrorAs(t, err, &pg)
	require.Equal(t, state, pg.Code, pg.Message)
}

const readOnly = "25006"

// setting is the database's own default_transaction_read_only as it is written.
func setting(t *testing.T, d *pgtest.Database) string {
	return d.QueryValue(t, `SELECT coalesce((SELECT max(substr(c, strpos(c, '=') + 1)) FROM pg_db_role_setting s, unnest(setconfig) c
		WHERE s.setrole = 0 AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) AND c LIKE 'default_transaction_read_only=%'), 'none')`)
}

func TestFenceStopsWritingByOthers(t *testing.T) {
	ctx := context.Background()
	src, bystander := pgtest.Source(t), pgtest.Source(t)
	src.Exec(t, "CREATE TABLE t (id serial, v int); GRANT ALL ON t, t_id_seq TO "+pgtest.SourceMaster+`; CREATE ROLE fence_app LOGIN PASSWORD 'app'; GRANT ALL ON t, t_id_seq TO fence_app`)
	t.Cleanup(func() { src.Exec(t, "DROP OWNED BY fence_app; DROP ROLE fence_app") })
	app := src.Master
	app.User, app.Password = "fence_app", "app"

	idle, busy, elsewhere := mustDialApp(t, app, "shop-web"), mustDialApp(t, src.Master, "shop-job"), mustDialApp(t, bystander.Master, "other")
	_, err := busy.Exec(ctx, "BEGIN; INSERT INTO t (v) VALUES (1)")
	require.NoError(t, err)
	super := mustDialApp(t, src.Endpoint, "dba")
	repl, err := pgkit.DialReplication(ctx, src.Master, "receive")
	require.NoError(t, err)
	defer repl.Close(ctx)
	ours := src.MasterConn(t)
	master := src.MasterConn(t)

	result, err := cutover.Fence(ctx, master, src.Master.Database)
	require.NoError(t, err)
	require.Empty(t, result.Previous)
	var ended []string
	for _, s := range result.Ended {
		ended = append(ended, s.User+" "+s.Application+" "+s.Address)
	}
	require.ElementsMatch(t, []string{"fence_app shop-web 127.0.0.1", pgtest.SourceMaster + " shop-job 127.0.0.1"}, ended)
	require.Len(t, result.Spared, 1)
	require.Equal(t, "dba", result.Spared[0].Application)

	// Old sessions are gone, with what they had not committed.
	for _, conn := range []*pgx.Conn{idle, busy} {
		_, err = conn.Exec(ctx, "SELECT 1")
		require.Error(t, err)
	}
	require.Equal(t, "0", src.QueryValue(t, "SELECT count(*) FROM t"))
	// New sessions can read, and cannot write or take from a sequence.
	for _, e := range []pgkit.Endpoint{app, src.Master} {
		conn := mustDialApp(t, e, "shop-new")
		_, err = conn.Exec(ctx, "SELECT * FROM t")
		require.NoError(t, err)
		_, err = conn.Exec(ctx, "INSERT INTO t (v) VALUES (2)")
		requireState(t, err, readOnly)
		_, err = conn.Exec(ctx, "SELECT nextval('t_id_seq')")
		requireState(t, err, readOnly)
	}
	// Ours, walsenders, superusers and other databases go on.
	_, err = ours.Exec(ctx, "INSERT INTO t (v) VALUES (3)")
	require.NoError(t, err)
	_, err = src.MasterConn(t).Exec(ctx, "INSERT INTO t (v) VALUES (4)")
	require.NoError(t, err)
	_, err = repl.Exec(ctx, "IDENTIFY_SYSTEM").ReadAll()
	require.NoError(t, err)
	_, err = super.Exec(ctx, "SELECT 1")
	require.NoError(t, err)
	_, err = elsewhere.Exec(ctx, "CREATE TABLE t (id int)")
	require.NoError(t, err)

	again, err := cutover.Fence(ctx, master, src.Master.Database)
	require.NoError(t, err)
	require.Empty(t, again.Previous)
	require.Len(t, again.Spared, 1)

	require.NoError(t, cutover.Unfence(ctx, master, src.Master.Database))
	require.NoError(t, cutover.Unfence(ctx, master, src.Master.Database), "twice")
	require.Equal(t, "none", setting(t, src))
	_, err = mustDialApp(t, app, "shop-back").Exec(ctx, "INSERT INTO t (v) VALUES (5)")
	require.NoError(t, err)
}

func TestSuperuserFencesSuperusersToo(t *testing.T) {
	ctx := context.Background()
	src := pgtest.Source(t)
	dba := mustDialApp(t, src.Endpoint, "dba")
	result, err := cutover.Fence(ctx, src.Conn(t), src.Endpoint.Database)
	require.NoError(t, err)
	require.Empty(t, result.Spared)
	require.Len(t, result.Ended, 1)
	_, err = dba.Exec(ctx, "SELECT 1")
	require.Error(t, err)
}

func TestUnfenceRestoresWhatWasThere(t *testing.T) {
	ctx := context.Background()
	for before, c := range map[string]struct{ previous, after string }{
		"none": {"", "none"}, "off": {"off", "off"}, "on": {"on", "on"}, "true": {"on", "on"}, "0": {"off", "off"},
	} {
		t.Run(before, func(t *testing.T) {
			src := pgtest.Source(t)
			name := src.Master.Database
			if before != "none" {
				src.Exec(t, "ALTER DATABASE "+ident.Quote(name)+" SET default_transaction_read_only = '"+before+"'")
			}
			// Another setting of the database must not be touched.
			src.Exec(t, "ALTER DATABASE "+ident.Quote(name)+" SET work_mem = '5MB'")
			master := src.MasterConn(t)
			require.NoError(t, cutover.Unfence(ctx, master, name), "without a fence")
			require.Equal(t, before, setting(t, src))

			for range 2 { // the second time the process knows nothing of the first
				result, err := cutover.Fence(ctx, master, name)
				require.NoError(t, err)
				require.Equal(t, c.previous, result.Previous)
				_, err = mustDialApp(t, src.Master, "app").Exec(ctx, "CREATE TABLE x ()")
				requireState(t, err, readOnly)
			}
			require.NoError(t, cutover.Unfence(ctx, master, name))
			require.Equal(t, c.after, setting(t, src))
			require.Equal(t, "5MB", src.QueryValue(t, "SHOW work_mem"))
		})
	}
}

// A session that has read its settings just before the fence, but is not listed yet, must not slip through.
func TestFenceCatchesASessionThatIsJustOpening(t *testing.T) {
	ctx := context.Background()
	src := pgtest.Source(t)
	type opened struct {
		conn *pgx.Conn
		err  error
	}
	opening := make(chan opened, 1)
	go func() {
		conn, err := dialApp(src.Master, "slow", "-c post_auth_delay=2") // sleeps between the two
		opening <- opened{conn, err}
	}()
	require.Eventually(t, func() bool {
		return src.QueryValue(t, "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.objid WHERE classid = 'pg_database'::regclass AND mode = 'RowExclusiveLock' AND datname = current_database() AND pid <> pg_backend_pid()") == "1"
	}, 10*time.Second, 10*time.Millisecond)
	time.Sleep(100 * time.Millisecond) // from taking the lock to reading the settings takes microseconds; nothing shows when it is done

	_, err := cutover.Fence(ctx, src.MasterConn(t), src.Master.Database)
	require.NoError(t, err)
	slow := <-opening
	if slow.err == nil { // it came up, and was ended after
		_, slow.err = slow.conn.Exec(ctx, "CREATE TABLE slipped ()")
	}
	require.Error(t, slow.err)
	require.Equal(t, "NULL", src.QueryValue(t, "SELECT to_regclass('slipped')"))
}

func TestFenceRefusesWhatWouldGetPastIt(t *testing.T) {
	ctx := context.Background()
	src := pgtest.OwnSource(t, map[string]string{"max_prepared_transactions": "5"})
	src.Exec(t, "CREATE ROLE free LOGIN; CREATE ROLE nologin NOLOGIN; ALTER ROLE nologin SET default_transaction_read_only = off; CREATE TABLE t (id int)")
	master, name := src.MasterConn(t), src.Master.Database

	prepare := src.Conn(t)
	_, err := prepare.Exec(ctx, "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'order-17'")
	require.NoError(t, err)
	_, err = cutover.Fence(ctx, master, name)
	require.ErrorContains(t, err, "order-17")
	require.Equal(t, fault.Operator, fault.Classify(err))
	require.Equal(t, "none", setting(t, src), "nothing was changed")
	src.Exec(t, "ROLLBACK PREPARED 'order-17'")

	for _, alter := range []string{"ALTER ROLE free", "ALTER ROLE free IN DATABASE " + ident.Quote(name)} {
		src.Exec(t, alter+" SET default_transaction_read_only = off")
		_, err = cutover.Fence(ctx, master, name)
		require.ErrorContains(t, err, "free")
		require.NotContains(t, err.Error(), "nologin")
		require.Equal(t, fault.Operator, fault.Classify(err))
		require.Equal(t, "none", setting(t, src), "nothing was changed")
		src.Exec(t, alter+" RESET default_transaction_read_only")
	}
	src.Exec(t, "ALTER ROLE free SET default_transaction_read_only = on; ALTER ROLE free SET work_mem = '1MB'")
	_, err = cutover.Fence(ctx, master, name)
	require.NoError(t, err)
}

func TestFenceSaysWhichPrivilegeIsMissing(t *testing.T) {
	ctx := context.Background()
	src := pgtest.Source(t)
	name := src.Master.Database
	src.Exec(t, "CREATE ROLE fence_weak LOGIN PASSWORD 'weak'")
	t.Cleanup(func() {
		src.Exec(t, "ALTER DATABASE "+ident.Quote(name)+" OWNER TO postgres; DROP OWNED BY fence_weak; DROP ROLE fence_weak")
	})
	weak := src.Master
	weak.User, weak.Password = "fence_weak", "weak"
	conn, err := pgkit.Dial(ctx, weak, "cutover")
	require.NoError(t, err)
	defer conn.Close(ctx)

	_, err = cutover.Fence(ctx, conn, name)
	require.ErrorContains(t, err, "owner")
	require.Equal(t, fault.Operator, fault.Classify(err))

	src.Exec(t, "ALTER DATABASE "+ident.Quote(name)+" OWNER TO fence_weak")
	app := mustDialApp(t, src.Master, "shop")
	_, err = cutover.Fence(ctx, conn, name)
	require.ErrorContains(t, err, "pg_signal_backend")
	require.Equal(t, fault.Operator, fault.Classify(err))
	require.NoError(t, app.Ping(ctx))
	require.NoError(t, cutover.Unfence(ctx, conn, name))

	_, err = cutover.Fence(ctx, conn, "no such database")
	require.ErrorContains(t, err, "does not exist")
}

func TestFenceWaitsForSessionsToEnd(t *testing.T) {
	src := pgtest.Source(t)
	app := mustDialApp(t, src.Master, "stuck")
	pid := int(app.PgConn().PID())
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	master := src.MasterConn(t)
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, err := cutover.Fence(ctx, master, src.Master.Database)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, syscall.Kill(pid, syscall.SIGCONT))

	result, err := cutover.Fence(context.Background(), src.MasterConn(t), src.Master.Database)
	require.NoError(t, err)
	require.LessOrEqual(t, len(result.Ended), 1, "it may have gone by itself by now")
	require.Error(t, app.Ping(context.Background()))
}
