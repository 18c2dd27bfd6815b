package provision_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/extract"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/provision"
	"timeferry/internal/testkit/fixture"
	"timeferry/internal/testkit/pgserver"
	"timeferry/internal/testkit/pgtest"
)

// TestFixtureArrivesExactly takes the steps of a migration in their order, and compares what pg_dump says of the target
// with what it says of the same schema made there by hand: one server writes both in the same words.
func TestFixtureArrivesExactly(t *testing.T) {
	for _, major := range fixture.Majors(12) { // 15 comes below
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			src, dst := pgtest.SourceOf(t, major), targetFor(t, major)
			fixture.Load(t, src)
			fixture.ForgetRoles(t, dst)
			usePgDump(t, major)
			require.Empty(t, codes(migrate(t, src, dst, migration{from: src.Master, to: dst.Master})))
			filled := `SELECT (SELECT n FROM z_base), (SELECT h FROM a_hidden), (SELECT count(*) FROM mat_grouped), (SELECT count(*) FROM "Mixed Case"."of all; ""mats""")`
			require.Equal(t, "12|13|12|12", src.QueryValue(t, filled))
			require.Equal(t, "12|13|12|12", dst.QueryValue(t, filled))
			t.Run("same", func(t *testing.T) { requireSame(t, dst, major, false) })
			requireGone(t, dst, dst.Master)
		})
	}
}

// targetFor is a database on a server that is not older than the source.
func targetFor(t *testing.T, major int) *pgtest.Database {
	t.Helper()
	if major > 17 {
		return pgtest.TargetOf(t, major)
	}
	return pgtest.Target(t)
}

// requireSame compares with the same schema made by hand, in a subtest: its database must be gone before the roles are.
func requireSame(t *testing.T, dst *pgtest.Database, sourceMajor int, superuser bool) {
	t.Helper()
	newer := fixture.Major(t, dst)
	reference := targetFor(t, newer)
	fixture.LoadSchema(t, reference, sourceMajor)
	if superuser {
		fixture.LoadSuperuser(t, reference)
		reference.Exec(t, "DROP EVENT TRIGGER fx_ddl; DROP USER MAPPING FOR postgres SERVER our_server")
	}
	want := fixture.DumpSchema(t, reference, newer)
	require.Greater(t, len(want), 300)
	require.Empty(t, strings.Join(fixture.Differences(want, fixture.DumpSchema(t, dst, newer)), "\n"))
	require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM pg_class WHERE relkind = 'm' AND NOT relispopulated AND relname <> 'mat_empty'"))
}

// notCarried is what never arrives of the fixture: a superuser's target takes all the rest.
var notCarried = []string{"warning not-carried event trigger fx_ddl", `warning not-carried security label app.TABLE "customers"`,
	"warning not-carried user mapping USER MAPPING postgres SERVER our_server"}

// TestSuperusersArriveWithEverything: both ends belong to their superuser, so that what only a superuser may make goes over.
func TestSuperusersArriveWithEverything(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	fixture.Load(t, src)
	fixture.LoadSuperuser(t, src)
	fixture.ForgetRoles(t, dst, pgtest.SourceMaster)
	found := migrate(t, src, dst, migration{from: src.Endpoint, to: dst.Endpoint, superuser: true})
	require.ElementsMatch(t, notCarried, codes(found))
	dst.Exec(t, "GRANT "+ident.Columns(fixture.Roles)+" TO tsdbadmin") // who makes the schema to compare with
	t.Run("same", func(t *testing.T) { requireSame(t, dst, fixture.Major(t, src), true) })
	// A base type and its functions need each other: without CASCADE they stay, and are named.
	requireGone(t, dst, dst.Endpoint, "function public.base_text_out", "function public.base_text_in", "type public.base_text")
}

// TestManagedTargetSaysWhatItLacks: what only a superuser may make is named before anything is made, and so is what needs
// it; the rest arrives.
func TestManagedTargetSaysWhatItLacks(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	fixture.Load(t, src)
	fixture.LoadSuperuser(t, src)
	fixture.ForgetRoles(t, dst, pgtest.SourceMaster)
	_, problems, err := extract.Dump(context.Background(), extract.DumpOptions{Source: src.Endpoint, Tables: everything})
	require.NoError(t, err)
	require.Contains(t, codes(problems), "error needs-superuser table public.uses_superuser")
	found := migrate(t, src, dst, migration{from: src.Endpoint, to: dst.Master, tables: contract.Tables{Include: []string{"*.*"}, Exclude: []string{"public.uses_superuser"}}})
	require.Subset(t, codes(found), notCarried)
	require.Subset(t, codes(found), []string{
		"warning needs-superuser type public.base_text", "warning needs-superuser type public.shell_only", "warning needs-superuser function public.base_text_in(\"cstring\")",
		"warning needs-superuser function public.leakproof_fn(integer)", "warning needs-superuser operator class public.backwards", "warning needs-superuser operator family public.mood_ops",
		"warning needs-superuser text search template public.our_simple", "warning needs-superuser text search dictionary public.from_template", "warning needs-superuser access method our_btree",
		"warning needs-superuser procedural language our_language", "warning needs-superuser function public.in_our_language()", "warning needs-superuser foreign data wrapper our_wrapper",
		"warning needs-superuser server our_server", "warning needs-superuser foreign table public.elsewhere", "warning needs-superuser index public.plain_backwards",
		"warning needs-superuser view public.calls_leakproof", `warning needs-superuser aggregate public.nth(double precision, "anyelement")`,
	})
	require.Equal(t, "1", dst.QueryValue(t, "SELECT count(*) FROM pg_class WHERE relname = 'plain_with_index'"))
	dst.Exec(t, "DROP TABLE plain_with_index; DROP FUNCTION on_ddl(), mood_hash(mood), int_backwards(int, int)") // the rest of the superuser's things
	t.Run("same", func(t *testing.T) { requireSame(t, dst, fixture.Major(t, src), false) })
	requireGone(t, dst, dst.Master)
}

// requireGone takes everything away again, as an abort does; only what is named is left.
func requireGone(t *testing.T, dst *pgtest.Database, as pgkit.Endpoint, stays ...string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgkit.Dial(ctx, as, "test")
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(ctx)) }()
	left, err := provision.DropCreated(ctx, conn)
	require.NoError(t, err)
	require.Len(t, left, len(stays))
	for i, name := range stays {
		require.Contains(t, left[i], name)
	}
	if len(stays) > 0 {
		return
	}
	newer := fixture.Major(t, dst)
	empty := fixture.DumpSchema(t, targetFor(t, newer), newer)
	require.Empty(t, strings.Join(fixture.Differences(empty, fixture.DumpSchema(t, dst, newer)), "\n"))
}

// usePgDump puts the client programs of a version on the path.
func usePgDump(t *testing.T, major int) {
	t.Helper()
	bin, err := pgserver.ClientBin(context.Background(), major)
	require.NoError(t, err)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

// migration says as whom, and what; no tables are all.
type migration struct {
	from, to  pgkit.Endpoint
	superuser bool
	tables    contract.Tables
}

// migrate does what the activities do, in their order, with plain COPY for the rows.
func migrate(t *testing.T, src, dst *pgtest.Database, m migration) []contract.Problem {
	t.Helper()
	ctx := context.Background()
	if len(m.tables.Include) == 0 {
		m.tables = everything
	}
	holder, source := src.MasterConn(t), src.Conn(t)
	target, err := pgkit.Dial(ctx, m.to, "test")
	require.NoError(t, err)
	defer func() { require.NoError(t, target.Close(ctx)) }()
	var snapshot string
	_, err = holder.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ")
	require.NoError(t, err)
	require.NoError(t, holder.QueryRow(ctx, "SELECT pg_export_snapshot()").Scan(&snapshot))

	require.NoError(t, ledger.Create(ctx, target, "test"))
	roles, err := extract.Roles(ctx, source)
	require.NoError(t, err)
	_, err = provision.Roles(ctx, target, roles, provision.RoleOptions{SourceMaster: m.from.User, TargetAdmin: m.to.User})
	require.NoError(t, err)
	entries, problems, err := extract.Dump(ctx, extract.DumpOptions{Source: m.from, Snapshot: snapshot, Tables: m.tables, Privileges: true, TargetSuperuser: m.superuser})
	require.NoError(t, err)
	_, err = ledger.SaveEntries(ctx, target, entries)
	require.NoError(t, err)
	_, err = provision.PreData(ctx, target)
	require.NoError(t, err)
	copyRows(t, source, target, m.tables)
	provision.SetSteppedBytes(t, 0)
	require.NoError(t, provision.PostData(ctx, m.to, 2, nil))
	more, err := provision.Finish(ctx, m.to, nil)
	require.NoError(t, err)
	last, err := provision.AtCutover(ctx, target)
	require.NoError(t, err)
	return append(append(problems, more...), last...)
}

func copyRows(t *testing.T, source, target *pgx.Conn, tables contract.Tables) {
	t.Helper()
	ctx := context.Background()
	all, err := pgkit.Tables(ctx, source, tables.Includes)
	require.NoError(t, err)
	_, err = target.Exec(ctx, "SET session_replication_role = replica")
	require.NoError(t, err)
	for _, table := range all {
		var columns []string
		for _, c := range table.Columns {
			if !c.Generated {
				columns = append(columns, c.Name)
			}
		}
		list := " (" + ident.Columns(columns) + ")"
		from := "COPY (SELECT " + ident.Columns(columns) + " FROM ONLY " + table.Quote() + ") TO STDOUT"
		if table.Partitioned {
			from = strings.Replace(from, "FROM ONLY", "FROM", 1)
		}
		if len(columns) == 0 {
			list = ""
		}
		var rows strings.Builder
		_, err := source.PgConn().CopyTo(ctx, &rows, from)
		require.NoError(t, err, table.String())
		if len(columns) == 0 && len(table.Columns) > 0 {
			_, err = target.Exec(ctx, "INSERT INTO "+table.Quote()+" SELECT FROM generate_series(1, $1)", strings.Count(rows.String(), "\n"))
		} else {
			_, err = target.PgConn().CopyFrom(ctx, strings.NewReader(rows.String()), "COPY "+table.Quote()+list+" FROM STDIN")
		}
		require.NoError(t, err, table.String())
	}
	_, err = target.Exec(ctx, "RESET session_replication_role")
	require.NoError(t, err)
}
