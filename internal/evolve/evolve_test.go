package evolve_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/evolve"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

var (
	names = map[uint32]string{23: "integer", 20: "bigint", 21: "smallint", 25: "text", 1043: "character varying", 1700: "numeric", 1042: "character"}
	table = ident.Table{Schema: "public", Name: "t"}
)

func col(name string, number int, oid uint32, modifier int32) shape.DefinedColumn {
	return shape.DefinedColumn{Name: name, Number: number, TypeOID: oid, Modifier: modifier, Type: names[oid], BaseType: names[oid]}
}

func defined(numbers int, columns ...shape.DefinedColumn) *shape.Definition {
	return &shape.Definition{Table: table, OID: 9, Identity: 'd', Findable: true, Numbers: numbers, Files: []string{"9:1"}, Columns: columns}
}

func described(columns ...shape.DefinedColumn) *change.Relation {
	rel := &change.Relation{OID: 9, Schema: "public", Name: "t", Identity: 'd'}
	for _, c := range columns {
		rel.Columns = append(rel.Columns, change.Column{Name: c.Name, TypeOID: c.TypeOID, Modifier: c.Modifier})
	}
	return rel
}

func types(rel *change.Relation) map[shape.TypeRef]shape.TypeName {
	all := map[shape.TypeRef]shape.TypeName{}
	for _, c := range rel.Columns {
		all[shape.TypeRef{OID: c.TypeOID, Modifier: c.Modifier}] = shape.TypeName{Full: names[c.TypeOID], Base: names[c.TypeOID]}
	}
	return all
}

// Histories that end in the same description, told apart by the catalogue's numbers. a and b were there before.
func TestWhatMayBeFollowed(t *testing.T) {
	a, b := col("a", 1, 23, -1), col("b", 2, 25, -1)
	c3, c4, d4, b3, b4 := col("c", 3, 23, -1), col("c", 4, 23, -1), col("d", 4, 23, -1), col("b", 3, 25, -1), col("b", 4, 25, -1)
	for _, tc := range []struct {
		name      string
		described *change.Relation
		source    *shape.Definition
		kinds     []string
		follow    bool
	}{
		{"added", described(a, b, c3), defined(3, a, b, c3), []string{evolve.Added}, true},
		{"added, and another since", described(a, b, c3), defined(4, a, b, c3, d4), []string{evolve.Added}, true},
		{"added anew since", described(a, b, c3), defined(4, a, b, c4), []string{evolve.Added}, false},
		{"renamed since, and another added under its name", described(a, b, c3), defined(4, a, b, col("x", 3, 23, -1), c4), []string{evolve.Added}, false},
		{"renamed since", described(a, b, c3), defined(3, a, b, col("x", 3, 23, -1)), []string{evolve.Added}, false},
		{"retyped since", described(a, b, c3), defined(3, a, b, col("c", 3, 20, -1)), []string{evolve.Added}, false},
		{"dropped", described(a), defined(2, a), []string{evolve.Dropped}, true},
		{"renamed", described(a, c3), defined(2, a, col("c", 2, 23, -1)), []string{evolve.Renamed, evolve.Retyped}, false},
		{"dropped and another added", described(a, c3), defined(3, a, c3), []string{evolve.Added, evolve.Dropped}, true},
		{"dropped, added under its name", described(a, b3), defined(3, a, b3), []string{evolve.Replaced}, false},
		{"added, and an old one replaced since", described(a, b, c3), defined(4, a, c3, b4), []string{evolve.Replaced, evolve.Added}, false},
		{"the table is gone", described(a, b, c3), nil, []string{evolve.Added}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target := defined(2, a, b)
			o := evolve.Compare(evolve.Sides{Known: defined(2, a, b), Described: tc.described, Source: tc.source, Target: target, Types: types(tc.described)})
			var kinds []string
			follow := true
			for _, c := range o.Changes {
				kinds, follow = append(kinds, c.Kind), follow && c.Follow
				require.NotEmpty(t, c.Statements)
				require.Equal(t, c.Follow, c.Why == "", c.Why)
			}
			if tc.name == "dropped, added under its name" { // as far as the target's columns tell it is done
				require.Empty(t, o.Open())
			}
			require.Equal(t, tc.kinds, kinds)
			require.Equal(t, tc.follow, follow)
			require.True(t, evolve.Same(&o.Next, tc.described), "what is known from then on is what was described")
		})
	}
}

func TestValuesOfRowsThatWereThere(t *testing.T) {
	five := "5"
	for _, tc := range []struct {
		name   string
		edit   func(c *shape.DefinedColumn)
		files  string
		want   []string
		refill bool
	}{
		{"none", func(*shape.DefinedColumn) {}, "9:1", []string{`ALTER TABLE "public"."t" ADD COLUMN "c" integer`}, false},
		{"the default", func(c *shape.DefinedColumn) { c.Missing, c.Default = &five, "5" }, "9:2", []string{`ALTER TABLE "public"."t" ADD COLUMN "c" integer DEFAULT 5`}, false},
		{"another default since", func(c *shape.DefinedColumn) { c.Missing, c.Default = &five, "f()" }, "9:1",
			[]string{`ALTER TABLE "public"."t" ADD COLUMN "c" integer DEFAULT '5'::integer`, `ALTER TABLE "public"."t" ALTER COLUMN "c" SET DEFAULT f()`}, false},
		{"no default any more", func(c *shape.DefinedColumn) { c.Missing = &five }, "9:1",
			[]string{`ALTER TABLE "public"."t" ADD COLUMN "c" integer DEFAULT '5'::integer`, `ALTER TABLE "public"."t" ALTER COLUMN "c" DROP DEFAULT`}, false},
		{"a default that came later", func(c *shape.DefinedColumn) { c.Default = "5" }, "9:1",
			[]string{`ALTER TABLE "public"."t" ADD COLUMN "c" integer`, `ALTER TABLE "public"."t" ALTER COLUMN "c" SET DEFAULT 5`}, false},
		{"a rewritten table", func(c *shape.DefinedColumn) { c.Default = "5" }, "9:2",
			[]string{`ALTER TABLE "public"."t" ADD COLUMN "c" integer`, `ALTER TABLE "public"."t" ALTER COLUMN "c" SET DEFAULT 5`}, true},
		{"numbers", func(c *shape.DefinedColumn) { c.Identity = "ALWAYS AS IDENTITY" }, "9:2", []string{`ALTER TABLE "public"."t" ADD COLUMN "c" integer`}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, c := col("a", 1, 23, -1), col("c", 2, 23, -1)
			tc.edit(&c)
			source := defined(2, a, c)
			source.Files = []string{tc.files}
			rel := described(a, c)
			o := evolve.Compare(evolve.Sides{Known: defined(1, a), Described: rel, Source: source, Target: defined(1, a), Types: types(rel)})
			require.Len(t, o.Changes, 1)
			require.Equal(t, tc.want, o.Changes[0].Statements)
			require.Equal(t, tc.refill, o.Changes[0].Refill)
			require.Equal(t, !tc.refill, o.Changes[0].Follow)
		})
	}
}

func TestWidens(t *testing.T) {
	numeric := func(p, s int32) int32 { return (p<<16 | s&0x7ff) + 4 }
	for _, tc := range []struct {
		from, to       uint32
		before, after  int32
		wider, narrows bool // and back
	}{
		{23, 20, -1, -1, true, false}, {21, 23, -1, -1, true, false}, {21, 20, -1, -1, true, false},
		{1043, 1043, 14, 24, true, false}, {1043, 1043, 14, -1, true, false}, {1043, 25, 14, -1, true, false}, {1043, 25, -1, -1, true, false},
		{1700, 1700, numeric(5, 2), numeric(8, 2), true, false}, {1700, 1700, numeric(5, 2), numeric(6, 3), true, false},
		{1700, 1700, numeric(5, 2), numeric(5, 3), false, false}, {1700, 1700, numeric(5, -2), numeric(7, 0), true, false}, {1700, 1700, numeric(5, 2), -1, true, false},
		{1042, 1042, 9, 14, false, false}, {23, 25, -1, -1, false, false}, {1114, 1114, 3, 6, true, false},
	} {
		from, to := col("c", 1, tc.from, tc.before), col("c", 1, tc.to, tc.after)
		require.Equal(t, tc.wider, evolve.Widens(&from, &to), "%v", tc)
		require.Equal(t, tc.narrows, evolve.Widens(&to, &from), "%v back", tc)
		require.True(t, evolve.Widens(&from, &from))
	}
}

// A column that became narrower may have been rewritten, whatever room the target has.
func TestNarrowerIsNotDone(t *testing.T) {
	a, before, now, roomy := col("a", 1, 23, -1), col("v", 2, 1043, 24), col("v", 2, 1043, 14), col("v", 2, 1043, -1)
	rel := described(a, now)
	for have, done := range map[*shape.DefinedColumn]bool{&before: false, &roomy: false, &now: true} {
		o := evolve.Compare(evolve.Sides{Known: defined(2, a, before), Described: rel, Source: defined(2, a, now), Target: defined(2, a, *have), Types: types(rel)})
		require.Equal(t, done, len(o.Open()) == 0)
		require.True(t, o.Changes[0].Refill)
	}
	o := evolve.Compare(evolve.Sides{Known: defined(2, a, now), Described: described(a, before), Source: defined(2, a, before), Target: defined(2, a, roomy), Types: types(described(a, before))})
	require.Empty(t, o.Open(), "a wider one may stay wider still")
}

func TestWatch(t *testing.T) {
	a, v := col("a", 1, 23, -1), col("v", 2, 25, -1)
	strict, loose, fresh := v, v, v
	strict.NotNull, fresh.Default = true, "'x'::text"
	g := col("g", 3, 23, -1)
	g.Generated = "(a * 2) STORED"
	for _, tc := range []struct {
		name                  string
		known, source, target *shape.Definition
		want                  []string
	}{
		{"nothing", defined(2, a, v), defined(2, a, v), defined(2, a, v), nil},
		{"NOT NULL", defined(2, a, v), defined(2, a, strict), defined(2, a, v), []string{`ALTER TABLE "public"."t" ALTER COLUMN "v" SET NOT NULL`}},
		{"NULL", defined(2, a, strict), defined(2, a, loose), defined(2, a, strict), []string{`ALTER TABLE "public"."t" ALTER COLUMN "v" DROP NOT NULL`}},
		{"default", defined(2, a, v), defined(2, a, fresh), defined(2, a, v), []string{`ALTER TABLE "public"."t" ALTER COLUMN "v" SET DEFAULT 'x'::text`}},
		{"no default", defined(2, a, fresh), defined(2, a, v), defined(2, a, fresh), []string{`ALTER TABLE "public"."t" ALTER COLUMN "v" DROP DEFAULT`}},
		{"generated", defined(2, a, v), defined(3, a, v, g), defined(2, a, v), []string{`ALTER TABLE "public"."t" ADD COLUMN "g" integer GENERATED ALWAYS AS (a * 2) STORED`}},
		{"generated no more there", defined(3, a, v, g), defined(3, a, v), defined(3, a, v, g), []string{`ALTER TABLE "public"."t" DROP COLUMN "g"`}},
		{"followed already", defined(2, a, v), defined(3, a, v, col("c", 3, 23, -1)), defined(2, a, v, col("c", 7, 23, -1)), nil},
		{"replaced", defined(2, a, v), defined(3, a, col("v", 3, 25, -1)), defined(2, a, v), []string{`ALTER TABLE "public"."t" DROP COLUMN "v"`, `ALTER TABLE "public"."t" ADD COLUMN "v" text`}},
	} {
		require.Equal(t, tc.want, evolve.Statements(evolve.Watch(tc.known, tc.source, tc.target)), tc.name)
	}
}

func TestGoneLeaves(t *testing.T) {
	leaf := func(name, bounds string) shape.DefinedLeaf {
		return shape.DefinedLeaf{Table: ident.Table{Schema: "public", Name: name}, Bounds: bounds}
	}
	known, source, same, flat := defined(1), defined(1), defined(1), defined(1)
	known.Leaves = []shape.DefinedLeaf{leaf("t1", "(a < 5)"), leaf("t2", "(a >= 5)"), leaf("t3", "satisfies_hash_partition(1)")}
	source.Leaves = known.Leaves[1:2]
	same.Leaves = known.Leaves[:2]
	require.Equal(t, []evolve.GoneLeaf{{known.Leaves[0].Table, `ALTER TABLE "public"."t" DETACH PARTITION "public"."t1"`}}, evolve.GoneLeaves(known, source, same))
	require.Equal(t, []evolve.GoneLeaf{{known.Leaves[0].Table, `DELETE FROM "public"."t" WHERE (a < 5)`}, {known.Leaves[2].Table, ""}}, evolve.GoneLeaves(known, source, flat))
}

func TestLabels(t *testing.T) {
	mood := func(labels ...string) []shape.Enum {
		return []shape.Enum{{Table: ident.Table{Schema: "public", Name: "mood"}, Labels: labels}}
	}
	for _, tc := range []struct {
		source, target []shape.Enum
		want           []string
		follow         bool
	}{
		{mood("a", "b"), mood("a", "b"), nil, true},
		{mood("a", "x", "b"), mood("a", "b"), []string{`ALTER TYPE "public"."mood" ADD VALUE IF NOT EXISTS 'x' AFTER 'a'`}, true},
		{mood("x", "y", "a"), mood("a"), []string{`ALTER TYPE "public"."mood" ADD VALUE IF NOT EXISTS 'x' BEFORE 'a'`, `ALTER TYPE "public"."mood" ADD VALUE IF NOT EXISTS 'y' AFTER 'x'`}, true},
		{mood("a", "c"), mood("a", "b"), []string{`ALTER TYPE "public"."mood" RENAME VALUE 'b' TO 'c'`}, false},
		{mood("a"), nil, nil, true},
	} {
		changes := evolve.Labels(tc.source, tc.target)
		require.Equal(t, tc.want, evolve.Statements(changes))
		for _, c := range changes {
			require.Equal(t, tc.follow, c.Follow)
		}
	}
}

func TestRenameTable(t *testing.T) {
	require.Equal(t, `ALTER TABLE "public"."t" SET SCHEMA "b"; ALTER TABLE "b"."t" RENAME TO "u"`, evolve.RenameTable(table, ident.Table{Schema: "b", Name: "u"}))
}
