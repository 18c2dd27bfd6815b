package verify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/fixture"
	"timeferry/internal/testkit/pgtest"
	"timeferry/internal/verify"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func table(name string, columns ...string) verify.Table {
	t := ident.Table{Schema: "public", Name: name}
	return verify.Table{Source: t, Target: t, Columns: columns}
}

func mustCompare(t *testing.T, src, dst *pgtest.Database, o verify.Options, tables ...verify.Table) []verify.Result {
	t.Helper()
	o.Source, o.Target = src.Master, dst.Master
	if o.Method == "" {
		o.Method = verify.MethodChecksum
	}
	var results []verify.Result
	require.NoError(t, verify.Compare(context.Background(), o, tables, func(r verify.Result) error {
		results = append(results, r)
		return nil
	}))
	return results
}

// owned makes what the superuser made readable to the masters, who compare.
func owned(src, dst *pgtest.Database, t *testing.T) {
	t.Helper()
	src.Exec(t, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+pgtest.SourceMaster)
	dst.Exec(t, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+pgtest.TargetMaster)
}

// everyType has a column of each type whose text could depend on something, with its extremes.
const everyType = `
CREATE TYPE mood AS ENUM ('sad', 'happy, "really"');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN price AS numeric(20, 4);
CREATE TABLE named (id int);
CREATE TABLE kinds (
	id bigint PRIMARY KEY, b boolean, i2 smallint, i4 int, f4 real, f8 double precision, n numeric, n2 numeric(10, 2), m money, t text, v varchar(20),
	c char(8), q "char", by bytea, d date, ts timestamp, tz timestamptz, ti time, tt timetz, iv interval, u uuid, j json, jb jsonb, x xml,
	ip inet, ci cidr, mac macaddr, pt point, bx box, pg polygon, bi bit(4), vb varbit, tv tsvector, r int4range, mr int4multirange, tr tstzrange,
	ai int[], at text[], af float8[], e mood, p pair, ap pair[], pr price, rc regclass, l pg_lsn, o oid, "odd "" name" text);
INSERT INTO kinds SELECT n, n % 2 = 0, n, -n, n / 3.0, n / 7.0, n / 11.0, n / 13.0, n, 'row ' || n, 'ü' || n,
	n::text, 'q', decode(md5(n::text), 'hex'), date '2024-02-29' + n, timestamp '2024-03-31 02:30' + n * interval '1 hour',
	timestamptz '2024-03-31 02:30:00.123456+02' + n * interval '1 hour', time '23:59:59.999999', timetz '12:00+05:30', n * interval '1 mon 2 days -3.5 seconds',
	md5(n::text)::uuid, '{"b": 1,  "a": [1.0, 1e400]}', '{"b": 1, "a": [1.0, 1.10, null]}', '<a b="c">d</a>',
	'10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', point(n / 3.0, -n), box(point(0, 0), point(n, 1e-300)), '((0,0),(1,1.5),(2,0))', B'1010', B'101',
	to_tsvector('simple', 'a fat cat'), int4range(1, n + 2), int4multirange(int4range(1, 3), int4range(5, 9)), tstzrange('2024-01-01', NULL),
	ARRAY[1, NULL, n], ARRAY['a,b', '{"', NULL, ''], ARRAY['NaN', '-Infinity', 1e-320]::float8[], 'happy, "really"', ROW(n, 'x,(y)"')::pair, ARRAY[ROW(n, NULL)::pair],
	n / 17.0, 'named'::regclass, '16/B374D848', n, 'backslash \ and comma,'
	FROM generate_series(1, 50) n;
INSERT INTO kinds (id, f4, f8, n, d, ts, tz, iv, t) VALUES
	(101, 'NaN', 'NaN', 'NaN', 'infinity', '-infinity', 'infinity', '178000000 years', ''),
	(102, 'Infinity', '-Infinity', 'Infinity', '-infinity', 'infinity', '-infinity', '-178000000 years', NULL),
	(103, 3.4028235e38, 1.7976931348623157e308, 1e300, '4713-01-01 BC', '4713-01-01 BC', '4713-01-01 BC', '0', E'\t\n\\'),
	(104, 1e-45, 5e-324, 1e-300, '5874897-12-31', '294276-12-31', '294276-12-31', '1 us', '"'),
	(105, -0.0, '-0', -0.0, NULL, NULL, NULL, NULL, 'NULL');`

func kindsColumns(t *testing.T, src *pgtest.Database) []string {
	t.Helper()
	return src.Dump(t, "SELECT attname FROM pg_attribute WHERE attrelid = 'kinds'::regclass AND attnum > 0 ORDER BY attnum")
}

func TestEveryTypeIsTheSameOnBothVersions(t *testing.T) {
	for _, major := range fixture.Majors(12, 15, 18) {
		t.Run(fmt.Sprint(major), func(t *testing.T) { everyTypeIsTheSame(t, pgtest.SourceOf(t, major), pgtest.Target(t)) })
	}
}

func everyTypeIsTheSame(t *testing.T, src, dst *pgtest.Database) {
	version, err := pgkit.Version(t.Context(), src.Conn(t))
	require.NoError(t, err)
	for _, d := range []*pgtest.Database{src, dst} {
		types := everyType
		if version < 140000 { // what a source of that version cannot have
			types = strings.NewReplacer("mr int4multirange, ", "", " int4multirange(int4range(1, 3), int4range(5, 9)),", "").Replace(types)
			types = strings.ReplaceAll(types, "(102, 'Infinity', '-Infinity', 'Infinity',", "(102, 'Infinity', '-Infinity', 'NaN',")
		}
		d.Exec(t, types)
	}
	// The databases' own defaults for how values are written must not matter.
	dst.Exec(t, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET TimeZone = ''Asia/Tokyo''', current_database());
		EXECUTE format('ALTER DATABASE %I SET DateStyle = ''German''', current_database()); EXECUTE format('ALTER DATABASE %I SET extra_float_digits = 0', current_database());
		EXECUTE format('ALTER DATABASE %I SET bytea_output = ''escape''', current_database()); EXECUTE format('ALTER DATABASE %I SET search_path = public', current_database());
		EXECUTE format('ALTER DATABASE %I SET IntervalStyle = ''iso_8601''', current_database()); END $$`)
	owned(src, dst, t)
	results := mustCompare(t, src, dst, verify.Options{}, table("kinds", kindsColumns(t, src)...))
	require.Len(t, results, 1)
	require.Equal(t, ident.Table{Schema: "public", Name: "kinds"}, results[0].Table)
	require.EqualValues(t, 55, results[0].SourceRows)
	require.Equal(t, results[0].SourceDigest, results[0].TargetDigest)
	require.True(t, results[0].Equal)

	// Column by column a change is seen: no type's text hides it.
	for _, column := range kindsColumns(t, src) {
		if column == "id" {
			continue
		}
		q := ident.Quote(column)
		dst.Exec(t, "BEGIN; CREATE TABLE saved AS SELECT * FROM kinds WHERE id = 7; UPDATE kinds SET "+q+" = NULL WHERE id = 7; COMMIT")
		require.False(t, mustCompare(t, src, dst, verify.Options{}, table("kinds", kindsColumns(t, src)...))[0].Equal, column)
		dst.Exec(t, "BEGIN; DELETE FROM kinds WHERE id = 7; INSERT INTO kinds SELECT * FROM saved; DROP TABLE saved; COMMIT")
	}
	require.True(t, mustCompare(t, src, dst, verify.Options{}, table("kinds", kindsColumns(t, src)...))[0].Equal)
}

func TestDifferencesAreSeen(t *testing.T) {
	const base = "CREATE TABLE t (id int, a text, b text, f float8); INSERT INTO t SELECT n, 'a' || n, 'b' || n, n / 10.0 FROM generate_series(1, 1000) n;"
	src, dst := pgtest.Source(t), pgtest.Target(t)
	for name, c := range map[string]struct {
		source, target string
		count, digest  bool // equal?
	}{
		"nothing":                 {"", "", true, true},
		"another order of rows":   {"", "CREATE TABLE o AS SELECT * FROM t ORDER BY id DESC; TRUNCATE t; INSERT INTO t SELECT * FROM o", true, true},
		"one cell":                {"", "UPDATE t SET b = 'B7' WHERE id = 7", true, false},
		"one row missing":         {"", "DELETE FROM t WHERE id = 500", false, false},
		"one row twice":           {"", "INSERT INTO t SELECT * FROM t WHERE id = 500", false, false},
		"one for another":         {"", "DELETE FROM t WHERE id = 500; INSERT INTO t SELECT * FROM t WHERE id = 499", true, false},
		"two rows twice":          {"INSERT INTO t SELECT * FROM t WHERE id = 1", "INSERT INTO t SELECT * FROM t WHERE id = 2", true, false},
		"null for empty":          {"UPDATE t SET a = '' WHERE id = 7", "UPDATE t SET a = NULL WHERE id = 7", true, false},
		"null for 'NULL'":         {"UPDATE t SET a = 'NULL' WHERE id = 7", "UPDATE t SET a = NULL WHERE id = 7", true, false},
		"a moved column border":   {"UPDATE t SET a = 'x,y', b = 'z' WHERE id = 7", "UPDATE t SET a = 'x', b = 'y,z' WHERE id = 7", true, false},
		"swapped columns":         {"", "UPDATE t SET a = b, b = a WHERE id = 7", true, false},
		"cells swapped over rows": {"", "UPDATE t SET a = CASE id WHEN 7 THEN 'a8' ELSE 'a7' END WHERE id IN (7, 8)", true, false},
		"trailing blank":          {"", "UPDATE t SET a = a || ' ' WHERE id = 7", true, false},
		"upper case":              {"", "UPDATE t SET a = upper(a) WHERE id = 7", true, false},
		"last bit of a float":     {"UPDATE t SET f = 0.3 WHERE id = 7", "UPDATE t SET f = 0.1::float8 + 0.2::float8 WHERE id = 7", true, false},
		"negative zero":           {"UPDATE t SET f = '0' WHERE id = 7", "UPDATE t SET f = '-0' WHERE id = 7", true, false},
		"both empty":              {"TRUNCATE t", "TRUNCATE t", true, true},
		"one empty":               {"", "TRUNCATE t", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			src.Exec(t, "DROP TABLE IF EXISTS t, o;"+base+c.source)
			dst.Exec(t, "DROP TABLE IF EXISTS t, o;"+base+c.target)
			owned(src, dst, t)
			sum := mustCompare(t, src, dst, verify.Options{}, table("t", "id", "a", "b", "f"))
			require.Equal(t, c.digest, sum[0].Equal)
			count := mustCompare(t, src, dst, verify.Options{Method: verify.MethodCount}, table("t", "id", "a", "b", "f"))
			require.Equal(t, c.count, count[0].Equal)
			require.Equal(t, sum[0].SourceRows, count[0].SourceRows)
			require.Empty(t, count[0].SourceDigest)
		})
	}
}

func TestColumnsAreComparedByName(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	src.Exec(t, "CREATE TABLE t (gone int, id int, a text, twice int GENERATED ALWAYS AS (id * 2) STORED); ALTER TABLE t DROP gone; INSERT INTO t VALUES (1, 'x')")
	dst.Exec(t, "CREATE TABLE t (extra int DEFAULT 9, a text, id bigint); INSERT INTO t (id, a) VALUES (1, 'x')")
	owned(src, dst, t)
	require.True(t, mustCompare(t, src, dst, verify.Options{}, table("t", "id", "a"))[0].Equal)
	require.True(t, mustCompare(t, src, dst, verify.Options{}, table("t"))[0].Equal)
}

// Trees of tables: where rows lie must not matter, and none may be forgotten on both sides at once.
func TestTreesAreReadWhole(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	const rows = "SELECT timestamptz '2024-01-01' + n * interval '5 hours', n FROM generate_series(1, 500) n"
	partitions := ` (ts timestamptz NOT NULL, n int) PARTITION BY RANGE (ts);
		CREATE TABLE %[1]s_a PARTITION OF %[1]s FOR VALUES FROM (MINVALUE) TO ('2024-02-01');
		CREATE TABLE %[1]s_b PARTITION OF %[1]s DEFAULT; INSERT INTO %[1]s ` + rows + ";"
	src.Exec(t, "CREATE TABLE plain (ts timestamptz NOT NULL, n int); INSERT INTO plain "+rows)
	src.Exec(t, "CREATE TABLE parted "+fmt.Sprintf(partitions, "parted"))
	src.Exec(t, "CREATE TABLE same "+fmt.Sprintf(partitions, "same"))
	const inherits = "CREATE TABLE parent (n int); CREATE TABLE child () INHERITS (parent); INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (3);"
	src.Exec(t, inherits)
	dst.Exec(t, `CREATE TABLE plain (ts timestamptz NOT NULL, n int); SELECT create_hypertable('plain', 'ts'); INSERT INTO plain `+rows)
	dst.Exec(t, `CREATE TABLE parted (ts timestamptz NOT NULL, n int); SELECT create_hypertable('parted', 'ts'); INSERT INTO parted `+rows)
	dst.Exec(t, "CREATE TABLE same "+fmt.Sprintf(partitions, "same"))
	dst.Exec(t, inherits+"INSERT INTO child VALUES (4)") // the parent's own rows are the same
	owned(src, dst, t)

	trees := []verify.Table{table("plain", "ts", "n"), table("parted", "ts", "n"), table("same", "ts", "n"), table("parent", "n"), table("child", "n")}
	byName := func() map[string]verify.Result {
		m := map[string]verify.Result{}
		for _, r := range mustCompare(t, src, dst, verify.Options{Parallel: 3}, trees...) {
			m[r.Table.Name] = r
		}
		return m
	}
	got := byName()
	for _, name := range []string{"plain", "parted", "same"} {
		require.True(t, got[name].Equal, name)
		require.EqualValues(t, 500, got[name].SourceRows, name)
	}
	require.True(t, got["parent"].Equal)
	require.EqualValues(t, 2, got["parent"].SourceRows)
	require.False(t, got["child"].Equal)

	root := table("parent", "n")
	root.Root = true
	require.EqualValues(t, 3, mustCompare(t, src, dst, verify.Options{}, root)[0].SourceRows)

	dst.Exec(t, "UPDATE parted SET n = -1 WHERE n = 77; DELETE FROM plain WHERE n = 5; UPDATE same_b SET n = n + 1")
	got = byName()
	for _, name := range []string{"plain", "parted", "same"} {
		require.False(t, got[name].Equal, name)
	}
}

func TestSnapshotsShowTheMomentTheyWereTaken(t *testing.T) {
	ctx := context.Background()
	src, dst := pgtest.Source(t), pgtest.Target(t)
	snapshot := func(d *pgtest.Database) (id string, end func()) {
		conn := d.Conn(t)
		_, err := conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ")
		require.NoError(t, err)
		require.NoError(t, conn.QueryRow(ctx, "SELECT pg_export_snapshot()").Scan(&id))
		return id, func() { _, err := conn.Exec(ctx, "COMMIT"); require.NoError(t, err) }
	}
	var tables []verify.Table
	for n := range 8 {
		name := fmt.Sprintf("t%d", n)
		for _, d := range []*pgtest.Database{src, dst} {
			d.Exec(t, "CREATE TABLE "+name+" AS SELECT generate_series(1, 10) AS id")
		}
		tables = append(tables, table(name, "id"))
	}
	owned(src, dst, t)
	source, endSource := snapshot(src)
	target, endTarget := snapshot(dst)
	src.Exec(t, "INSERT INTO t0 VALUES (11); DELETE FROM t1")
	dst.Exec(t, "UPDATE t7 SET id = 0")
	o := verify.Options{Source: src.Master, Target: dst.Master, SourceSnapshot: source, TargetSnapshot: target, Method: verify.MethodChecksum, Parallel: 3}
	seen := 0
	require.NoError(t, verify.Compare(ctx, o, tables, func(r verify.Result) error {
		if seen++; seen == 1 { // from the first result on the exporters may go
			endSource()
			endTarget()
		}
		require.True(t, r.Equal, r.Table)
		return nil
	}))
	require.Equal(t, 8, seen)

	err := verify.Compare(ctx, o, tables, func(verify.Result) error { return nil })
	require.ErrorContains(t, err, "snapshot")
}

func TestErrorsNameTableAndSide(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	src.Exec(t, "CREATE TABLE here (id int); CREATE TABLE common (id int); CREATE TABLE hidden (id int); CREATE TABLE secret (id int); INSERT INTO hidden VALUES (1)")
	dst.Exec(t, "CREATE TABLE common (id int); CREATE TABLE hidden (id int); CREATE TABLE secret (id int); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY")
	owned(src, dst, t)
	src.Exec(t, "REVOKE ALL ON secret FROM "+pgtest.SourceMaster)
	for name, c := range map[string]struct {
		table verify.Table
		want  []string
		class fault.Class
	}{
		"missing table":  {table("here", "id"), []string{"public.here", "missing on the target"}, fault.Integrity},
		"missing column": {table("common", "id", "no"), []string{"public.common", `column "no" does not exist`}, fault.Unknown},
		"no privilege":   {table("secret", "id"), []string{"public.secret", "on the source", "grant SELECT"}, fault.Operator},
		"row security":   {table("hidden", "id"), []string{"public.hidden", "on the target", "row-level security"}, fault.Operator},
	} {
		t.Run(name, func(t *testing.T) {
			err := verify.Compare(context.Background(), verify.Options{Source: src.Master, Target: dst.Master, Method: verify.MethodChecksum, Parallel: 2},
				[]verify.Table{table("common", "id"), c.table}, func(verify.Result) error { return nil })
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			require.Equal(t, c.class, fault.Classify(err))
		})
	}
}

func TestCallersErrorAndCancellationEndIt(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	for _, d := range []*pgtest.Database{src, dst} {
		d.Exec(t, "CREATE TABLE a (id int); CREATE TABLE b (id int)")
	}
	owned(src, dst, t)
	o := verify.Options{Source: src.Master, Target: dst.Master, Method: verify.MethodCount}
	stop := errors.New("enough")
	calls := 0
	err := verify.Compare(context.Background(), o, []verify.Table{table("a", "id"), table("b", "id")}, func(verify.Result) error { calls++; return stop })
	require.ErrorIs(t, err, stop)
	require.Equal(t, 1, calls)

	ctx, cancel := context.WithCancel(context.Background())
	err = verify.Compare(ctx, o, []verify.Table{table("a", "id"), table("b", "id")}, func(verify.Result) error { cancel(); return nil })
	require.ErrorIs(t, err, context.Canceled)

	o.Method = "hope"
	require.ErrorContains(t, verify.Compare(context.Background(), o, nil, nil), "hope")
}

func TestOtherEncodingIsTheSameText(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	const latin = "latin_of_verify"
	src.Exec(t, "CREATE DATABASE "+latin+" ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
	t.Cleanup(func() { src.Exec(t, "DROP DATABASE "+latin+" WITH (FORCE)") })
	inLatin := *src
	inLatin.Endpoint.Database, inLatin.Master.Database = latin, latin
	const words = "CREATE TABLE t (id int, w text); INSERT INTO t VALUES (1, U&'gr\\00fc\\00df dich'), (2, 'plain')"
	inLatin.Exec(t, words)
	dst.Exec(t, words)
	owned(&inLatin, dst, t)
	require.True(t, mustCompare(t, &inLatin, dst, verify.Options{}, table("t", "id", "w"))[0].Equal)
	dst.Exec(t, "UPDATE t SET w = replace(w, 'dich', 'mich')")
	require.False(t, mustCompare(t, &inLatin, dst, verify.Options{}, table("t", "id", "w"))[0].Equal)
}
