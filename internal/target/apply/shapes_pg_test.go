package apply

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/source/capture"
	"timeferry/internal/spool"
	"timeferry/internal/testkit/pgtest"
)

// follower is a target that follows a source through the slot, the receiver, the spool and the apply, as in a migration.
type follower struct {
	*fixture
	src    *pgtest.Database
	tables []string
}

// followSetup is what a follower begins with: the same tables on both sides, and what only one of them has.
type followSetup struct {
	both, source, target string
	tables               []string // in schema public, on the source; on the target under the same names
	names                []ident.Table
	replica              bool
}

func newFollower(t *testing.T, src *pgtest.Database, s followSetup) *follower {
	t.Helper()
	f := &follower{fixture: newFixture(t, s.both+";"+s.target, s.tables...), src: src, tables: s.tables}
	src.Exec(t, s.both+";"+s.source)
	var published []string
	for _, name := range s.tables {
		published = append(published, ident.Quote(name))
	}
	for _, name := range s.names {
		f.options.Starts[name] = 0
		published = append(published, name.Quote())
		f.tables = append(f.tables, name.Quote())
	}
	f.options.ReplicaRole, f.options.Log = s.replica, testLog(t)
	src.Exec(t, "CREATE PUBLICATION apply FOR TABLE "+strings.Join(published, ", ")+" WITH (publish_via_partition_root = true)")
	slot := fmt.Sprintf("follower_%d", time.Now().UnixNano())
	src.Exec(t, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", slot)
	sp, err := spool.Open(t.TempDir(), spool.Options{})
	require.NoError(t, err)
	receiving, stop := context.WithCancel(context.Background())
	received := make(chan error, 1)
	go func() {
		received <- (&capture.Receiver{Source: src.Endpoint, Slot: slot, Publications: []string{"apply"}, Spool: sp, Log: testLog(t)}).Run(receiving, nil)
	}()
	stopApply := f.start(t, func(from change.LSN) (Feed, error) {
		r, err := sp.NewReader(from)
		if err != nil {
			return nil, err
		}
		return NewSpoolFeed(r), nil
	})
	t.Cleanup(func() {
		_ = stopApply() // start has said so if it ended by itself
		stop()
		<-received
		require.NoError(t, sp.Close())
		eventually(t, "the walsender has seen that its receiver is gone", func() bool {
			return src.QueryValue(t, "SELECT active FROM pg_replication_slots WHERE slot_name = '"+slot+"'") == "f"
		})
		src.Exec(t, "SELECT pg_drop_replication_slot($1)", slot)
	})
	return f
}

// settle waits until the target has everything that the source has committed, and compares the tables' rows by their text.
func (f *follower) settle(t *testing.T) {
	t.Helper()
	f.await(t)
	source, target := f.src.Conn(t), f.db.Conn(t)
	for _, name := range f.tables {
		if !strings.HasPrefix(name, `"`) {
			name = ident.Quote(name)
		}
		query := fmt.Sprintf(`SELECT md5(x::text) || left(x::text, 1000) FROM %s AS x ORDER BY x::text COLLATE "C"`, name)
		require.Equal(t, lines(t, source, query), lines(t, target, query), name)
	}
}

// lines is what a query of one column gives.
func lines(t *testing.T, conn *pgx.Conn, query string) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), query)
	require.NoError(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return list
}

func (f *follower) await(t *testing.T) {
	t.Helper()
	end, err := change.ParseLSN(f.src.QueryValue(t, "SELECT pg_logical_emit_message(true, 'timeferry', 'end')"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return f.last().AppliedLSN >= end }, 2*time.Minute, 2*time.Millisecond)
}

// values are a type with values that are at its ends or have been lost elsewhere. NULL is added to all.
var values = []struct {
	kind   string
	values []string
}{
	{"boolean", []string{"true", "false"}},
	{"smallint", []string{"-32768", "32767"}},
	{"integer", []string{"-2147483648", "2147483647"}},
	{"bigint", []string{"-9223372036854775808", "9223372036854775807"}},
	{"numeric", []string{"'NaN'", "'Infinity'", "'-Infinity'", "1e-1000", "-1e1000", "1.10", "0.000"}},
	{"numeric(12,4)", []string{"-12345678.1234", "0"}},
	{"real", []string{"'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "1.17549435e-38", "3.4028235e38", "0.1"}},
	{"double precision", []string{"'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "2.2250738585072014e-308", "1.7976931348623157e308", "0.1"}},
	{"money", []string{"-92233720368547758.08", "92233720368547758.07", "1234.5"}},
	{"text", []string{"''", `E'a\tb\nc\\d\r'`, `'\N'`, "'ünïcödé 🦉'", "repeat('0123456789', 10000)"}},
	{"varchar(5)", []string{"''", "'abcde'", "'ab   '"}},
	{"char(5)", []string{"''", "'ab'", "' a'"}},
	{`"char"`, []string{"'a'", "''"}},
	{"name", []string{"''", "'A name'", "repeat('n', 63)"}},
	{"bytea", []string{`''`, `'\x00ff5c27'`, `decode(repeat('00', 9000), 'hex')`}},
	{"date", []string{"'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'", "'0044-03-15 BC'", "'0001-01-01'"}},
	{"timestamp", []string{"'infinity'", "'-infinity'", "'4713-01-01 00:00:00 BC'", "'294276-12-31 23:59:59.999999'", "'0001-01-01'", "'2024-02-29 12:00:00.000001'"}},
	{"timestamptz", []string{"'infinity'", "'-infinity'", "'4713-01-01 00:00:00+00 BC'", "'294276-12-31 23:59:59.999999+00'", "'1900-01-01 12:00:00+00'"}},
	{"time", []string{"'00:00:00'", "'24:00:00'", "'23:59:59.999999'"}},
	{"timetz", []string{"'00:00:00+15:59:59'", "'24:00:00-15:59:59'"}},
	{"interval", []string{"'-178000000 years'", "'178000000 years'", "'-1 day +02:03:04'", "'1 mon -2 days'", "'-1 year 2 mons 3 days -04:05:06.789'", "'0'"}},
	{"uuid", []string{"'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"}},
	{"json", []string{"'{}'", `'{"b":  1, "a": 2, "a": 3}'`, "'null'", `'"\u00e9"'`}},
	{"jsonb", []string{"'{}'", `'{"b":  1.00, "a": [null, ""]}'`, "'null'"}},
	{"jsonpath", []string{"'$.a[*] ? (@ > 1)'"}},
	{"xml", []string{"'<a b=\"c\">d</a>'", "'text only'", "''"}},
	{"inet", []string{"'10.0.0.1'", "'10.0.0.1/8'", "'::1/64'"}},
	{"cidr", []string{"'10.0.0.0/8'", "'::/0'"}},
	{"macaddr", []string{"'08:00:2b:01:02:03'"}},
	{"macaddr8", []string{"'08:00:2b:01:02:03:04:05'"}},
	{"bit(3)", []string{"B'101'"}},
	{"varbit", []string{"B''", "B'10110'"}},
	{"point", []string{"'(1.5,-2)'", "'(Infinity,NaN)'"}},
	{"line", []string{"'{1,2,3}'"}},
	{"lseg", []string{"'[(0,0),(1,1)]'"}},
	{"box", []string{"'(1,1),(0,0)'"}},
	{"path", []string{"'[(0,0),(1,1)]'", "'((0,0),(1,1))'"}},
	{"polygon", []string{"'((0,0),(1,1),(1,0))'"}},
	{"circle", []string{"'<(1,2),3>'"}},
	{"tsvector", []string{"''", `'''a b'':1A,2 c'`}},
	{"tsquery", []string{"'a & !b <2> c'"}},
	{"int4range", []string{"'empty'", "'(,)'", "'[1,10)'"}},
	{"numrange", []string{"'[1.10,2.00]'", "'(,3]'"}},
	{"tstzrange", []string{"'[\"2024-01-01 00:00:00+00\",infinity)'", "'[-infinity,)'"}},
	{"daterange", []string{"'[0044-03-15 BC,2024-01-01)'"}},
	{"int4multirange", []string{"'{}'", "'{[1,2),[5,9)}'"}},
	{"pg_lsn", []string{"'0/0'", "'FFFFFFFF/FFFFFFFF'"}},
	{"pg_snapshot", []string{"'10:20:10,14,15'"}},
	{"oid", []string{"0", "4294967295"}},
	{"xid8", []string{"'18446744073709551615'"}},
	{"regclass", []string{"'referred'", "'pg_class'"}},
	{"regtype", []string{"'mood'", "'integer'"}},
	{"refcursor", []string{"'cursor'"}},
	{"mood", []string{"'sad'", `'very "happy"'`}},
	{"short", []string{"'abc'", "''"}},
	{"positive", []string{"1"}},
	{"tags", []string{"'{a,NULL,\"\"}'", "'{}'"}},
	{"pair", []string{`ROW(1, 'a,b"c\d')`, "ROW(NULL, NULL)", "ROW(NULL, '')"}},
	{"nested", []string{`ROW(ROW(1, 'x')::pair, ARRAY['sad']::mood[])`}},
	{"floats", []string{"'[1.5,2.5)'", "'empty'"}},
	{"citext", []string{"'MiXed'"}},
	{"hstore", []string{`'"a"=>"1", "b"=>NULL, "c d"=>"e\"f"'`, "''"}},
	{"ltree", []string{"'a.b.c'", "''"}},
	{"cube", []string{"'(1,2),(3,4)'"}},
	{"isbn13", []string{"'978-0-393-04002-9'"}},
	{"integer[]", []string{"'{}'", "'{{1,2},{3,NULL}}'", "'[0:1]={5,6}'"}},
	{"text[]", []string{`ARRAY['', 'NULL', 'a"b', 'c\d', '{}', ' x ', NULL]`}},
	{"timestamptz[]", []string{"ARRAY['infinity', '4713-01-01 00:00:00+00 BC']::timestamptz[]"}},
	{"numeric[]", []string{"ARRAY['NaN', '1.50', 'Infinity']::numeric[]"}},
	{"mood[]", []string{`ARRAY['sad', 'very "happy"', NULL]::mood[]`}},
	{"pair[]", []string{`ARRAY[ROW(1, 'a"b')::pair, NULL]`}},
	{"short[]", []string{"ARRAY['abc']::short[]"}},
	{"citext[]", []string{"ARRAY['A', 'b']::citext[]"}},
	{"hstore[]", []string{`ARRAY['a=>1', 'b=>NULL']::hstore[]`}},
	{"int4range[]", []string{"ARRAY['[1,2)', 'empty']::int4range[]"}},
	{"jsonb[]", []string{`ARRAY['{"a": "b,c"}', 'null']::jsonb[]`}},
	{"bytea[]", []string{`ARRAY['\x00', '\x5c']::bytea[]`}},
	{"box[]", []string{`ARRAY['(1,1),(0,0)', '(2,2),(1,1)']::box[]`}},
}

// typesOfOurs are made on both sides.
const typesOfOurs = `CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION cube; CREATE EXTENSION isn;
	CREATE TABLE referred (id int); CREATE TYPE mood AS ENUM ('sad', 'very "happy"'); CREATE DOMAIN short AS varchar(3) CHECK (value <> 'bad'); CREATE DOMAIN positive AS int CHECK (value > 0) NOT NULL DEFAULT 1;
	CREATE DOMAIN tags AS text[]; CREATE TYPE pair AS (a int, b text); CREATE TYPE nested AS (p pair, m mood[]); CREATE TYPE floats AS RANGE (subtype = float8);`

// Every type has two tables: one with a primary key, and one whose rows are found by all their values.
func TestEveryTypeArrivesAsItWas(t *testing.T) {
	modes(t, func(t *testing.T, replica bool) {
		src := pgtest.Source(t)
		setup := followSetup{both: typesOfOurs, replica: replica}
		for i, v := range values {
			setup.both += fmt.Sprintf("CREATE TABLE k%d (id serial PRIMARY KEY, v %s, note text); CREATE TABLE f%d (v %s, note text);", i, v.kind, i, v.kind)
			setup.source += fmt.Sprintf("ALTER TABLE f%d REPLICA IDENTITY FULL;", i)
			setup.tables = append(setup.tables, fmt.Sprintf("k%d", i), fmt.Sprintf("f%d", i))
		}
		f := newFollower(t, src, setup)
		var changes, ends []string
		for i, v := range values {
			literals := v.values
			if v.kind != "positive" {
				literals = append(literals[:len(literals):len(literals)], "NULL")
			}
			for _, l := range literals {
				changes = append(changes, fmt.Sprintf("INSERT INTO k%[1]d (v, note) VALUES (%[2]s, 'one'), (%[2]s, 'two'), (%[2]s, 'three')", i, l),
					fmt.Sprintf("INSERT INTO f%[1]d VALUES (%[2]s, 'a'), (%[2]s, 'a'), (%[2]s, 'b')", i, l))
			}
			changes = append(changes, // many rows of a type take other ways to the target than few
				fmt.Sprintf("INSERT INTO k%[1]d (v, note) SELECT v, 'many' FROM k%[1]d, generate_series(1, 40)", i),
				fmt.Sprintf("UPDATE k%d SET note = 'two more' WHERE note = 'two'", i),
				fmt.Sprintf("DELETE FROM k%d WHERE note = 'three'", i),
				fmt.Sprintf("UPDATE k%[1]d SET v = (SELECT v FROM k%[1]d ORDER BY id LIMIT 1) WHERE id %% 3 = 0", i),
				fmt.Sprintf("DELETE FROM f%[1]d WHERE ctid IN (SELECT min(ctid) FROM f%[1]d WHERE note = 'a' GROUP BY v::text)", i),
				fmt.Sprintf("UPDATE f%[1]d SET note = 'c' WHERE note = 'b'", i))
			ends = append(ends, fmt.Sprintf("DELETE FROM f%d", i), fmt.Sprintf("DELETE FROM k%d WHERE id %% 2 = 0", i))
		}
		conn := src.Conn(t)
		run := func(statements []string) {
			for _, sql := range statements {
				_, err := conn.Exec(t.Context(), sql)
				require.NoError(t, err, sql)
			}
			f.settle(t)
		}
		run(changes)
		run(ends)
	})
}

// What a database says about the form of values must change nothing.
func TestSettingsOfBothDatabasesDoNotMatter(t *testing.T) {
	src := pgtest.Source(t)
	f := newFollower(t, src, followSetup{replica: true, tables: []string{"t"},
		both: `CREATE TABLE referred (id int); CREATE TABLE t (id int PRIMARY KEY, d date, ts timestamptz, i interval, f float8, b bytea, a text[], r regclass, x xml, c char(4))`,
		source: `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET DateStyle = ''SQL, DMY''', current_database()); EXECUTE format('ALTER DATABASE %I SET IntervalStyle = ''sql_standard''', current_database());
			EXECUTE format('ALTER DATABASE %I SET extra_float_digits = -10', current_database()); EXECUTE format('ALTER DATABASE %I SET bytea_output = ''escape''', current_database());
			EXECUTE format('ALTER DATABASE %I SET TimeZone = ''Asia/Kathmandu''', current_database()); EXECUTE format('ALTER DATABASE %I SET search_path = public', current_database()); END $$`,
		target: `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET DateStyle = ''Postgres, DMY''', current_database()); EXECUTE format('ALTER DATABASE %I SET IntervalStyle = ''sql_standard''', current_database());
			EXECUTE format('ALTER DATABASE %I SET array_nulls = off', current_database()); EXECUTE format('ALTER DATABASE %I SET xmloption = document', current_database());
			EXECUTE format('ALTER DATABASE %I SET TimeZone = ''America/Caracas''', current_database()); EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
			EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database()); END $$`})
	for n := range 3 {
		src.Exec(t, fmt.Sprintf(`INSERT INTO t SELECT 1000 * %d + n, '2024-02-03', '2024-02-03 04:05:06.7+00', '-1 day 2 hours', 0.1 + n / 3.0, '\x00275c', ARRAY['NULL', NULL], 'public.referred', 'only text', 'ab' FROM generate_series(1, %d) n`, n, []int{1, 20, 400}[n]))
		src.Exec(t, "UPDATE t SET i = i - interval '1 mon', f = f + 0.1")
	}
	f.await(t)
	const query = `SELECT id, d::text = '2024-02-03', ts = '2024-02-03 04:05:06.7+00', extract(month FROM i), extract(day FROM i), extract(hour FROM i), float8send(f)::text, encode(b, 'hex'), a[1], a[2] IS NULL, r::text, x::text, c FROM t ORDER BY id`
	plain := func(db *pgtest.Database) []string {
		conn := db.Conn(t)
		rows, err := conn.Query(t.Context(), query)
		require.NoError(t, err)
		var lines []string
		for rows.Next() {
			values, err := rows.Values()
			require.NoError(t, err)
			lines = append(lines, fmt.Sprint(values...))
		}
		require.NoError(t, rows.Err())
		return lines
	}
	require.Equal(t, plain(src), plain(f.db))
}

func TestNamesOfAnyKind(t *testing.T) {
	names := []ident.Table{{Schema: `S"ch.em'a`, Name: strings.Repeat("ü", 31)}, {Schema: "select", Name: "table"}, {Schema: "public", Name: `back\slash %s $1 {"json"}`},
		{Schema: "public", Name: "UPPER lower"}, {Schema: "public", Name: "tab\tnew\nline"}, {Schema: "public", Name: "--comment; DROP TABLE x"}}
	columns := []string{`a"b`, "select", "c d", `e\f`, "$1", "ü", "%s", "tab\t", "n", "t", "u", "k0", "v0", "a0"}
	both := `CREATE SCHEMA "S""ch.em'a"; CREATE SCHEMA "select";`
	for _, name := range names {
		var list []string
		for _, c := range columns {
			list = append(list, ident.Quote(c)+" text")
		}
		both += fmt.Sprintf("CREATE TABLE %s (%s int PRIMARY KEY, %s);", name.Quote(), ident.Quote(strings.Repeat("k", 63)), strings.Join(list, ", "))
	}
	modes(t, func(t *testing.T, replica bool) {
		src := pgtest.Source(t)
		f := newFollower(t, src, followSetup{both: both, names: names, replica: replica})
		for _, name := range names {
			row := strings.TrimSuffix(strings.Repeat("'x', ", len(columns)), ", ")
			for _, n := range []int{1, 30, 300} {
				src.Exec(t, fmt.Sprintf("INSERT INTO %s SELECT %d + n, %s FROM generate_series(1, %d) n", name.Quote(), n*1000, row, n))
			}
			for _, c := range columns {
				src.Exec(t, fmt.Sprintf("UPDATE %[1]s SET %[2]s = 'new' WHERE %[3]s %% 7 = 0", name.Quote(), ident.Quote(c), strings.Repeat("k", 63)))
			}
			src.Exec(t, fmt.Sprintf("DELETE FROM %s WHERE %s %% 5 = 0", name.Quote(), strings.Repeat("k", 63)))
		}
		f.settle(t)
	})
}

func TestTheWidestTable(t *testing.T) {
	const columns = 1590
	var list, sums []string
	for i := range columns {
		list = append(list, fmt.Sprintf("c%d int", i))
		sums = append(sums, fmt.Sprint(i))
	}
	src := pgtest.Source(t)
	f := newFollower(t, src, followSetup{both: "CREATE TABLE wide (id int PRIMARY KEY, " + strings.Join(list, ", ") + ")", tables: []string{"wide"}, replica: true})
	src.Exec(t, "INSERT INTO wide SELECT n, "+strings.Join(sums, ", ")+" FROM generate_series(1, 400) n")
	src.Exec(t, "INSERT INTO wide SELECT 1000 + n, "+strings.Join(sums, ", ")+" FROM generate_series(1, 40) n")
	src.Exec(t, "UPDATE wide SET c0 = 7, c1589 = 8 WHERE id % 2 = 0")
	src.Exec(t, "UPDATE wide SET c0 = 9 WHERE id = 1")
	f.settle(t)
}
