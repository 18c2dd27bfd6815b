package extract

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

var everything = contract.Tables{Include: []string{"*.*"}}

func mustDump(t *testing.T, src *pgtest.Database, o DumpOptions) (map[string]ledger.Entry, []contract.Problem) {
	t.Helper()
	o.Source = src.Master
	entries, problems, err := Dump(context.Background(), o)
	require.NoError(t, err)
	byName := map[string]ledger.Entry{}
	for _, e := range entries {
		byName[e.String()] = e
	}
	return byName, problems
}

func names(entries map[string]ledger.Entry) []string {
	var all []string
	for name := range entries {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func objects(problems []contract.Problem) []string {
	var all []string
	for _, p := range problems {
		all = append(all, string(p.Severity)+" "+p.Code+" "+p.Object)
	}
	return all
}

func mustMasterExec(t *testing.T, d *pgtest.Database, sql string) {
	t.Helper()
	_, err := d.MasterConn(t).Exec(context.Background(), sql)
	require.NoError(t, err)
}

func TestDumpUnderSnapshot(t *testing.T) {
	src := pgtest.Source(t)
	ctx := context.Background()
	mustMasterExec(t, src, "CREATE TABLE before (id int)")
	holder := src.MasterConn(t)
	_, err := holder.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ")
	require.NoError(t, err)
	var snapshot string
	require.NoError(t, holder.QueryRow(ctx, "SELECT pg_export_snapshot()").Scan(&snapshot))
	mustMasterExec(t, src, "CREATE TABLE after (id int)")
	entries, problems := mustDump(t, src, DumpOptions{Snapshot: snapshot, Tables: everything})
	require.Empty(t, problems)
	require.Equal(t, []string{"TABLE public.before"}, names(entries))

	_, _, err = Dump(ctx, DumpOptions{Source: src.Master, Snapshot: "00000003-0000001B-1", Tables: everything})
	require.ErrorContains(t, err, "import snapshot")
}

func TestScopeTakesEverythingThatBelongsAlong(t *testing.T) {
	src := pgtest.Source(t)
	mustMasterExec(t, src, `
		CREATE SCHEMA audit;
		CREATE TABLE audit.log (id serial PRIMARY KEY, at timestamptz, n int GENERATED ALWAYS AS IDENTITY);
		CREATE INDEX log_at ON audit.log (at);
		COMMENT ON TABLE audit.log IS 'x'; COMMENT ON INDEX audit.log_at IS 'y';
		CREATE FUNCTION public.t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE TRIGGER tr BEFORE INSERT ON audit.log FOR EACH ROW EXECUTE FUNCTION public.t();
		CREATE RULE r AS ON DELETE TO audit.log DO INSTEAD NOTHING;
		ALTER TABLE audit.log ENABLE ROW LEVEL SECURITY;
		CREATE POLICY p ON audit.log USING (true);
		GRANT SELECT ON audit.log TO PUBLIC; GRANT UPDATE (at) ON audit.log TO PUBLIC;
		CREATE STATISTICS audit.s (dependencies) ON id, at FROM audit.log;
		CREATE TABLE audit.parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
		CREATE TABLE public.kept_by_name_only PARTITION OF audit.parts FOR VALUES FROM (0) TO (9);
		CREATE TABLE public.orders (id int PRIMARY KEY, log int REFERENCES audit.log);
		CREATE VIEW public.direct AS SELECT id FROM audit.log;
		CREATE VIEW public.indirect AS SELECT id FROM public.direct;
		COMMENT ON VIEW public.direct IS 'gone';
		CREATE VIEW public.good AS SELECT id FROM public.orders;
		CREATE MATERIALIZED VIEW public.mat AS SELECT id FROM public.indirect;
		CREATE INDEX ON public.mat (id);
		CREATE FUNCTION public.of_log(audit.log) RETURNS int LANGUAGE sql AS 'SELECT 1';
		CREATE FUNCTION public.independent() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM audit.log';`)
	entries, problems := mustDump(t, src, DumpOptions{Tables: contract.Tables{Include: []string{"*.*"}, Exclude: []string{"audit.*"}}, Privileges: true})
	require.Equal(t, []string{
		"CONSTRAINT public.orders orders_pkey", "FUNCTION public.independent()", "FUNCTION public.t()",
		"SCHEMA audit", "TABLE public.orders", "VIEW public.good",
	}, names(entries))
	require.ElementsMatch(t, []string{
		"warning needs-excluded-table fk constraint public.orders orders_log_fkey",
		"warning needs-excluded-table view public.direct", "warning needs-excluded-table view public.indirect",
		"warning needs-excluded-table materialized view public.mat",
		`warning needs-excluded-table function public.of_log("audit"."log")`,
	}, slices.DeleteFunc(objects(problems), func(s string) bool { return strings.Contains(s, " index ") }))
	require.Contains(t, problems[0].Message, "audit.log")
}

func TestIncludedTableThatNeedsExcludedOneIsFatal(t *testing.T) {
	src := pgtest.Source(t)
	mustMasterExec(t, src, `
		CREATE SCHEMA audit; CREATE TABLE audit.base (id int); CREATE TABLE audit.counter (id serial);
		CREATE TABLE public.child () INHERITS (audit.base);
		CREATE TABLE public.composed (b audit.base);
		CREATE FUNCTION public.f(audit.base) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true';
		CREATE TABLE public.defaulted (id int DEFAULT nextval('audit.counter_id_seq'));
		CREATE TABLE public.checked (id int CHECK (public.f(NULL)));`)
	_, problems := mustDump(t, src, DumpOptions{Tables: contract.Tables{Include: []string{"*.*"}, Exclude: []string{"audit.*"}}})
	require.ElementsMatch(t, []string{
		"error needs-excluded-table table public.child", "error needs-excluded-table table public.composed",
		"error needs-excluded-table table public.defaulted", "error needs-excluded-table table public.checked",
		`warning needs-excluded-table function public.f("audit"."base")`,
	}, objects(problems))
}

func TestLeftOutKindsAreReported(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, `CREATE EXTENSION postgres_fdw; CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'h');
		CREATE USER MAPPING FOR PUBLIC SERVER other OPTIONS (user 'u', password 'hidden-word');
		GRANT USAGE ON FOREIGN SERVER other TO shopmaster;
		CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
		CREATE FUNCTION quiet() RETURNS int LANGUAGE sql SET log_statement = 'none' SET work_mem = '5MB' AS 'SELECT 1';
		CREATE EVENT TRIGGER extract_ddl ON ddl_command_end EXECUTE FUNCTION on_ddl();
		CREATE TABLE t (id int); GRANT SELECT ON t TO shopmaster, rds_superuser; CREATE PUBLICATION everything FOR ALL TABLES;
		REVOKE EXECUTE ON FUNCTION postgres_fdw_handler() FROM PUBLIC; GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO shopmaster;
		COMMENT ON SCHEMA public IS 'other'; COMMENT ON EXTENSION postgres_fdw IS 'mine'; COMMENT ON EVENT TRIGGER extract_ddl IS 'mine';
		INSERT INTO pg_seclabel VALUES ('t'::regclass, 'pg_class'::regclass, 0, 'nobody', 'hidden-word'), ('t'::regclass, 'pg_class'::regclass, 1, 'nobody', 'hidden-word')`)
	src.Exec(t, "COMMENT ON DATABASE "+src.Master.Database+" IS 'x'; GRANT CONNECT ON DATABASE "+src.Master.Database+" TO shopmaster")
	src.Exec(t, `ALTER DATABASE `+src.Master.Database+` SET work_mem = '5MB'`)
	entries, problems := mustDump(t, src, DumpOptions{Tables: everything, Privileges: true})
	require.ElementsMatch(t, []string{"warning not-carried event trigger extract_ddl", "warning not-carried user mapping USER MAPPING public SERVER other",
		`info extension-rights acl public.FUNCTION "postgres_fdw_handler"()`, "warning function-sets-parameter function public.quiet", "info not-carried ALTER DATABASE … SET", "info not-carried database", `warning not-carried security label public.TABLE "t"`}, objects(problems))
	for name, e := range entries {
		require.NotContains(t, e.SQL, "hidden-word")
		require.NotContains(t, e.SQL+e.AfterSQL+strings.Join(e.Roles, " "), "rds_superuser", name)
		require.NotContains(t, name, "PUBLICATION")
		require.True(t, !strings.HasPrefix(name, "COMMENT") || name == `COMMENT SCHEMA "public"`, name)
	}
	require.Contains(t, entries, "TABLE public.t")
	require.Equal(t, []string{ledger.CurrentRole}, entries[`ACL public.TABLE "t"`].Roles)
	require.Equal(t, "ALTER TABLE public.t OWNER TO ", entries["TABLE public.t"].OwnerSQL)
	require.Equal(t, "postgres", entries["TABLE public.t"].Owner)
}

func TestFlattenedHypertable(t *testing.T) {
	src := pgtest.Source(t)
	mustMasterExec(t, src, `
		CREATE TABLE plain (id int PRIMARY KEY);
		CREATE TABLE m (at timestamptz NOT NULL, d int REFERENCES plain, v float8, PRIMARY KEY (at, d)) PARTITION BY RANGE (at);
		CREATE TABLE m1 PARTITION OF m FOR VALUES FROM ('2023-01-01') TO ('2024-01-01') PARTITION BY LIST (d);
		CREATE TABLE m1a PARTITION OF m1 FOR VALUES IN (1);
		CREATE INDEX m_v ON m (v); CREATE UNIQUE INDEX m_u ON m (d, at);
		CREATE INDEX only_leaf ON m1a (v);
		COMMENT ON TABLE m1a IS 'leaf'; COMMENT ON TABLE m IS 'root'; COMMENT ON COLUMN m.v IS E')\nPARTITION BY RANGE (at)';
		CREATE VIEW on_leaf AS SELECT * FROM m1a; CREATE VIEW on_root AS SELECT * FROM m;`)
	entries, problems := mustDump(t, src, DumpOptions{Tables: everything, Hypertables: []contract.Hypertable{{Table: "public.m", TimeColumn: "at"}, {Table: "public.absent", TimeColumn: "at"}}})
	require.ElementsMatch(t, []string{"warning needs-partition view public.on_leaf", "error hypertable-missing public.absent"}, objects(problems))
	require.Equal(t, []string{
		`COMMENT public.COLUMN "m"."v"`, `COMMENT public.TABLE "m"`, "CONSTRAINT public.m m_pkey", "CONSTRAINT public.plain plain_pkey",
		"FK CONSTRAINT public.m m_d_fkey", "INDEX public.m_u", "INDEX public.m_v", "TABLE public.m", "TABLE public.plain",
		"VALIDATE CONSTRAINT public.m m_d_fkey", "VIEW public.on_root",
	}, names(entries))
	require.NotContains(t, entries["TABLE public.m"].SQL, "PARTITION")
	require.Equal(t, `CREATE UNIQUE INDEX "m_u" ON "public"."m" USING "btree" ("d", "at");`, entries["INDEX public.m_u"].SQL)
	require.Equal(t, "ALTER TABLE \"public\".\"m\"\n    ADD CONSTRAINT \"m_pkey\" PRIMARY KEY (\"at\", \"d\");", entries["CONSTRAINT public.m m_pkey"].SQL)
	require.Equal(t, "ALTER TABLE \"public\".\"m\"\n    ADD CONSTRAINT \"m_d_fkey\" FOREIGN KEY (\"d\") REFERENCES \"public\".\"plain\"(\"id\") NOT VALID;", entries["FK CONSTRAINT public.m m_d_fkey"].SQL)
}

// TestBodiesThatLookLikeTheDump puts every border of the dump, as it stands there, into the bodies of two functions.
func TestBodiesThatLookLikeTheDump(t *testing.T) {
	src := pgtest.Source(t)
	ctx := context.Background()
	mustMasterExec(t, src, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int); CREATE INDEX b_id ON b (id);
		CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT 1::text'; CREATE FUNCTION g() RETURNS text LANGUAGE sql AS 'SELECT 1::text';`)
	conn := src.MasterConn(t)
	version, err := pgkit.Version(ctx, conn)
	require.NoError(t, err)
	programs, err := findClients(ctx, version)
	require.NoError(t, err)
	tx, err := conn.Begin(ctx)
	require.NoError(t, err)
	snapshot, err := takeSnapshot(ctx, tx, "")
	require.NoError(t, err)
	toc, err := readTOC(ctx, programs, src.Master, snapshot, trueNames{})
	require.NoError(t, err)
	require.NoError(t, tx.Rollback(ctx))
	body := "SELECT '\n"
	for _, e := range toc {
		body += fmt.Sprintf("\n\n--\n-- TOC entry %d (class %d OID %d)\n-- Name: %s; Type: %s; Schema: %s; Owner: -\n--\n\n%s\n\n", e.id, e.class, e.oid, e.name, e.kind, e.schema, strings.ReplaceAll(e.sql, "'", ""))
	}
	body += "\n-- Completed on x\n\n--\n-- PostgreSQL database dump complete\n--\n\n'"
	mustMasterExec(t, src, "CREATE OR REPLACE FUNCTION f() RETURNS text LANGUAGE sql AS $x$"+body+"$x$; CREATE OR REPLACE FUNCTION g() RETURNS text LANGUAGE sql AS $y$"+body+"$y$")
	entries, problems := mustDump(t, src, DumpOptions{Tables: everything})
	require.Empty(t, problems)
	require.Equal(t, []string{"CONSTRAINT public.a a_pkey", "FUNCTION public.f()", "FUNCTION public.g()", "INDEX public.b_id", "TABLE public.a", "TABLE public.b"}, names(entries))
	for _, f := range []string{"FUNCTION public.f()", "FUNCTION public.g()"} {
		require.Contains(t, entries[f].SQL, body)
		require.Less(t, len(entries[f].SQL), len(body)+200)
	}
	require.Equal(t, "CREATE INDEX \"b_id\" ON \"public\".\"b\" USING \"btree\" (\"id\");", entries["INDEX public.b_id"].SQL)
}

// TestEnvironmentDoesNotLeakIn: variables of ours point elsewhere; the password reaches pg_dump all the same.
func TestEnvironmentDoesNotLeakIn(t *testing.T) {
	src := pgtest.Source(t)
	for _, name := range []string{"PGHOST", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSSLMODE"} {
		t.Setenv(name, "nonsense")
	}
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	mustMasterExec(t, src, "CREATE TABLE here (id int)")
	entries, _ := mustDump(t, src, DumpOptions{Tables: everything})
	require.Contains(t, entries, "TABLE public.here")
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Empty(t, left, "the archive is thrown away")
}

func TestOldClientsAreRefused(t *testing.T) {
	_, err := findClients(context.Background(), 990000)
	require.Equal(t, fault.Operator, fault.Classify(err))
	require.Contains(t, fault.HintOf(err), "postgresql-client-99")
}

func TestTableWithoutRightsNamesIt(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, "CREATE TABLE closed (id int)")
	_, _, err := Dump(context.Background(), DumpOptions{Source: src.Master, Tables: everything})
	require.ErrorContains(t, err, "permission denied for table")
	require.NotContains(t, err.Error(), src.Master.Password)
	require.Contains(t, fault.HintOf(err), "SELECT")
}

func TestRoles(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, `CREATE ROLE extract_app LOGIN CREATEDB CONNECTION LIMIT 5 VALID UNTIL '2030-01-01' PASSWORD 'x' BYPASSRLS; CREATE ROLE extract_group NOINHERIT; CREATE ROLE rds_extract;
		GRANT extract_group TO extract_app WITH ADMIN OPTION; GRANT rds_extract, pg_monitor TO extract_app;
		ALTER ROLE extract_app SET search_path = a, "B"; ALTER ROLE extract_app SET default_tablespace = pg_default;
		ALTER ROLE extract_app IN DATABASE `+src.Master.Database+` SET work_mem = '7MB'`)
	t.Cleanup(func() { src.Exec(t, "DROP ROLE extract_app; DROP ROLE extract_group; DROP ROLE rds_extract") })
	roles, err := Roles(context.Background(), src.MasterConn(t))
	require.NoError(t, err)
	var list []string
	for _, r := range roles {
		list = append(list, r.Name)
		require.Equal(t, r.Name == src.Master.User, r.Master)
	}
	require.Equal(t, []string{"extract_app", "extract_group", "postgres", "shopmaster"}, list)
	app := roles[0]
	require.True(t, app.Login && app.Inherit && app.CreateDB && app.NoRLS && !app.Superuser && !app.CreateRole)
	require.Equal(t, 5, app.ConnectionLimit)
	require.Equal(t, "2030-01-01 00:00:00+00", app.ValidUntil)
	require.Len(t, app.MemberOf, 3)
	require.Equal(t, "extract_group", app.MemberOf[0].Role)
	require.True(t, app.MemberOf[0].Admin)
	require.Equal(t, []string{"search_path=a, \"B\" false", "work_mem=7MB true"}, []string{
		fmt.Sprintf("%s=%s %v", app.Settings[0].Name, app.Settings[0].Value, app.Settings[0].ThisDatabase),
		fmt.Sprintf("%s=%s %v", app.Settings[1].Name, app.Settings[1].Value, app.Settings[1].ThisDatabase)})
	require.False(t, roles[1].Inherit)
}
