package bulk_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/bulk"
	"timeferry/internal/fault"
	"timeferry/internal/target/ledger"
)

func TestCopyErrorsNameTheTableAndNoValue(t *testing.T) {
	const secret = "4711-secret"
	for _, c := range []struct {
		name, source, target string
		class                fault.Class
		contains             string
	}{
		{"longer binary number", "CREATE TABLE t (id int, v int8); INSERT INTO t VALUES (1, 4711)", "CREATE TABLE t (id int, v int4)", fault.Operator, `column "v"`},
		{"text as number", "CREATE TABLE t (v text, m mood[]); INSERT INTO t VALUES ('" + secret + "', '{ok}')", "CREATE TABLE t (v int, m mood[])", fault.Operator, `column "v"`},
		{"value refused by a check", "CREATE TABLE t (v text); INSERT INTO t VALUES ('" + secret + "')", "CREATE TABLE t (v text CHECK (v = 'x'))", fault.Operator, "check constraint"},
		{"unknown enum label", "CREATE TABLE t (e mood); INSERT INTO t VALUES ('" + secret + "')", "CREATE TYPE less AS ENUM ('x'); CREATE TABLE t (e less)", fault.Operator, "SQLSTATE 22P02"},
		{"missing column", "CREATE TABLE t (a int, b int)", "CREATE TABLE t (a int)", fault.Operator, `column "b"`},
		{"missing table", "CREATE TABLE t (a int)", "", fault.Operator, "SQLSTATE 42P01"},
		{"fewer columns taken", "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, '" + secret + "')", "CREATE TABLE t (a int, b text NOT NULL, c int NOT NULL)", fault.Operator, "not-null"},
		{"duplicate", "CREATE TABLE t (v text); INSERT INTO t VALUES ('" + secret + "'), ('" + secret + "')", "CREATE TABLE t (v text PRIMARY KEY)", fault.Integrity, "unique constraint"},
		{"trigger's own words", "CREATE TABLE t (v text); INSERT INTO t VALUES ('" + secret + "')",
			`CREATE TABLE t (v text); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no %', NEW.v; END $$;
			CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE t ENABLE ALWAYS TRIGGER f`, fault.Operator, "SQLSTATE P0001"},
		{"trigger leaves rows out", "CREATE TABLE t (v int); INSERT INTO t VALUES (1), (2), (3)",
			`CREATE TABLE t (v int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.v = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$;
			CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE t ENABLE ALWAYS TRIGGER f`, fault.Integrity, "sent 3 rows, the target took 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, "copy_errors")
			f.execBoth(t, "CREATE TYPE mood AS ENUM ('ok', '"+secret+"')")
			f.execSource(t, c.source)
			f.execTarget(t, c.target)
			f.planTables(t, 1<<30)
			// An epoch's beginning would find the missing table first.
			f.execTarget(t, "CREATE TABLE IF NOT EXISTS t (missing int)")
			f.beginEpoch(t)
			f.execTarget(t, "DO $$ BEGIN IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'missing') THEN DROP TABLE t; END IF; END $$")
			done, err := bulk.CopyParts(context.Background(), f.options(), nil)
			require.Zero(t, done)
			e := requireFault(t, err, c.class, bulk.CodeCopyFailed)
			require.Equal(t, "public.t", e.Subject)
			require.NotEmpty(t, e.Hint)
			require.ErrorContains(t, err, c.contains)
			require.NotContains(t, err.Error(), "4711")
		})
	}
}

func TestCopyReportsTheSourcesError(t *testing.T) {
	f := newFixture(t, "copy_source_error")
	f.execBoth(t, "CREATE TABLE t (id int); CREATE TABLE hidden (id int)")
	f.src.Exec(t, "INSERT INTO hidden VALUES (1); ALTER TABLE hidden OWNER TO postgres; GRANT SELECT ON hidden TO shopmaster; ALTER TABLE hidden ENABLE ROW LEVEL SECURITY")
	f.planTables(t, 1<<30)
	f.beginEpoch(t)
	_, err := bulk.CopyParts(context.Background(), f.options(), nil)
	e := requireFault(t, err, fault.Operator, bulk.CodeCopyFailed)
	require.Equal(t, "public.hidden", e.Subject)
	require.ErrorContains(t, err, "source: ")
	require.ErrorContains(t, err, "row-level security")
}

// Rows that moved to other blocks since the snapshot would be missed or copied twice by block ranges.
func TestCopyRefusesRewrittenTable(t *testing.T) {
	f := newFixture(t, "copy_rewritten")
	f.execBoth(t, "CREATE TABLE t (id int, v text); CREATE TABLE one (id int)")
	f.execSource(t, "INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g; DELETE FROM t WHERE id % 2 = 0; INSERT INTO one VALUES (1)")
	f.planTables(t, 500_000)
	f.beginEpoch(t)
	f.execSource(t, "VACUUM FULL t")
	f.execSource(t, "VACUUM FULL one")
	done, err := bulk.CopyParts(context.Background(), f.options(), nil)
	require.Equal(t, 1, done, "one is copied all the same")
	require.ErrorContains(t, err, "public.t")
	requireFault(t, err, fault.Transient, bulk.CodeTableRewritten)
	f.hold.end()
	require.NoError(t, <-f.hold.done)
	f.beginEpoch(t)
	f.copyAll(t)
	f.requireSame(t, "*", "t", "one")
}

// A table that ALTER TABLE writes anew is empty to older snapshots; one that is dropped, or lacks a column, cannot be read. All others
// are copied nonetheless, and a table that was only truncated is what the snapshot shows.
func TestAlteredTablesAreLeftToTheNextEpoch(t *testing.T) {
	f := newFixture(t, "copy_altered")
	f.execBoth(t, `CREATE TABLE blocks (id int, v text); CREATE TABLE whole (id int PRIMARY KEY, v text); CREATE TABLE volatile (id int); CREATE TABLE using_same (v text);
		CREATE TABLE narrowed (id int, v text); CREATE TABLE dropped (id int); CREATE TABLE remade (id int); CREATE TABLE truncated (id int); CREATE TABLE fine (id int);
		CREATE TABLE sampled (ts timestamptz NOT NULL, v text NOT NULL)`)
	f.execTarget(t, "SELECT create_hypertable('sampled', 'ts')")
	f.execSource(t, `INSERT INTO blocks SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g; INSERT INTO whole SELECT g, 'v' FROM generate_series(1, 100) g;
		INSERT INTO volatile VALUES (1), (2); INSERT INTO using_same VALUES ('a'); INSERT INTO narrowed VALUES (1, 'a'); INSERT INTO dropped VALUES (1); INSERT INTO remade VALUES (1);
		INSERT INTO sampled VALUES ('2024-01-01', 'a'); INSERT INTO truncated VALUES (1); INSERT INTO fine VALUES (1), (2), (3)`)
	f.planTables(t, 500_000)
	f.beginEpoch(t)
	for _, sql := range []string{"ALTER TABLE blocks ALTER id TYPE bigint", "ALTER TABLE whole ALTER id TYPE bigint", "ALTER TABLE volatile ADD COLUMN r float8 DEFAULT random()",
		"ALTER TABLE using_same ALTER v TYPE text USING upper(v)", "ALTER TABLE narrowed DROP COLUMN v", "ALTER TABLE sampled DROP COLUMN v", "DROP TABLE dropped", "DROP TABLE remade", "CREATE TABLE remade (id int)", "TRUNCATE truncated"} {
		f.execSource(t, sql)
	}
	_, err := bulk.CopyParts(context.Background(), f.options(), nil)
	requireFault(t, err, fault.Transient, bulk.CodeTableRewritten)
	require.Equal(t, []string{"fine", "truncated"}, f.dst.Dump(t, "SELECT table_name FROM timeferry.tables WHERE completed_at IS NOT NULL ORDER BY 1"))
	aside, err := ledger.Aside(context.Background(), f.ledger)
	require.NoError(t, err)
	require.Len(t, aside, 8)
	f.requireSame(t, "*", "fine")
	require.Equal(t, "0", f.dst.QueryValue(t, "SELECT count(*) FROM truncated"))
}

func TestCopyWithoutReplicaRole(t *testing.T) {
	f := newFixture(t, "copy_no_role")
	f.execBoth(t, "CREATE TABLE t (id int); CREATE TABLE m (ts timestamptz NOT NULL)")
	f.execTarget(t, "SELECT create_hypertable('m', 'ts')")
	f.execSource(t, "INSERT INTO t SELECT generate_series(1, 100); INSERT INTO m SELECT timestamptz '2024-01-01' + g * interval '1 hour' FROM generate_series(1, 1000) g")
	f.planTables(t, 1<<30)
	f.beginEpoch(t)
	o := f.options()
	o.ReplicaRole = false
	done, err := bulk.CopyParts(context.Background(), o, nil)
	require.NoError(t, err)
	require.Equal(t, 2, done)
	f.requireSame(t, "*", "t", "m")
}
