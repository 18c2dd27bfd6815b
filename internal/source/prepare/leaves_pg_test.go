package prepare_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/source/prepare"
	"timeferry/internal/testkit/pgtest"
)

const leavesSchema = `
CREATE SCHEMA "Other"; CREATE TYPE "Other".mood AS ENUM ('sad', 'ok');
CREATE TABLE byday (id int, day date, kind text, PRIMARY KEY (id, day, kind)) PARTITION BY RANGE (day);
CREATE TABLE byday_1 PARTITION OF byday FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE byday_2 PARTITION OF byday FOR VALUES FROM ('2024-02-01') TO ('2024-03-01') PARTITION BY LIST (kind);
CREATE TABLE byday_2_a PARTITION OF byday_2 FOR VALUES IN ('a');
CREATE TABLE byday_d PARTITION OF byday DEFAULT;
CREATE UNLOGGED TABLE byday_u PARTITION OF byday FOR VALUES FROM ('2030-01-01') TO ('2031-01-01');
CREATE TABLE bymood (m "Other".mood) PARTITION BY LIST (m); CREATE TABLE bymood_ok PARTITION OF bymood FOR VALUES IN ('ok');
CREATE TABLE byhash (id int) PARTITION BY HASH (id); CREATE TABLE byhash_0 PARTITION OF byhash FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE moodhash (m "Other".mood) PARTITION BY HASH (m); CREATE TABLE moodhash_0 PARTITION OF moodhash FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE COLLATION own (locale = 'C.UTF-8');
CREATE TABLE byown (n text COLLATE own) PARTITION BY RANGE (n); CREATE TABLE byown_a PARTITION OF byown FOR VALUES FROM ('a') TO ('b');
CREATE TABLE byname (n text) PARTITION BY RANGE (n); CREATE TABLE byname_a PARTITION OF byname FOR VALUES FROM ('a') TO ('b');
CREATE TABLE byc (n text COLLATE "C") PARTITION BY RANGE (n); CREATE TABLE byc_a PARTITION OF byc FOR VALUES FROM ('a') TO ('b');
CREATE TABLE byexpr (n text) PARTITION BY LIST (lower(n)); CREATE TABLE byexpr_a PARTITION OF byexpr FOR VALUES IN ('a');
CREATE TABLE alone (n int) PARTITION BY LIST (n); CREATE TABLE alone_d PARTITION OF alone DEFAULT;
CREATE TABLE plain (id int PRIMARY KEY)`

func TestLeaves(t *testing.T) {
	src := pgtest.SourceOf(t, 12)
	src.Exec(t, leavesSchema)
	conn := src.Conn(t)
	tables, err := pgkit.Tables(t.Context(), conn, func(ident.Table) bool { return true })
	require.NoError(t, err)
	found, err := prepare.Leaves(t.Context(), conn, tables)
	require.NoError(t, err)
	byName := map[string]prepare.Leaf{}
	for _, l := range found {
		byName[l.Table.Name] = l
	}
	for name, want := range map[string]prepare.Leaf{
		"byday_1":    {Root: public("byday"), Alike: true, Bounds: "((day IS NOT NULL) AND (day >= '2024-01-01'::date) AND (day < '2024-02-01'::date))"},
		"byday_2_a":  {Root: public("byday"), Alike: true, Bounds: "((day IS NOT NULL) AND (day >= '2024-02-01'::date) AND (day < '2024-03-01'::date) AND (kind IS NOT NULL) AND (kind = 'a'::text))"},
		"byday_d":    {Root: public("byday"), Alike: true},
		"bymood_ok":  {Root: public("bymood"), Alike: true, Bounds: `((m IS NOT NULL) AND (m = 'ok'::"Other".mood))`},
		"byhash_0":   {Root: public("byhash"), Alike: true},
		"moodhash_0": {Root: public("moodhash")},
		"byown_a":    {Root: public("byown")},
		"byname_a":   {Root: public("byname"), Alike: src.QueryValue(t, "SELECT datcollate IN ('C', 'POSIX') FROM pg_database WHERE datname = current_database()") == "t"},
		"byc_a":      {Root: public("byc"), Alike: true},
		"byexpr_a":   {Root: public("byexpr")},
		"alone_d":    {Root: public("alone"), Alike: true, Bounds: "true"},
	} {
		got := byName[name]
		delete(byName, name)
		require.Equal(t, want.Root, got.Root, name)
		require.Equal(t, want.Alike, got.Alike, name)
		if want.Bounds != "" {
			require.Equal(t, want.Bounds, got.Bounds, name)
		}
	}
	require.Empty(t, byName, "unlogged partitions, inner nodes and plain tables have no place here")
	for _, l := range found {
		told := l.Alike && l.Table.Name != "byhash_0"
		require.Equal(t, told, l.Bounds != "", l.Table)
	}
}

func TestLeavesAreTheirRootsAffairFrom13On(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, "CREATE TABLE parts (k int) PARTITION BY LIST (k); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1)")
	conn := src.Conn(t)
	tables, err := pgkit.Tables(t.Context(), conn, func(ident.Table) bool { return true })
	require.NoError(t, err)
	leaves, err := prepare.Leaves(t.Context(), conn, tables)
	require.NoError(t, err)
	require.Empty(t, leaves)
	found, err := prepare.NewPartitions(t.Context(), conn, "none", map[ident.Table]bool{public("parts"): true}, nil)
	require.NoError(t, err)
	require.Empty(t, found)
}

func TestNewPartitions(t *testing.T) {
	src := pgtest.SourceOf(t, 12)
	src.Exec(t, `CREATE TABLE parts (k int PRIMARY KEY) PARTITION BY LIST (k); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
		CREATE TABLE bare (k int) PARTITION BY LIST (k); CREATE TABLE bare_1 PARTITION OF bare FOR VALUES IN (1);
		CREATE TABLE elsewhere (k int) PARTITION BY LIST (k); CREATE TABLE elsewhere_1 PARTITION OF elsewhere FOR VALUES IN (1);
		CREATE UNLOGGED TABLE parts_u PARTITION OF parts FOR VALUES IN (9); CREATE TABLE later (k int PRIMARY KEY)`)
	conn := src.Conn(t)
	require.NoError(t, prepare.CreatePublication(t.Context(), conn, "leaves", plan.Publication{InsertOnly: []ident.Table{public("bare_1")}}))
	src.Exec(t, "ALTER PUBLICATION leaves ADD TABLE parts_1, later")
	known := map[ident.Table]bool{public("parts"): true, public("bare"): true, public("later"): true}
	leaves := map[ident.Table]bool{public("parts_1"): true, public("bare_1"): true}
	look := func() []ident.Table {
		found, err := prepare.NewPartitions(t.Context(), conn, "leaves", known, leaves)
		require.NoError(t, err)
		return found
	}
	require.Empty(t, look())
	src.Exec(t, `CREATE TABLE "Parts 2" PARTITION OF parts FOR VALUES IN (2); CREATE TABLE bare_2 PARTITION OF bare FOR VALUES IN (2) PARTITION BY LIST (k);
		CREATE TABLE bare_2_1 PARTITION OF bare_2 DEFAULT; ALTER TABLE parts ATTACH PARTITION later FOR VALUES IN (3)`)
	require.Equal(t, []ident.Table{public("Parts 2"), public("bare_2_1"), public("later")}, look(), "the one that is published, but known as a table of its own, too")
	delete(leaves, public("parts_1"))
	require.Contains(t, look(), public("parts_1"), "published, but not followed")
}
