package provision_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/source/extract"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/provision"
	"timeferry/internal/testkit/pgtest"
)

func codes(problems []contract.Problem) []string {
	var all []string
	for _, p := range problems {
		all = append(all, string(p.Severity)+" "+p.Code+" "+p.Object)
	}
	slices.Sort(all)
	return all
}

func TestFinishFillsAndValidates(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	ctx := context.Background()
	mustMasterExec(t, src, `
		CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE good (p int REFERENCES p); CREATE TABLE bad (p int CONSTRAINT bad_fk REFERENCES p);
		CREATE TABLE parted (p int CONSTRAINT parted_fk REFERENCES p) PARTITION BY RANGE (p); CREATE TABLE parted1 PARTITION OF parted DEFAULT;
		CREATE FUNCTION fails() RETURNS int LANGUAGE plpgsql AS 'BEGIN IF EXISTS (SELECT FROM public.p WHERE id = 7) THEN RAISE EXCEPTION ''seven''; END IF; RETURN 1; END';
		CREATE MATERIALIZED VIEW b_first AS SELECT count(*) AS n FROM p; CREATE MATERIALIZED VIEW a_second AS SELECT n * 10 AS n FROM b_first;
		CREATE MATERIALIZED VIEW never AS SELECT 1 AS n WITH NO DATA; CREATE MATERIALIZED VIEW broken AS SELECT fails() AS n;
		CREATE UNIQUE INDEX good_p ON good (p); ALTER TABLE good ALTER p SET NOT NULL; ALTER TABLE good REPLICA IDENTITY USING INDEX good_p;
		ALTER TABLE bad REPLICA IDENTITY FULL`)
	require.Empty(t, mustDump(t, src, dst, extract.DumpOptions{Tables: everything}))
	conn := dst.MasterConn(t)
	for _, i := range []ledger.Identity{
		{Table: ident.Table{Schema: "public", Name: "good"}, PreviousKind: "d", ChosenKind: "i", ChosenIndex: "good_p"},
		{Table: ident.Table{Schema: "public", Name: "bad"}, PreviousKind: "n", ChosenKind: "f"},
		{Table: ident.Table{Schema: "public", Name: "not_here"}, PreviousKind: "d", ChosenKind: "f"},
	} {
		require.NoError(t, ledger.RecordIdentity(ctx, conn, i))
	}
	_, err := provision.PreData(ctx, conn)
	require.NoError(t, err)
	_, err = conn.Exec(ctx, "INSERT INTO p VALUES (1), (7); INSERT INTO good VALUES (1); INSERT INTO bad VALUES (404); INSERT INTO parted VALUES (7)")
	require.NoError(t, err)

	last := ""
	require.NoError(t, provision.PostData(ctx, dst.Master, 4, func(done, total int, current string) {
		last = fmt.Sprint(done, " of ", total)
		require.NotEmpty(t, current)
	}))
	require.Equal(t, "4 of 4", last, "primary key, index, two foreign keys")
	require.Equal(t, []string{"bad_fk|false", "good_p_fkey|false"}, dst.Dump(t, "SELECT conname, convalidated::text FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace ORDER BY 1"))

	problems, err := provision.Finish(ctx, dst.Master, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"warning foreign-key-not-valid VALIDATE CONSTRAINT public.bad bad_fk", "warning materialized-view-not-refreshed MATERIALIZED VIEW DATA public.broken"}, codes(problems))
	require.Equal(t, []string{"bad_fk|false", "good_p_fkey|true", "parted_fk|true"}, dst.Dump(t, "SELECT conname, convalidated::text FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 AND connamespace = 'public'::regnamespace ORDER BY 1"))
	require.Equal(t, "20", dst.QueryValue(t, "SELECT n FROM a_second"))
	require.Equal(t, []string{"a_second|true", "b_first|true", "broken|false", "never|false"}, dst.Dump(t, "SELECT matviewname, ispopulated::text FROM pg_matviews WHERE schemaname = 'public' ORDER BY 1"))
	require.Equal(t, []string{"bad|n", "good|d"}, dst.Dump(t, "SELECT relname, relreplident::text FROM pg_class WHERE relname IN ('good', 'bad') ORDER BY 1"))
	require.Equal(t, "2", dst.QueryValue(t, "SELECT reltuples::int FROM pg_class WHERE relname = 'p'"))

	// The reasons are gone: the next call does the rest.
	mustMasterExec(t, dst, "DELETE FROM bad; DELETE FROM parted; DELETE FROM p WHERE id = 7")
	problems, err = provision.Finish(ctx, dst.Master, nil)
	require.NoError(t, err)
	require.Empty(t, problems)
	require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM pg_constraint WHERE NOT convalidated"))
	require.Equal(t, "1", dst.QueryValue(t, "SELECT n FROM broken"))
}

// TestTriggersWaitWhereTheyCannotBeSilenced: the applier's statements would fire them.
func TestTriggersWaitWhereTheyCannotBeSilenced(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	ctx := context.Background()
	dst.Exec(t, "REVOKE SET ON PARAMETER session_replication_role FROM tsdbadmin")
	t.Cleanup(func() { dst.Exec(t, "GRANT SET ON PARAMETER session_replication_role TO tsdbadmin") })
	mustMasterExec(t, src, `CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY, p int CONSTRAINT c_p REFERENCES p);
		CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER tr BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION tr();
		COMMENT ON TRIGGER tr ON p IS 'mine'; COMMENT ON CONSTRAINT c_p ON c IS 'mine'; CREATE RULE r AS ON UPDATE TO p DO INSTEAD NOTHING;
		CREATE VIEW grouped AS SELECT p.*, count(*) FROM p GROUP BY id; CREATE TABLE s (id int); ALTER TABLE s ENABLE ROW LEVEL SECURITY; ALTER TABLE s FORCE ROW LEVEL SECURITY`)
	require.Empty(t, mustDump(t, src, dst, extract.DumpOptions{Tables: everything}))
	conn := dst.MasterConn(t)
	_, err := provision.PreData(ctx, conn)
	require.NoError(t, err)
	acting := `SELECT (SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('p'::regclass, 'c'::regclass)), (SELECT count(*) FROM pg_rules WHERE schemaname = 'public'),
		(SELECT count(*) FROM pg_constraint WHERE conname = 'c_p' AND convalidated), (SELECT relforcerowsecurity::text FROM pg_class WHERE oid = 's'::regclass), (SELECT count(*) FROM pg_description WHERE description = 'mine')`
	for range 2 {
		require.NoError(t, provision.PostData(ctx, dst.Master, 1, nil))
		problems, err := provision.Finish(ctx, dst.Master, nil)
		require.NoError(t, err)
		require.Empty(t, problems)
		require.Equal(t, "0|0|0|false|0", dst.QueryValue(t, acting))
	}
	require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM grouped"), "a view's own rule is no rule that fires")
	_, err = provision.AtCutoverIf(ctx, conn, func() error { return errors.New("the fence was lifted") })
	require.ErrorContains(t, err, "the fence was lifted")
	require.Equal(t, "0|0|0|false|0", dst.QueryValue(t, acting), "all or nothing")
	requireAtCutover := func(pending bool) {
		left, err := ledger.CountPendingAtCutover(ctx, conn)
		require.NoError(t, err)
		made, err := ledger.CountRestoredAtCutover(ctx, conn, false)
		require.NoError(t, err)
		require.Equal(t, []bool{pending, !pending}, []bool{left > 0, made > 0})
	}
	requireAtCutover(true)
	for range 2 {
		problems, err := provision.AtCutover(ctx, conn)
		require.NoError(t, err)
		require.Empty(t, problems)
		require.Equal(t, "5|1|0|true|2", dst.QueryValue(t, acting))
		requireAtCutover(false)
	}
	problems, err := provision.Finish(ctx, dst.Master, nil)
	require.NoError(t, err)
	require.Empty(t, problems)
	require.Equal(t, "5|1|1|true|2", dst.QueryValue(t, acting))
}

func TestErrorsNameTheObjectAndTheLine(t *testing.T) {
	dst := pgtest.Target(t)
	ctx := context.Background()
	conn := dst.MasterConn(t)
	require.NoError(t, ledger.Create(ctx, conn, "test"))
	_, err := ledger.SaveEntries(ctx, conn, []ledger.Entry{
		{Ordinal: 1, ID: "1", Section: ledger.SectionPreData, Kind: "SCHEMA", Name: "fine", SQL: "CREATE SCHEMA fine;"},
		{Ordinal: 2, ID: "2", Section: ledger.SectionPreData, Kind: "TABLE", Schema: "fine", Name: "häßlich", SQL: "CREATE TABLE fine.\"häßlich\" (\n    id int,\n    x nowhere.notype NOT NULL\n);"},
	})
	require.NoError(t, err)
	saved, err := ledger.SaveEntries(ctx, conn, []ledger.Entry{{Ordinal: 1, ID: "other"}})
	require.NoError(t, err)
	require.False(t, saved, "the schema is dumped once")
	_, err = provision.PreData(ctx, conn)
	require.Equal(t, fault.Operator, fault.Classify(err))
	require.ErrorContains(t, err, `restore TABLE fine.häßlich: ERROR: schema "nowhere" does not exist (SQLSTATE 3F000), in: x nowhere.notype NOT NULL`)
	require.NotContains(t, err.Error(), "CREATE TABLE")
	require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM pg_namespace WHERE nspname = 'fine'"), "all or nothing")
	require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM timeferry.created"))

	mustMasterExec(t, dst, "CREATE SCHEMA fine")
	_, err = provision.PreData(ctx, conn)
	require.ErrorContains(t, err, "already exists")
	require.Contains(t, fault.HintOf(err), "drop it")
	left, err := provision.DropCreated(ctx, conn)
	require.NoError(t, err)
	require.Empty(t, left)
	require.Equal(t, "1", dst.QueryValue(t, "SELECT count(*) FROM pg_namespace WHERE nspname = 'fine'"), "it was there before")
}

func TestDuplicateRowsAreAnIntegrityFault(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	ctx := context.Background()
	mustMasterExec(t, src, "CREATE TABLE d (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)")
	mustDump(t, src, dst, extract.DumpOptions{Tables: everything})
	_, err := provision.PreData(ctx, dst.MasterConn(t))
	require.NoError(t, err)
	mustMasterExec(t, dst, "INSERT INTO d VALUES (4711), (4711)")
	err = provision.PostData(ctx, dst.Master, 2, nil)
	require.Equal(t, fault.Integrity, fault.Classify(err))
	require.ErrorContains(t, err, "CONSTRAINT public.d d_pkey")
	require.NotContains(t, err.Error(), "4711")
}

func TestDropCreatedLeavesWhatOthersBuiltOn(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	ctx := context.Background()
	src.Exec(t, "CREATE ROLE drop_owner; CREATE ROLE drop_other; GRANT drop_owner TO shopmaster; GRANT CREATE ON SCHEMA public TO drop_owner")
	dst.Exec(t, "CREATE ROLE drop_other; GRANT USAGE ON SCHEMA public TO drop_other")
	t.Cleanup(func() {
		src.Exec(t, "DROP OWNED BY drop_owner; DROP OWNED BY drop_other; DROP ROLE drop_owner; DROP ROLE drop_other")
		dst.Exec(t, "DROP OWNED BY drop_other; DROP ROLE drop_other")
	})
	mustMasterExec(t, src, "CREATE TABLE used (id int PRIMARY KEY); CREATE TABLE free (id int); ALTER TABLE free OWNER TO drop_owner; GRANT CREATE ON SCHEMA public TO drop_other")
	before := dst.Dump(t, fingerprintSQL)
	require.Equal(t, []string{"drop_other", "postgres"}, mustRoles(t, src, dst).Existing)
	mustDump(t, src, dst, extract.DumpOptions{Tables: everything, Privileges: true})
	conn := dst.MasterConn(t)
	_, err := provision.PreData(ctx, conn)
	require.NoError(t, err)
	require.Equal(t, "drop_owner", dst.QueryValue(t, "SELECT tableowner FROM pg_tables WHERE tablename = 'free'"))
	require.Equal(t, "true", dst.QueryValue(t, "SELECT has_schema_privilege('drop_other', 'public', 'CREATE')::text"))
	mustMasterExec(t, dst, "CREATE VIEW theirs AS SELECT * FROM used; SET client_min_messages = error")
	dst.Exec(t, "CREATE TABLE newer (id int); ALTER TABLE newer OWNER TO drop_owner")
	for range 2 {
		left, err := provision.DropCreated(ctx, conn)
		require.NoError(t, err)
		require.Len(t, left, 2)
		require.Contains(t, left[0], "table public.used: cannot drop table public.used because other objects depend on it (view public.theirs")
		require.Contains(t, left[1], "role drop_owner")
		require.Equal(t, []string{"newer", "used"}, dst.Dump(t, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"))
	}
	dst.Exec(t, "DROP VIEW theirs; DROP TABLE newer")
	left, err := provision.DropCreated(ctx, conn)
	require.NoError(t, err)
	require.Empty(t, left)
	require.Equal(t, before, dst.Dump(t, fingerprintSQL))
}

func TestRolesThatAreNotThere(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	ctx := context.Background()
	src.Exec(t, "CREATE ROLE absent_owner; CREATE ROLE absent_reader; GRANT absent_owner TO shopmaster; GRANT CREATE ON SCHEMA public TO absent_owner")
	t.Cleanup(func() {
		src.Exec(t, "DROP OWNED BY absent_owner; DROP OWNED BY absent_reader; DROP ROLE absent_owner; DROP ROLE absent_reader")
	})
	mustMasterExec(t, src, `CREATE TABLE t (id int); ALTER TABLE t OWNER TO absent_owner; GRANT SELECT ON t TO absent_reader, PUBLIC;
		CREATE POLICY p ON t TO absent_reader; CREATE POLICY q ON t USING (true); COMMENT ON POLICY q ON t IS 'kept'`)
	mustDump(t, src, dst, extract.DumpOptions{Tables: everything, Privileges: true})
	conn := dst.MasterConn(t)
	pre, err := provision.PreData(ctx, conn)
	require.NoError(t, err)
	require.Equal(t, []string{"info role-missing role absent_owner", "info role-missing role absent_reader"}, codes(pre.Problems))
	again, err := provision.PreData(ctx, conn)
	require.NoError(t, err)
	require.Equal(t, pre.Problems, again.Problems, "found once, told always")
	require.NoError(t, provision.PostData(ctx, dst.Master, 1, nil))
	problems, err := provision.Finish(ctx, dst.Master, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"info role-missing role absent_owner", "info role-missing role absent_reader", "warning policy-left-out POLICY public.t p"}, codes(problems), "all that was found on the way")
	require.Equal(t, "tsdbadmin", dst.QueryValue(t, "SELECT tableowner FROM pg_tables WHERE tablename = 't'"))
	require.Equal(t, []string{"q"}, dst.Dump(t, "SELECT policyname FROM pg_policies"), "p would hold for others if its role were left out")
	require.Equal(t, "true", dst.QueryValue(t, "SELECT has_table_privilege('public', 't', 'SELECT')::text"))
}

func TestRoleAttributesAndMemberships(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	src.Exec(t, `CREATE ROLE attr_super SUPERUSER REPLICATION BYPASSRLS LOGIN; CREATE ROLE attr_app LOGIN CREATEDB CREATEROLE NOINHERIT VALID UNTIL '2031-02-03 04:05:06+00';
		CREATE ROLE attr_low; CREATE ROLE rds_attr; GRANT rds_attr, pg_read_all_data, attr_super TO attr_app; GRANT attr_app TO shopmaster; GRANT shopmaster TO attr_low;
		ALTER ROLE attr_app SET work_mem = '9MB'; ALTER ROLE attr_app SET my_app.x = 'only superusers may'; ALTER ROLE attr_app SET application_name = 'it''s \ odd'; ALTER ROLE attr_app SET log_statement = 'all'; ALTER ROLE attr_app SET search_path = ''`)
	t.Cleanup(func() {
		src.Exec(t, "DROP ROLE attr_super; DROP ROLE attr_app; DROP ROLE attr_low; DROP ROLE rds_attr")
		dst.Exec(t, "DROP ROLE IF EXISTS attr_super, attr_app, attr_low")
	})
	result := mustRoles(t, src, dst)
	require.Equal(t, []string{"attr_app", "attr_low", "attr_super"}, result.Created)
	require.Equal(t, []string{"attr_app|f|t|t|f|f|t|2031-02-03 04:05:06+00", "attr_low|f|f|f|f|f|f|NULL", "attr_super|f|f|f|f|f|t|NULL"},
		dst.Dump(t, "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolcanlogin, rolvaliduntil FROM pg_roles WHERE rolname ~ '^attr' ORDER BY 1"))
	require.Equal(t, []string{`{"application_name=it's \\ odd","search_path=\"\"",work_mem=9MB}`}, dst.Dump(t, "SELECT rolconfig FROM pg_roles WHERE rolname = 'attr_app'"))
	require.Equal(t, []string{
		"info role-membership-left-out role attr_app", "warning role-attribute-left-out role attr_super", "warning role-membership-left-out role attr_app",
		"warning role-membership-left-out role attr_low", "warning role-membership-left-out role postgres", "warning role-setting-left-out role attr_app", "warning role-setting-left-out role attr_app",
	}, codes(slices.DeleteFunc(slices.Clone(result.Problems), func(p contract.Problem) bool {
		return p.Object == "role postgres" && p.Code == provision.CodeRoleAttribute
	})))
	require.Equal(t, result, mustRoles(t, src, dst))
	left, err := provision.DropCreated(context.Background(), dst.MasterConn(t))
	require.NoError(t, err)
	require.Empty(t, left)
	require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM pg_roles WHERE rolname ~ '^attr'"))
}

func TestExistingTables(t *testing.T) {
	dst := pgtest.Target(t)
	mustMasterExec(t, dst, `CREATE TABLE empty (id int); CREATE TABLE "Full" (id int); INSERT INTO "Full" VALUES (1); CREATE VIEW v AS SELECT 1;
		CREATE TABLE parted (id int) PARTITION BY RANGE (id); CREATE TABLE parted1 PARTITION OF parted DEFAULT; INSERT INTO parted VALUES (1)`)
	table := func(name string) ident.Table { return ident.Table{Schema: "public", Name: name} }
	got, err := provision.ExistingTables(context.Background(), dst.MasterConn(t), []ident.Table{table("empty"), table("Full"), table("v"), table("parted"), table("absent"), {Schema: "nowhere", Name: "empty"}, table("empty")})
	require.NoError(t, err)
	require.Equal(t, map[ident.Table]bool{table("empty"): false, table("Full"): true, table("v"): true, table("parted"): true}, got)
}

// TestManyTables passes several transactions, and shows what a table costs.
func TestManyTables(t *testing.T) {
	if testing.Short() {
		t.Skip("many tables")
	}
	src, dst := pgtest.Source(t), pgtest.Target(t)
	ctx := context.Background()
	mustMasterExec(t, src, `DO $$ BEGIN FOR i IN 1..1200 LOOP EXECUTE format('CREATE TABLE many%s (id int PRIMARY KEY, t text)', i); END LOOP; END $$`)
	start := time.Now()
	mustDump(t, src, dst, extract.DumpOptions{Tables: everything, Privileges: true})
	t.Logf("dumped after %s", time.Since(start))
	pre, err := provision.PreData(ctx, dst.MasterConn(t))
	require.NoError(t, err)
	require.Equal(t, 1200, pre.Restored)
	t.Logf("pre-data after %s", time.Since(start))
	require.NoError(t, provision.PostData(ctx, dst.Master, 2, nil))
	t.Logf("post-data after %s", time.Since(start))
	require.Equal(t, "1200", dst.QueryValue(t, "SELECT count(*) FROM pg_constraint WHERE contype = 'p' AND conrelid::regclass::text ~ '^many'"))
	require.Equal(t, "1200", dst.QueryValue(t, "SELECT count(*) FROM timeferry.created"))
}
