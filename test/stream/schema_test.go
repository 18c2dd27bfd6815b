package stream

import (
	"fmt"
	"strings"
)

// side says whose schema is meant.
type side int

const (
	onSource side = iota
	onTarget      // Timeferry's
	onNative      // the native subscription's
)

// table is one of the workload's tables, for comparing.
type table struct {
	name    string // quoted as SQL wants it
	columns string // by name, since their order differs
	// ours means that native replication cannot follow it: a hypertable, types without an equality, or a key
	// that is not the target's.
	ours bool
}

// oddName and oddTable need quoting in every way.
const (
	oddSchema = `"We ird.Näme"`
	oddTable  = oddSchema + `."T ""q"" '1' $1 %d \n"`
)

// longName is as long as names may be.
var longName = strings.Repeat("n", 63)

// schema is what each side has; the differences are those that a migration may find: other columns' order, dropped columns,
// partitions that became one table or a hypertable, more columns.
func schema(s side) string {
	b := strings.Builder{}
	b.WriteString("SET client_min_messages = warning;" + kindTypes + kindsTable(s == onTarget))
	b.WriteString(`
CREATE TABLE keyed (id bigint PRIMARY KEY, code text NOT NULL, u int UNIQUE, v text, big text, big2 jsonb, n int NOT NULL DEFAULT 0);
ALTER TABLE keyed ALTER big SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX ON keyed (code);
CREATE TABLE odd_keys (n numeric, c citext, d float8, v int, PRIMARY KEY (n, c, d));
CREATE TABLE bag (a int, b text, c date, big text);
ALTER TABLE bag ALTER big SET STORAGE EXTERNAL;
ALTER TABLE bag REPLICA IDENTITY FULL;
CREATE TABLE full_keyed (id int PRIMARY KEY, v text, big text);
ALTER TABLE full_keyed ALTER big SET STORAGE EXTERNAL;
ALTER TABLE full_keyed REPLICA IDENTITY FULL;
CREATE TABLE counted (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, twice int GENERATED ALWAYS AS (v * 2) STORED, v int, s serial);
CREATE TABLE parent (id int PRIMARY KEY, v int);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE, v int);
CREATE TABLE kept (id int, v text);
ALTER TABLE kept REPLICA IDENTITY NOTHING;
CREATE TABLE nothing ();
ALTER TABLE nothing REPLICA IDENTITY NOTHING;
CREATE TABLE barrier (n int PRIMARY KEY);
CREATE SCHEMA ` + oddSchema + `;
`)
	switch s {
	case onSource:
		b.WriteString(`
CREATE TABLE by_index (a int, b text NOT NULL, gone1 int, c int NOT NULL, v text);
ALTER TABLE by_index DROP gone1;`)
	default:
		b.WriteString(`
CREATE TABLE by_index (v text, c int NOT NULL, b text NOT NULL, a int);`)
	}
	b.WriteString(droppedTable(s))
	b.WriteString(`
CREATE UNIQUE INDEX by_index_key ON by_index (c, b);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_key;
CREATE TABLE ` + oddTable + ` ("select" int PRIMARY KEY, "a b" text, "x""y" text, "1" int, "ü" text, ` + longName + ` int);
`)
	b.WriteString(partitioned(s) + oursOnly(s))
	return b.String()
}

// droppedTable makes the table that columns were dropped from, and that others are added to.
func droppedTable(s side) string {
	if s != onSource {
		return "CREATE TABLE dropped (w int, more text DEFAULT 'default', v text, id int PRIMARY KEY);"
	}
	return `CREATE TABLE dropped (gone1 int, id int PRIMARY KEY, gone2 text NOT NULL DEFAULT 'x', v text, w int);
INSERT INTO dropped VALUES (1, 1, 'y', 'z', 2); DELETE FROM dropped;
ALTER TABLE dropped DROP gone1, DROP gone2;`
}

// partitioned is a partition tree of two levels; one table elsewhere.
func partitioned(s side) string {
	const columns = "CREATE TABLE parted (id int, d date, v text, big text, PRIMARY KEY (id, d))"
	if s != onSource {
		return columns + ";"
	}
	return columns + ` PARTITION BY RANGE (d);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE parted_2 (big text, v text, gone int, d date NOT NULL, id int NOT NULL) PARTITION BY HASH (id);
ALTER TABLE parted_2 DROP gone;
CREATE TABLE parted_2a PARTITION OF parted_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted_2b PARTITION OF parted_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
CREATE TABLE parted_rest PARTITION OF parted DEFAULT;`
}

// oursOnly are the tables that native replication cannot follow.
func oursOnly(s side) string {
	if s == onNative {
		return ""
	}
	sql := `
CREATE TABLE rekeyed (id int PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE loose (a numeric, j json, p point, r float8, c citext, x xml);
ALTER TABLE loose REPLICA IDENTITY FULL;
CREATE TABLE metrics (ts timestamptz, dev int, v float8, note text, PRIMARY KEY (dev, ts));
CREATE TABLE readings (ts timestamptz NOT NULL, v int);
ALTER TABLE readings REPLICA IDENTITY FULL;
CREATE TABLE flow (id int, d date, v text, PRIMARY KEY (id, d))`
	if s == onTarget {
		return sql + `;
SELECT create_hypertable('metrics', 'ts', chunk_time_interval => interval '7 days');
SELECT create_hypertable('readings', 'ts', chunk_time_interval => interval '7 days');
SELECT create_hypertable('flow', 'd', chunk_time_interval => interval '20 days');`
	}
	return sql + ` PARTITION BY RANGE (d);
CREATE TABLE flow_1 PARTITION OF flow FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE flow_rest PARTITION OF flow DEFAULT;`
}

// tables are all that are compared, in the order in which they may be emptied.
func tables() []table {
	kindColumns := []string{"id"}
	for _, k := range kinds {
		kindColumns = append(kindColumns, k.column())
	}
	return []table{
		{name: "public.kinds", columns: strings.Join(kindColumns, ", ")},
		{name: "public.keyed", columns: "id, code, u, v, big, big2, n"},
		{name: "public.odd_keys", columns: "n, c, d, v"},
		{name: "public.by_index", columns: "a, b, c, v"},
		{name: "public.bag", columns: "a, b, c, big"},
		{name: "public.full_keyed", columns: "id, v, big"},
		{name: "public.counted", columns: "id, twice, v, s"},
		{name: "public.parent", columns: "id, v"},
		{name: "public.child", columns: "id, parent, v"},
		{name: "public.kept", columns: "id, v"},
		{name: "public.nothing", columns: "1"},
		{name: "public.dropped", columns: "id, v, w"},
		{name: "public.parted", columns: "id, d, v, big"},
		{name: oddTable, columns: `"select", "a b", "x""y", "1", "ü", ` + longName},
		{name: "public.rekeyed", columns: "id, code", ours: true},
		{name: "public.loose", columns: "a, j, p, r, c, x", ours: true},
		{name: "public.metrics", columns: "ts, dev, v, note", ours: true},
		{name: "public.readings", columns: "ts, v", ours: true},
		{name: "public.flow", columns: "id, d, v", ours: true},
	}
}

// tables are those of the workload with the columns that were added since.
func (w *world) tables() []table {
	list := tables()
	for i := range list {
		if list[i].name == "public.dropped" {
			for n := range w.added {
				list[i].columns += fmt.Sprintf(", x%d", n)
			}
		}
	}
	return list
}

// names joins the tables' names; with native only those that it can follow.
func names(native bool) string {
	var list []string
	for _, t := range tables() {
		if !t.ours || !native {
			list = append(list, t.name)
		}
	}
	return strings.Join(list, ", ")
}
