package prepare_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/survey"
	"timeferry/internal/testkit/pgtest"
)

func specFor(t *testing.T) contract.Spec {
	t.Helper()
	spec, err := contract.ParseSpec([]byte(`{"name": "shop",
		"source": {"host": "db", "database": "shop", "user": "postgres", "password": {"env": "P"}},
		"target": {"host": "ts", "database": "tsdb", "user": "tsdbadmin", "password": {"env": "P"}}}`))
	require.NoError(t, err)
	return spec
}

// assess reads both sides as their master users, and assesses them.
func assess(t *testing.T, spec contract.Spec, src, dst *pgtest.Database) []contract.Problem {
	t.Helper()
	source, err := prepare.ReadFacts(t.Context(), src.MasterConn(t), spec.Tables)
	require.NoError(t, err)
	target, err := survey.ReadFacts(t.Context(), dst.MasterConn(t), plan.TargetNames(spec, source.Tables))
	require.NoError(t, err)
	return plan.Assess(spec, source, target)
}

func codesOf(problems []contract.Problem) map[string]contract.Problem {
	byCode := map[string]contract.Problem{}
	for _, p := range problems {
		byCode[p.Code] = p
	}
	return byCode
}

func requireNoneOf(t *testing.T, problems []contract.Problem) {
	t.Helper()
	for _, p := range problems {
		require.Equal(t, contract.Info, p.Severity, "%s %s: %s", p.Code, p.Object, p.Message)
	}
}

const ordinarySQL = `
	CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, born date);
	CREATE TABLE orders (id bigserial PRIMARY KEY, customer bigint NOT NULL REFERENCES customers, paid numeric(10, 2), tags text[], note jsonb);
	CREATE INDEX ON orders (customer);
	CREATE VIEW unpaid AS SELECT * FROM orders WHERE paid IS NULL;
	CREATE FUNCTION total(c bigint) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT sum(paid) FROM orders WHERE customer = c';
	CREATE TYPE mood AS ENUM ('good', 'bad');
	CREATE TABLE moods (id int PRIMARY KEY, m mood);
	INSERT INTO customers (name) VALUES ('a'), ('b');
	INSERT INTO orders (customer, paid) VALUES (1, 3)`

// Every major version as a source: nothing speaks against an ordinary database, and what is special is found in each.
func TestFactsOfEveryVersion(t *testing.T) {
	dst := pgtest.Target(t)
	for major := 12; major <= 18; major++ {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			src := pgtest.SourceOf(t, major)
			_, err := src.MasterConn(t).Exec(t.Context(), ordinarySQL)
			require.NoError(t, err)
			spec := specFor(t)
			clean := assess(t, spec, src, dst)
			if major > 17 { // newer than the target of the tests
				require.Contains(t, codesOf(clean), plan.CodeTargetOlder)
				clean = slices.DeleteFunc(clean, func(p contract.Problem) bool { return p.Code == plan.CodeTargetOlder })
			}
			requireNoneOf(t, clean)
			require.ElementsMatch(t, []string{plan.CodeDatabaseSize, plan.CodeTargetRoom, plan.CodeRoleExists}, slices.Collect(maps.Keys(codesOf(clean))), "what is told of every database, and nothing else")
			require.Equal(t, "postgres", codesOf(clean)[plan.CodeRoleExists].Object, "the superuser of both servers")

			src.Exec(t, `CREATE TABLE bare (v text); CREATE UNLOGGED TABLE u (id int PRIMARY KEY);
				CREATE TABLE g (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED);
				CREATE RULE quiet AS ON DELETE TO g DO INSTEAD NOTHING; CREATE VIEW on_g AS SELECT * FROM g`)
			spec.Tables.Exclude = []string{"public.g"}
			found := codesOf(assess(t, spec, src, dst))
			require.Equal(t, "public.bare", found[plan.CodeIdentityFull].Object)
			require.Contains(t, found, plan.CodeUnlogged)
			require.Equal(t, "view public.on_g", found[plan.CodeNeedsExcluded].Object)
			require.NotContains(t, found, plan.CodeRule, "it is out of scope")
		})
	}
}

const kindsSQL = `
	CREATE TABLE ruled (id int PRIMARY KEY, d date, "Odd" int, CONSTRAINT late UNIQUE (d) DEFERRABLE);
	CREATE RULE quiet AS ON DELETE TO ruled DO INSTEAD NOTHING;
	CREATE TABLE policed (id int PRIMARY KEY, CONSTRAINT apart EXCLUDE USING gist (int4range(id, id + 1) WITH &&));
	ALTER TABLE policed ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON policed USING (id > 0);
	CREATE TABLE parted (id int, v text COLLATE "C.utf8") PARTITION BY RANGE (id);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
	CREATE VIEW on_partition AS SELECT id FROM parted_1;
	CREATE TYPE pair AS (a int, b int);
	CREATE TABLE composed (id int PRIMARY KEY, p pair, twice int GENERATED ALWAYS AS (id * 2) STORED);
	CREATE MATERIALIZED VIEW summed AS SELECT count(*) FROM ruled;
	CREATE MATERIALIZED VIEW unfilled AS SELECT count(*) FROM ruled WITH NO DATA;
	CREATE TEMPORARY TABLE passing (id int);
	CREATE TABLE outside (id int PRIMARY KEY);
	CREATE VIEW on_both AS SELECT parted_1.id FROM parted_1, outside;
	CREATE SEQUENCE outside_owned OWNED BY outside.id;
	CREATE VIEW over_view AS SELECT * FROM outside;
	CREATE VIEW over_over_view AS SELECT * FROM over_view;
	CREATE TABLE inside (id int PRIMARY KEY DEFAULT nextval('outside_owned'));
	CREATE TABLE int_key (id serial PRIMARY KEY);
	ALTER SEQUENCE int_key_id_seq AS bigint; SELECT setval('int_key_id_seq', 2147483000);
	CREATE TABLE fullname (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id) STORED);`

// What a superuser has made in the database before.
const superuserKindsSQL = `
	CREATE PUBLICATION others FOR TABLE ruled;
	CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER guard ON ddl_command_end EXECUTE FUNCTION on_ddl();
	CREATE FUNCTION raw(text) RETURNS int LANGUAGE internal AS 'textlen';
	CREATE FOREIGN DATA WRAPPER away; CREATE SERVER far FOREIGN DATA WRAPPER away; CREATE USER MAPPING FOR PUBLIC SERVER far;
	CREATE SUBSCRIPTION elsewhere CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false);
	CREATE EXTENSION pgcrypto; CREATE EXTENSION amcheck;
	DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''8MB''', current_database()); END $$;
	DROP ROLE IF EXISTS kinds_root, kinds_app, tsdbadmin;
	CREATE ROLE kinds_root SUPERUSER; CREATE ROLE kinds_app LOGIN; CREATE ROLE tsdbadmin LOGIN`

func TestKindsOfObjectsAreFound(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	conn := src.MasterConn(t)
	_, err := conn.Exec(t.Context(), kindsSQL)
	require.NoError(t, err)
	src.Exec(t, superuserKindsSQL)
	t.Cleanup(func() {
		src.Exec(t, "ALTER SUBSCRIPTION elsewhere SET (slot_name = NONE); DROP SUBSCRIPTION elsewhere; DROP ROLE kinds_root, kinds_app, tsdbadmin")
	})
	placeInTablespace(t, src)

	spec := specFor(t)
	spec.Tables.Exclude = []string{"public.outside"}
	problems := assess(t, spec, src, dst)
	found := codesOf(problems)
	for code, object := range map[string]string{
		plan.CodeRule: "public.ruled.quiet", plan.CodeRowSecurityKept: "public.policed", plan.CodeExclusion: "public.policed.apart",
		plan.CodeDeferrable: "public.ruled.late", plan.CodePartitionTruncate: "public.parted", plan.CodeTextCopy: "public.composed",
		plan.CodeGeneratedColumn: "2 tables", plan.CodeMaterializedView: "public.summed", plan.CodeTemporaryTable: "passing", plan.CodeQuotedName: "source",
		plan.CodePublication: "others", plan.CodeEventTrigger: "guard", plan.CodeSubscription: "elsewhere", plan.CodeUserMapping: "far for public",
		plan.CodeDatabaseSetting: "work_mem", plan.CodeTablespace: "public.placed", plan.CodeSuperuserObject: "2 objects",
		plan.CodeExtensions: "source", plan.CodeExtensionSuperuser: "amcheck", plan.CodeSequenceNearEnd: "public.int_key_id_seq",
		plan.CodeRoleAttributes: "kinds_root (SUPERUSER)", plan.CodeRoleExists: "2 roles", plan.CodeRolePasswords: "kinds_app",
		plan.CodeDatabaseSize: "source", plan.CodeTargetRoom: "target",
	} {
		require.Contains(t, found, code)
		require.Equal(t, object, found[code].Object, "%s: %s", code, found[code].Message)
	}
	require.Contains(t, found[plan.CodeRoleExists].Message, "postgres, tsdbadmin")
	require.Contains(t, found[plan.CodeQuotedName].Message, `public.ruled."Odd"`)
	require.Contains(t, found[plan.CodeSuperuserObject].Message, "foreign-data wrapper away, function public.raw(pg_catalog.text)")
	var needs []string
	for _, p := range problems {
		if p.Code == plan.CodeNeedsExcluded {
			needs = append(needs, string(p.Severity)+" "+p.Object)
		}
	}
	require.Equal(t, []string{"error default value for public.inside.id", "warning view public.on_both", "warning view public.over_over_view", "warning view public.over_view"}, needs)
	require.NotContains(t, found, plan.CodeNeedsPartition)

	spec.Hypertables = []contract.Hypertable{{Table: "public.parted", TimeColumn: "id", ChunkInterval: "100"}}
	found = codesOf(assess(t, spec, src, dst))
	require.Equal(t, "view public.on_partition", found[plan.CodeNeedsPartition].Object)
}

// placeInTablespace makes a table of the master's outside of the default tablespace.
func placeInTablespace(t *testing.T, src *pgtest.Database) {
	t.Helper()
	conn := src.Conn(t)
	for _, sql := range []string{"SET allow_in_place_tablespaces = on", "CREATE TABLESPACE kinds LOCATION ''",
		"CREATE TABLE placed (id int) TABLESPACE kinds", "ALTER TABLE placed OWNER TO " + ident.Quote(src.Master.User)} {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	t.Cleanup(func() { // one by one, since tablespaces take no part in transactions
		src.Exec(t, "DROP TABLE placed")
		src.Exec(t, "DROP TABLESPACE kinds")
	})
}

// PostgreSQL 18 knows virtual columns, and lets nobody update a published table whose identity has generated columns.
func TestGeneratedColumnsOfPostgreSQL18(t *testing.T) {
	src, dst := pgtest.SourceOf(t, 18), pgtest.Target(t)
	conn := src.MasterConn(t)
	_, err := conn.Exec(t.Context(), `CREATE TABLE v (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL);
		CREATE TABLE bare (n int, twice int GENERATED ALWAYS AS (n * 2) STORED); INSERT INTO bare VALUES (1);
		ALTER TABLE bare REPLICA IDENTITY FULL`)
	require.NoError(t, err)
	found := codesOf(assess(t, specFor(t), src, dst))
	require.Equal(t, contract.Fatal, found[plan.CodeVirtualColumn].Severity)
	require.Equal(t, "public.v.twice", found[plan.CodeVirtualColumn].Object)
	require.Equal(t, "public.bare", found[plan.CodeGeneratedIdentity].Object)

	_, err = conn.Exec(t.Context(), "CREATE PUBLICATION p FOR TABLE bare; UPDATE bare SET n = 2")
	var refused *pgconn.PgError
	require.ErrorAs(t, err, &refused, "what the finding is for")
	require.Contains(t, refused.Detail, "unpublished generated columns")
}

// A collation is of interest when something depends on it, and every database does not have it anyway.
func TestCollationsThatAreUsedAreRead(t *testing.T) {
	b := setup(t)
	_, err := b.conn.Exec(t.Context(), `CREATE TABLE sorted (a text COLLATE "C", b text COLLATE "und-x-icu"); CREATE COLLATION own FROM "C"; CREATE TABLE by_own (a text COLLATE own); CREATE INDEX ON sorted (a COLLATE "und-x-icu")`)
	require.NoError(t, err)
	f := b.facts(t)
	require.Len(t, f.Collations, 1, "C is everywhere, and one's own comes along")
	require.Equal(t, "und-x-icu", f.Collations[0].Name)
	require.NotEmpty(t, f.Collations[0].Recorded)
	require.Equal(t, f.Collations[0].Recorded, f.Collations[0].Actual)
	require.Equal(t, "libc", f.Locale.Provider)
	require.Equal(t, "C.UTF-8", f.Locale.Collate)

	for excluded, want := range map[string]int{"public.sorted": 0, "public.by_own": 1} {
		f, err := prepare.ReadFacts(t.Context(), b.conn, contract.Tables{Include: []string{"*.*"}, Exclude: []string{excluded}})
		require.NoError(t, err)
		require.Len(t, f.Collations, want, excluded)
	}

	b.src.Exec(t, `UPDATE pg_collation SET collversion = '0.1' WHERE collname = 'und-x-icu'`)
	found := codesOf(plan.Assess(contract.Spec{Tables: everything}, b.facts(t), plan.TargetFacts{Collations: map[string]bool{}}))
	require.Contains(t, found[plan.CodeCollationVersion].Message, "und-x-icu (0.1 now ")
	require.Equal(t, "und-x-icu", found[plan.CodeCollationMissing].Object)
}

// A stored generated column is not in the stream: an index over one is no replica identity that the applier could use, even
// where PostgreSQL takes it for one. PostgreSQL 18 refuses the application's updates of what it makes of such a table.
func TestGeneratedColumnsAreNoIdentity(t *testing.T) {
	for _, major := range []int{12, 15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			src, dst := pgtest.SourceOf(t, major), pgtest.Target(t)
			conn := src.MasterConn(t)
			_, err := conn.Exec(t.Context(), `CREATE TABLE keyed (a int NOT NULL, b int NOT NULL, g int NOT NULL GENERATED ALWAYS AS (a * 2) STORED, PRIMARY KEY (g), CONSTRAINT plain UNIQUE (a, b));
				CREATE TABLE only_generated_key (a int, g int GENERATED ALWAYS AS (a * 2) STORED PRIMARY KEY);
				CREATE TABLE included (a int, g int GENERATED ALWAYS AS (a * 2) STORED); CREATE UNIQUE INDEX included_a ON included (a) INCLUDE (g); ALTER TABLE included ALTER a SET NOT NULL;
				INSERT INTO keyed VALUES (1, 1)`)
			require.NoError(t, err)
			facts, err := prepare.ReadFacts(t.Context(), conn, everything)
			require.NoError(t, err)
			chosen := map[string]string{}
			for _, id := range plan.IdentitiesOf(facts.Tables, "full", nil) {
				chosen[id.Table.Name] = string(id.Kind) + id.Index
			}
			require.Equal(t, map[string]string{"keyed": "iplain", "only_generated_key": "f", "included": "iincluded_a"}, chosen)

			found := codesOf(assess(t, specFor(t), src, dst))
			require.Contains(t, found[plan.CodeIdentityFull].Message, "only_generated_key_pkey is over a generated column")
			if major < 18 {
				require.NotContains(t, found, plan.CodeGeneratedIdentity)
			} else {
				require.Equal(t, "public.only_generated_key", found[plan.CodeGeneratedIdentity].Object)
			}
			_, err = conn.Exec(t.Context(), "ALTER TABLE keyed REPLICA IDENTITY USING INDEX plain; CREATE PUBLICATION keyed FOR TABLE keyed")
			require.NoError(t, err)
			_, err = conn.Exec(t.Context(), "UPDATE keyed SET b = 2; DELETE FROM keyed")
			require.NoError(t, err, "the application goes on")
		})
	}
}

// A type without a binary form keeps its whole table from binary COPY, even in a generated column, which is not copied.
func TestGeneratedColumnWithoutBinaryFormNeedsText(t *testing.T) {
	b := setup(t)
	_, err := b.conn.Exec(t.Context(), `CREATE TABLE rights (id int PRIMARY KEY, item aclitem GENERATED ALWAYS AS (makeaclitem(10, 10, 'SELECT', false)) STORED)`)
	require.NoError(t, err)
	i := slices.IndexFunc(b.facts(t).Tables, func(s shape.Table) bool { return s.Table == public("rights") })
	require.GreaterOrEqual(t, i, 0)
	require.True(t, b.facts(t).Tables[i].NeedsTextCopy())

	_, err = b.conn.PgConn().CopyFrom(t.Context(), strings.NewReader("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff"), "COPY rights (id) FROM STDIN (FORMAT binary)")
	require.ErrorContains(t, err, "no binary input function", "what it is for")
	_, err = b.conn.PgConn().CopyFrom(t.Context(), strings.NewReader("1\n"), "COPY rights (id) FROM STDIN")
	require.NoError(t, err)
}
