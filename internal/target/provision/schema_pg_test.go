package provision_test

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/extract"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/provision"
	"timeferry/internal/testkit/pgtest"
)

//go:embed testdata/shop.sql
var shopSQL string

//go:embed testdata/fingerprint.sql
var fingerprintSQL string

const shopRoles = `CREATE ROLE nasty_owner LOGIN; CREATE ROLE nasty_reader; CREATE ROLE "nasty Odd" LOGIN;
	GRANT nasty_owner, "nasty Odd" TO CURRENT_USER; GRANT nasty_reader TO nasty_owner WITH ADMIN OPTION;
	ALTER ROLE nasty_owner SET search_path = "$user", app, public; ALTER ROLE "nasty Odd" CONNECTION LIMIT 3;`

// everything is the scope of most tests.
var everything = contract.Tables{Include: []string{"*.*"}}

// mustDump dumps as the source's master and stores the entries on the target.
func mustDump(t *testing.T, src, dst *pgtest.Database, o extract.DumpOptions) []contract.Problem {
	t.Helper()
	ctx := context.Background()
	o.Source = src.Master
	entries, problems, err := extract.Dump(ctx, o)
	require.NoError(t, err)
	conn := dst.MasterConn(t)
	require.NoError(t, ledger.Create(ctx, conn, "test"))
	saved, err := ledger.SaveEntries(ctx, conn, entries)
	require.NoError(t, err)
	require.True(t, saved)
	return problems
}

func mustRoles(t *testing.T, src, dst *pgtest.Database) provision.RolesResult {
	t.Helper()
	ctx := context.Background()
	conn := dst.MasterConn(t)
	require.NoError(t, ledger.Create(ctx, conn, "test"))
	roles, err := extract.Roles(ctx, src.MasterConn(t))
	require.NoError(t, err)
	result, err := provision.Roles(ctx, conn, roles, provision.RoleOptions{SourceMaster: src.Master.User, TargetAdmin: dst.Master.User})
	require.NoError(t, err)
	return result
}

func mustMasterExec(t *testing.T, d *pgtest.Database, sql string) {
	t.Helper()
	_, err := d.MasterConn(t).Exec(context.Background(), sql)
	require.NoError(t, err)
}

// dropRoles lets the next test use the same names.
func dropRoles(t *testing.T, d *pgtest.Database, roles ...string) {
	t.Helper()
	t.Cleanup(func() {
		for _, role := range roles {
			d.Exec(t, "DROP OWNED BY "+ident.Quote(role)+" CASCADE")
		}
		d.Exec(t, "DROP ROLE "+ident.Columns(roles))
	})
}

// restoreAll runs every step once. Every constraint that can be made in two steps is.
func restoreAll(t *testing.T, dst *pgtest.Database) []contract.Problem {
	t.Helper()
	provision.SetSteppedBytes(t, 0)
	ctx := context.Background()
	conn := dst.MasterConn(t)
	pre, err := provision.PreData(ctx, conn)
	require.NoError(t, err)
	require.NoError(t, provision.PostData(ctx, dst.Master, 2, nil))
	problems, err := provision.Finish(ctx, dst.Master, nil)
	require.NoError(t, err)
	last, err := provision.AtCutover(ctx, conn)
	require.NoError(t, err)
	return append(append(pre.Problems, problems...), last...)
}

func TestShopArrivesAsItIs(t *testing.T) {
	src, dst, reference := pgtest.Source(t), pgtest.Target(t), pgtest.Target(t)
	ctx := context.Background()
	mustMasterExec(t, src, shopRoles)
	dropRoles(t, src, "nasty_owner", "nasty_reader", "nasty Odd")
	mustMasterExec(t, src, shopSQL)
	src.Exec(t, `CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
		CREATE EVENT TRIGGER nasty_ddl ON ddl_command_end EXECUTE FUNCTION public.on_ddl(); DROP EVENT TRIGGER nasty_ddl; DROP FUNCTION public.on_ddl;
		GRANT SELECT ON app.customers TO rds_superuser; GRANT UPDATE (name) ON app.customers TO rds_superuser; CREATE PUBLICATION p FOR TABLE app.customers`)

	empty := dst.Dump(t, fingerprintSQL)
	roles := mustRoles(t, src, dst)
	require.Equal(t, []string{"nasty Odd", "nasty_owner", "nasty_reader"}, roles.Created)
	require.Equal(t, []string{"nasty Odd", "nasty_owner"}, roles.WithoutPassword)
	require.Equal(t, roles, mustRoles(t, src, dst), "a second run")
	require.Equal(t, []string{`nasty_owner|{"search_path=\"$user\", app, public"}`}, dst.Dump(t, "SELECT rolname, rolconfig FROM pg_roles WHERE rolname ~ 'nasty' AND rolconfig IS NOT NULL"))
	require.Equal(t, []string{"nasty_reader|nasty_owner|true"}, dst.Dump(t, "SELECT roleid::regrole, member::regrole, admin_option::text FROM pg_auth_members WHERE member = 'nasty_owner'::regrole"))

	require.Empty(t, mustDump(t, src, dst, extract.DumpOptions{Tables: everything, Privileges: true}))
	require.Empty(t, restoreAll(t, dst))
	mustMasterExec(t, reference, shopSQL)
	want, got := reference.Dump(t, fingerprintSQL), dst.Dump(t, fingerprintSQL)
	require.Greater(t, len(want), 300)
	require.Empty(t, cmp.Diff(want, got))

	// Every step again changes nothing.
	pre, err := provision.PreData(ctx, dst.MasterConn(t))
	require.NoError(t, err)
	require.Zero(t, pre.Restored)
	require.Positive(t, pre.Entries)
	require.Empty(t, restoreAll(t, dst))
	require.Equal(t, got, dst.Dump(t, fingerprintSQL))

	mustMasterExec(t, reference, `DROP OWNED BY nasty_owner CASCADE; DROP OWNED BY "nasty Odd" CASCADE; DROP OWNED BY nasty_reader CASCADE`)
	left, err := provision.DropCreated(ctx, dst.MasterConn(t))
	require.NoError(t, err)
	require.Empty(t, left)
	require.Empty(t, cmp.Diff(empty, dst.Dump(t, fingerprintSQL)))
	require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM pg_roles WHERE rolname ~ 'nasty'"))
	left, err = provision.DropCreated(ctx, dst.MasterConn(t))
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestKilledAnywhere ends our sessions again and again; each run goes on where the last one was.
func TestKilledAnywhere(t *testing.T) {
	src, dst, reference := pgtest.Source(t), pgtest.Target(t), pgtest.Target(t)
	mustMasterExec(t, src, shopRoles)
	dropRoles(t, src, "nasty_owner", "nasty_reader", "nasty Odd")
	mustMasterExec(t, src, shopSQL)
	mustRoles(t, src, dst)
	mustDump(t, src, dst, extract.DumpOptions{Tables: everything, Privileges: true})

	killed := 0
	steps := []func(context.Context, *pgx.Conn) error{
		func(ctx context.Context, conn *pgx.Conn) error { _, err := provision.PreData(ctx, conn); return err },
		func(ctx context.Context, _ *pgx.Conn) error { return provision.PostData(ctx, dst.Master, 3, nil) },
		func(ctx context.Context, _ *pgx.Conn) error {
			_, err := provision.Finish(ctx, dst.Master, nil)
			return err
		},
		func(ctx context.Context, conn *pgx.Conn) error { _, err := provision.AtCutover(ctx, conn); return err },
	}
	for i, step := range steps {
		for attempt := 1; ; attempt++ {
			require.Less(t, attempt, 30, "step %d never ends", i)
			if runKilled(t, dst, growing(attempt), step) {
				break
			}
			killed++
			t.Logf("step %d ended after %s", i, growing(attempt))
		}
	}
	require.Greater(t, killed, 4)
	mustMasterExec(t, reference, shopSQL)
	require.Empty(t, cmp.Diff(reference.Dump(t, fingerprintSQL), dst.Dump(t, fingerprintSQL)))

	mustMasterExec(t, reference, `DROP OWNED BY nasty_owner CASCADE; DROP OWNED BY "nasty Odd" CASCADE; DROP OWNED BY nasty_reader CASCADE`)
	for attempt := 1; ; attempt++ {
		var left []string
		if runKilled(t, dst, growing(attempt), func(ctx context.Context, conn *pgx.Conn) (err error) {
			left, err = provision.DropCreated(ctx, conn)
			return err
		}) {
			require.Empty(t, left)
			break
		}
	}
	require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM timeferry.created"))
	require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM pg_roles WHERE rolname ~ 'nasty'"))
}

// growing gives every attempt half as much time again as the one before, from 5 ms.
func growing(attempt int) time.Duration {
	return time.Duration(5 * math.Pow(1.5, float64(attempt-1)) * float64(time.Millisecond))
}

// runKilled runs a step and ends its sessions after some time. It returns true if the step was done before that.
func runKilled(t *testing.T, dst *pgtest.Database, after time.Duration, step func(context.Context, *pgx.Conn) error) bool {
	t.Helper()
	ctx := context.Background()
	conn, err := pgkit.Dial(ctx, dst.Master, "step")
	require.NoError(t, err)
	defer conn.Close(ctx) // it may be dead
	killer := dst.Conn(t)
	_, err = killer.Exec(ctx, "SET application_name = 'killer'")
	require.NoError(t, err)
	var ended atomic.Bool
	done := make(chan error, 1)
	go func() {
		err := step(ctx, conn)
		ended.Store(true)
		done <- err
	}()
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case err := <-done:
		require.NoError(t, err)
		return true
	case <-timer.C:
	}
	for !ended.Load() {
		_, err := killer.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name IN ('timeferry step', 'timeferry schema', 'timeferry indexes', 'timeferry finish')", dst.Master.Database)
		require.NoError(t, err)
	}
	return <-done == nil
}

func TestPreDataIsRestoredOnceByTwoWorkers(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	for i := range 30 {
		src.Exec(t, fmt.Sprintf("CREATE TABLE public.t%d (id int PRIMARY KEY, n int); CREATE INDEX ON public.t%d (n)", i, i))
	}
	src.Exec(t, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO shopmaster")
	mustDump(t, src, dst, extract.DumpOptions{Tables: everything})
	errs := make(chan error, 2)
	for range 2 {
		conn := dst.MasterConn(t)
		go func() {
			_, err := provision.PreData(context.Background(), conn)
			if err == nil {
				err = provision.PostData(context.Background(), dst.Master, 2, nil)
			}
			errs <- err
		}()
	}
	require.NoError(t, <-errs)
	require.NoError(t, <-errs)
	require.Equal(t, "60", dst.QueryValue(t, "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public' AND tablename ~ '^t[0-9]'"))
}
