package bulk_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/bulk"
)

const everyType = `
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s "fine"');
CREATE TYPE pair AS (a int, m mood);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE spread AS RANGE (subtype = numeric);
CREATE TABLE binary_types (
	id int PRIMARY KEY, i2 int2, i8 int8, n numeric, n2 numeric(12,3), f4 float4, f8 float8, m money, t text, v varchar(20), c char(5), ch "char", na name,
	b bytea, bo bool, d date, ti time, tz timetz, ts timestamp, tsz timestamptz, iv interval, u uuid, j json, jb jsonb, jp jsonpath, x xml, ip inet, ci cidr, mac macaddr,
	bi bit(3), vb varbit, po point, li line, ls lseg, bx box, pa path, pg polygon, ce circle, tv tsvector, tq tsquery, lsn pg_lsn,
	r int4range, mr int4multirange, tr tstzrange, ia int[], ta text[], tsa timestamptz[], mo mood, o oid);
CREATE TABLE text_types (id int PRIMARY KEY, ma mood[], p pair, pp pair[], dom positive, doms positive[], s spread, rc regclass, rts regtype[], ac aclitem, t text);`

const everyValue = `
INSERT INTO binary_types SELECT g, g, g, g * 1.5, g, g / 3.0, g / 7.0, g, 'é' || g, E'tab\there', 'pad', 'x', 'name',
	decode(md5(g::text), 'hex'), g % 2 = 0, date '2024-01-01' + g, '12:34:56.789', '12:34:56+02', '2024-01-01 00:00:00.000001', '2024-02-03 04:05:06+07', '1 mon 2 days 03:04:05.6', md5(g::text)::uuid,
	'{"a": 1,  "b":"\\n"}', '{"k": [1, null]}', '$.a', '<a>b</a>', '10.1.2.3/8', '10.0.0.0/8', '08:00:2b:01:02:03',
	B'101', B'11001', '(1,2)', '{1,2,3}', '[(1,2),(3,4)]', '(1,2),(3,4)', '[(1,2),(3,4)]', '((1,2),(3,4),(5,6))', '<(1,2),3>', 'fat:1A cat:2', 'a & b', '16/B374D848',
	'[1,5)', '{[1,3),[5,9)}', '[2024-01-01,)', '{1,NULL,3}', E'{"a\\"b",NULL,""}', '{2024-01-01,infinity}', 'ok', 42 FROM generate_series(1, 1000) g;
INSERT INTO binary_types (id, n, f4, f8, d, ts, tsz, r) VALUES (-1, 'NaN', 'NaN', '-Infinity', '-infinity', 'infinity', '-infinity', 'empty'), (-2, 'Infinity', 'Infinity', '-0', '4713-01-01 BC', '294276-12-31', '4713-01-01 BC', '(,)');
INSERT INTO binary_types (id) VALUES (-3);
INSERT INTO text_types SELECT g, '{sad,NULL,"it''s \"fine\""}', ROW(g, 'ok'::mood)::pair, ARRAY[ROW(g, 'sad'::mood)::pair, NULL], g, ARRAY[g], '[1,2.5]', 'binary_types', '{mood,int4}', NULL, E'a\tb\\c\nd\r' || g FROM generate_series(1, 1000) g;
INSERT INTO text_types (id, t) VALUES (-1, NULL), (-2, ''), (-3, '\N');
UPDATE text_types SET ac = makeaclitem(r.oid, r.oid, 'SELECT', false) FROM pg_roles r WHERE r.rolname = 'postgres';`

func TestCopyEveryType(t *testing.T) {
	f := newFixture(t, "copy_types")
	f.execTarget(t, "CREATE TYPE other AS ENUM ('makes OIDs differ'); CREATE TABLE binary_type_s (id int)")
	f.execBoth(t, everyType)
	f.execSource(t, everyValue)
	f.planTables(t, 1<<30)
	require.Equal(t, "t|f", f.dst.QueryValue(t, "SELECT bool_or(text_copy) FILTER (WHERE table_name = 'text_types'), bool_or(text_copy) FILTER (WHERE table_name = 'binary_types') FROM timeferry.tables"))
	f.beginEpoch(t)
	require.Equal(t, 2, f.copyAll(t))
	f.requireSame(t, "*", "binary_types", "text_types")
	require.Equal(t, "t", f.dst.QueryValue(t, "SELECT rc = 'binary_types'::regclass FROM text_types WHERE id = 1"))
}

func TestCopyOddTables(t *testing.T) {
	f := newFixture(t, "copy_odd")
	f.execSource(t, `
		CREATE SCHEMA "Odd ""schema";
		CREATE TABLE "Odd ""schema"."a.b '\c" ("select" int, "a ""b" text, "x'y" int);
		CREATE TABLE generated (id int GENERATED ALWAYS AS IDENTITY, a int, doubled int GENERATED ALWAYS AS (a * 2) STORED, b text);
		CREATE TABLE reordered (a int, dropped int, b text, c date);
		ALTER TABLE reordered DROP COLUMN dropped;
		CREATE TABLE empty_table (id int);
		CREATE TABLE no_columns ();
		CREATE TABLE parent (id int); CREATE TABLE child (extra text) INHERITS (parent);
		CREATE TABLE root_without_leaves (id int) PARTITION BY LIST (id);
		INSERT INTO "Odd ""schema"."a.b '\c" SELECT g, 'v' || g, g FROM generate_series(1, 100) g;
		INSERT INTO generated (a, b) SELECT g, 'b' FROM generate_series(1, 50) g; DELETE FROM generated WHERE id < 10;
		INSERT INTO reordered SELECT g, 'b' || g, '2024-01-01' FROM generate_series(1, 50) g;
		INSERT INTO no_columns SELECT FROM generate_series(1, 7);
		INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (3, 'x')`)
	f.execTarget(t, `
		CREATE SCHEMA "Odd ""schema";
		CREATE TABLE "Odd ""schema"."a.b '\c" ("select" int, "a ""b" text, "x'y" int);
		CREATE TABLE generated (id int GENERATED ALWAYS AS IDENTITY, a int, doubled int GENERATED ALWAYS AS (a * 2) STORED, b text);
		CREATE TABLE reordered (c date, b text, a int);
		CREATE TABLE empty_table (id int);
		CREATE TABLE no_columns ();
		CREATE TABLE parent (id int); CREATE TABLE child (extra text) INHERITS (parent);
		CREATE TABLE root_without_leaves (id int) PARTITION BY LIST (id)`)
	f.planTables(t, 1<<30)
	f.beginEpoch(t)
	require.Equal(t, 7, f.copyAll(t), "all but the root without leaves have a part")
	f.requireSame(t, "*", `"Odd ""schema"."a.b '\c"`, "generated", "empty_table", "no_columns", "parent", "ONLY parent", "child")
	f.requireSame(t, "a, b, c", "reordered")
	require.Equal(t, "41|10|50", f.dst.QueryValue(t, "SELECT count(*), min(id), max(id) FROM generated WHERE doubled = a * 2"))
}

func TestCopyBigRows(t *testing.T) {
	f := newFixture(t, "copy_big")
	f.execBoth(t, "CREATE TABLE big (id int, b bytea)")
	f.execSource(t, `ALTER TABLE big ALTER b SET STORAGE EXTERNAL;
		INSERT INTO big SELECT 1, decode(string_agg(md5(g::text), ''), 'hex') FROM generate_series(1, 20 * 65536) g;
		INSERT INTO big SELECT 2, b FROM big; INSERT INTO big VALUES (3, ''), (4, NULL)`)
	f.planTables(t, 1<<30)
	f.beginEpoch(t)
	f.copyAll(t)
	require.Equal(t, fmt.Sprint(20<<20), f.dst.QueryValue(t, "SELECT length(b) FROM big WHERE id = 2"))
	f.requireSame(t, "id, md5(b)", "big")
}

const partitioned = `
CREATE TABLE events (ts timestamptz NOT NULL, kind int NOT NULL, v text) PARTITION BY RANGE (ts);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2024-02-01') TO ('2024-03-01') PARTITION BY LIST (kind);
CREATE TABLE events_2_odd PARTITION OF events_2 FOR VALUES IN (1);
CREATE TABLE events_2_rest PARTITION OF events_2 DEFAULT;`

const partitionedRows = `INSERT INTO events SELECT timestamptz '2024-01-01' + g * interval '1 minute', g % 3, repeat('x', 50) || g FROM generate_series(0, 59 * 24 * 60) g`

func TestCopyPartitions(t *testing.T) {
	for _, c := range []struct{ name, target string }{
		{"into the same tree", partitioned},
		{"into another tree", `CREATE TABLE events (ts timestamptz NOT NULL, kind int NOT NULL, v text) PARTITION BY HASH (kind);
			CREATE TABLE events_a PARTITION OF events FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE events_b PARTITION OF events FOR VALUES WITH (MODULUS 2, REMAINDER 1)`},
		{"into a hypertable", `CREATE TABLE events (ts timestamptz NOT NULL, kind int NOT NULL, v text);
			SELECT create_hypertable('events', 'ts', chunk_time_interval => interval '7 days', create_default_indexes => false)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, "copy_partitions")
			f.execSource(t, partitioned+partitionedRows)
			f.execTarget(t, c.target)
			f.planTables(t, 1<<20)
			f.beginEpoch(t)
			require.Greater(t, f.copyAll(t), 4)
			f.requireSame(t, "*", "events")
		})
	}
}

// Rows that the source adds, changes or removes after the snapshot do not matter, wherever they lie.
func TestCopyTakesTheSnapshotOnly(t *testing.T) {
	f := newFixture(t, "copy_snapshot")
	f.execBoth(t, "CREATE TABLE t (id int, v text); CREATE TABLE truncated (id int)")
	f.execSource(t, "INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g; INSERT INTO truncated SELECT generate_series(1, 100000)")
	f.planTables(t, 500_000)
	f.beginEpoch(t)
	want := f.src.Dump(t, digestSQL("*", "t"))
	f.execSource(t, "INSERT INTO t SELECT g, 'later' FROM generate_series(20001, 60000) g; UPDATE t SET v = 'changed' WHERE id % 3 = 0; DELETE FROM t WHERE id % 3 = 1; TRUNCATE truncated")
	require.Greater(t, f.copyAll(t), 5)
	require.Equal(t, want, f.dst.Dump(t, digestSQL("*", "t")))
	require.Equal(t, "0", f.dst.QueryValue(t, "SELECT count(*) FROM truncated"), "the stream brings the TRUNCATE as well")
}

// Long values are compressed by lz4 unless somebody has chosen otherwise: in the spec, for a column, or for the database.
func TestCopyCompressesFast(t *testing.T) {
	for _, c := range []struct {
		name, target string
		server       bool
		want         string
	}{
		{"nobody has chosen", "SELECT", false, "lz4"}, {"left to the server", "SELECT", true, "pglz"},
		{"a column's own", "ALTER TABLE t ALTER v SET COMPRESSION pglz", false, "pglz"},
		{"the database's", "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_toast_compression = pglz', current_database()); END $$", false, "pglz"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, "copy_toast")
			f.execBoth(t, "CREATE TABLE t (v text)")
			f.execTarget(t, c.target)
			f.execSource(t, "INSERT INTO t SELECT repeat('abc', 10000)")
			f.planTables(t, 1<<30)
			f.beginEpoch(t)
			o := f.options()
			o.ServerToast = c.server
			_, err := bulk.CopyParts(context.Background(), o, nil)
			require.NoError(t, err)
			require.Equal(t, c.want, f.dst.QueryValue(t, "SELECT pg_column_compression(v) FROM t"))
		})
	}
}

// A big table with one part is written frozen: nobody has to write its pages a second time.
func TestCopyFreezes(t *testing.T) {
	f := newFixture(t, "copy_freezes")
	f.execBoth(t, "CREATE TABLE frozen (id int, v text); CREATE TABLE referred (id int PRIMARY KEY, v text); CREATE TABLE busy (id int, v text)")
	f.execTarget(t, "CREATE TABLE refers (id int REFERENCES referred)")
	for _, table := range []string{"frozen", "referred", "busy"} {
		f.execSource(t, "INSERT INTO "+table+" SELECT g, repeat('x', 1000) FROM generate_series(1, 10000) g")
	}
	f.planTables(t, 1<<30)
	f.beginEpoch(t)
	reader := f.dst.Conn(t)
	_, err := reader.Exec(context.Background(), "BEGIN; SELECT count(*) FROM busy")
	require.NoError(t, err)
	f.copyAll(t)
	f.requireSame(t, "*", "frozen", "referred", "busy")
	mustExec(t, reader, "COMMIT")
	f.dst.Exec(t, "CREATE EXTENSION pageinspect")
	frozen := func(table string) string {
		return f.dst.QueryValue(t, "SELECT bool_and(t_infomask & 768 = 768) FROM heap_page_items(get_raw_page('"+table+"', 0))")
	}
	require.Equal(t, "t", frozen("frozen"))
	require.Equal(t, "f", frozen("referred"))
	require.Equal(t, "f", frozen("busy"))
}
