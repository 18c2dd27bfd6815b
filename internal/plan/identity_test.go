package plan_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
)

func public(name string) ident.Table { return ident.Table{Schema: "public", Name: name} }

// unique is an index that can be an identity; change makes it one that cannot.
func unique(name string, columns ...string) shape.Index {
	return shape.Index{Name: name, Unique: true, Valid: true, Immediate: true, NotNull: true, Columns: columns}
}

func primary(columns ...string) shape.Index {
	x := unique("pk", columns...)
	x.Primary, x.Constraint = true, "pk"
	return x
}

func with(x shape.Index, change func(*shape.Index)) shape.Index {
	change(&x)
	return x
}

func generated(x shape.Index) shape.Index {
	return with(x, func(x *shape.Index) { x.Generated = true })
}

func TestIdentityOfATable(t *testing.T) {
	nullable := with(unique("u", "a"), func(x *shape.Index) { x.NotNull = false })
	partial := with(unique("u", "a"), func(x *shape.Index) { x.Partial = true })
	for _, c := range []struct {
		name       string
		now        shape.Identity
		indexes    []shape.Index
		timeColumn string
		wantKind   byte
		wantIndex  string
		wantChange bool
	}{
		{"primary key", shape.Identity{Kind: 'd'}, []shape.Index{primary("id")}, "", 'd', "", false},
		{"primary key, identity switched off", shape.Identity{Kind: 'n'}, []shape.Index{primary("id")}, "", 'd', "", true},
		{"primary key wins over a unique index", shape.Identity{Kind: 'd'}, []shape.Index{unique("a", "x"), primary("id")}, "", 'd', "", false},
		{"deferrable primary key does not work", shape.Identity{Kind: 'd'},
			[]shape.Index{with(primary("id"), func(x *shape.Index) { x.Immediate = false })}, "", 'f', "", true},
		{"deferrable primary key, but a unique index", shape.Identity{Kind: 'd'},
			[]shape.Index{with(primary("id"), func(x *shape.Index) { x.Immediate = false }), unique("u", "code")}, "", 'i', "u", true},
		{"unique index", shape.Identity{Kind: 'd'}, []shape.Index{unique("u", "a")}, "", 'i', "u", true},
		{"fewest columns", shape.Identity{Kind: 'd'}, []shape.Index{unique("a", "x", "y"), unique("b", "z")}, "", 'i', "b", true},
		{"then the name", shape.Identity{Kind: 'd'}, []shape.Index{unique("b", "x"), unique("a", "z")}, "", 'i', "a", true},
		{"time column first for a hypertable", shape.Identity{Kind: 'd'}, []shape.Index{unique("a", "x"), unique("b", "ts", "x")}, "ts", 'i', "b", true},
		{"nullable", shape.Identity{Kind: 'd'}, []shape.Index{nullable}, "", 'f', "", true},
		{"partial", shape.Identity{Kind: 'd'}, []shape.Index{partial}, "", 'f', "", true},
		{"expression", shape.Identity{Kind: 'd'}, []shape.Index{with(unique("u", ""), func(x *shape.Index) { x.Expressions = true })}, "", 'f', "", true},
		{"invalid", shape.Identity{Kind: 'd'}, []shape.Index{with(unique("u", "a"), func(x *shape.Index) { x.Valid = false })}, "", 'f', "", true},
		{"deferrable", shape.Identity{Kind: 'd'}, []shape.Index{with(unique("u", "a"), func(x *shape.Index) { x.Immediate = false })}, "", 'f', "", true},
		{"primary key over a generated column does not work", shape.Identity{Kind: 'd'}, []shape.Index{generated(primary("g"))}, "", 'f', "", true},
		{"primary key over a generated column, but a unique index", shape.Identity{Kind: 'd'}, []shape.Index{generated(primary("g")), unique("u", "a", "b")}, "", 'i', "u", true},
		{"generated columns are no choice, however few", shape.Identity{Kind: 'd'}, []shape.Index{generated(unique("a", "g")), unique("b", "x", "y")}, "", 'i', "b", true},
		{"index already, over a generated column", shape.Identity{Kind: 'i', Index: "u"}, []shape.Index{generated(unique("u", "g")), primary("id")}, "", 'd', "", true},
		{"not unique", shape.Identity{Kind: 'd'}, []shape.Index{with(unique("u", "a"), func(x *shape.Index) { x.Unique = false })}, "", 'f', "", true},
		{"nothing at all", shape.Identity{Kind: 'n'}, nil, "", 'f', "", true},
		{"full already", shape.Identity{Kind: 'f'}, nil, "", 'f', "", false},
		{"full already, with a key", shape.Identity{Kind: 'f'}, []shape.Index{primary("id")}, "", 'f', "", false},
		{"index already", shape.Identity{Kind: 'i', Index: "b"}, []shape.Index{unique("a", "x"), unique("b", "y"), primary("id")}, "", 'i', "b", false},
		{"index already, but dropped", shape.Identity{Kind: 'i'}, []shape.Index{unique("a", "x")}, "", 'i', "a", true},
		{"index already, but dropped, and a key", shape.Identity{Kind: 'i'}, []shape.Index{primary("id")}, "", 'd', "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ids, problem := plan.Identities(shape.Table{Table: public("t"), Identity: c.now, Indexes: c.indexes}, "full", c.timeColumn)
			require.Len(t, ids, 1)
			require.Equal(t, string(c.wantKind), string(ids[0].Kind))
			require.Equal(t, c.wantIndex, ids[0].Index)
			require.Equal(t, c.wantChange, ids[0].Change)
			require.NotEmpty(t, ids[0].Reason)
			require.Equal(t, public("t"), ids[0].Root)
			require.Equal(t, c.wantKind == 'f' && c.wantChange, problem != nil, "full is warned of when it is our choice")
		})
	}
}

func TestIdentityFallbacks(t *testing.T) {
	table := shape.Table{Table: public("log"), Identity: shape.Identity{Kind: 'd'}, Updates: 12, Deletes: 3,
		Indexes: []shape.Index{with(unique("log_code", "code"), func(x *shape.Index) { x.NotNull = false })}}

	ids, problem := plan.Identities(table, "full", "")
	require.Equal(t, byte('f'), ids[0].Kind)
	require.Equal(t, contract.Warning, problem.Severity)
	require.Equal(t, plan.CodeIdentityFull, problem.Code)
	require.Contains(t, problem.Message, "12 updates and 3 deletes")
	require.Contains(t, problem.Message, "log_code is over nullable columns")

	ids, problem = plan.Identities(table, "fail", "")
	require.Empty(t, ids)
	require.Equal(t, contract.Fatal, problem.Severity)
	require.Equal(t, plan.CodeNoIdentity, problem.Code)

	ids, problem = plan.Identities(table, "skip", "")
	require.Equal(t, byte('n'), ids[0].Kind)
	require.False(t, ids[0].Change, "the identity stays as it is")
	require.Equal(t, contract.Warning, problem.Severity)
	require.Equal(t, plan.CodeInsertOnly, problem.Code)
}

func leaf(name string, now shape.Identity, indexes ...shape.Index) shape.Leaf {
	return shape.Leaf{Table: public(name), Identity: now, Indexes: indexes}
}

func TestIdentitiesOfPartitionsFollowTheRoot(t *testing.T) {
	d := shape.Identity{Kind: 'd'}
	leafPrimary := with(primary("id", "ts"), func(x *shape.Index) { x.Name = "leaf_pk" })
	for _, c := range []struct {
		name    string
		root    shape.Table
		leaf    shape.Leaf
		want    string // kind and index
		changes bool
	}{
		{"primary keys", shape.Table{Identity: d, Indexes: []shape.Index{primary("id", "ts")}}, leaf("a", d, leafPrimary), "d", false},
		{"partition switched off", shape.Table{Identity: d, Indexes: []shape.Index{primary("id", "ts")}}, leaf("a", shape.Identity{Kind: 'n'}, leafPrimary), "d", true},
		{"partition full already", shape.Table{Identity: d, Indexes: []shape.Index{primary("id", "ts")}}, leaf("a", shape.Identity{Kind: 'f'}, leafPrimary), "f", false},
		{"partition goes by fewer columns than the root", shape.Table{Identity: d, Indexes: []shape.Index{primary("id", "ts")}},
			leaf("a", shape.Identity{Kind: 'i', Index: "leaf_id"}, unique("leaf_id", "id"), leafPrimary), "d", true},
		{"root by an index, partition has its own name for it", shape.Table{Identity: d, Indexes: []shape.Index{unique("root_u", "id", "ts")}},
			leaf("a", d, unique("leaf_u", "id", "ts"), unique("leaf_small", "id")), "ileaf_u", true},
		{"partition's wider primary key covers the root's index", shape.Table{Identity: d, Indexes: []shape.Index{unique("root_u", "ts")}},
			leaf("a", d, primary("id", "ts"), unique("leaf_u", "ts")), "d", false},
		{"root full: partition full in spite of its key", shape.Table{Identity: d}, leaf("a", d, leafPrimary), "f", true},
		{"partition by a wider index with a generated column", shape.Table{Identity: d, Indexes: []shape.Index{unique("root_u", "ts")}},
			leaf("a", shape.Identity{Kind: 'i', Index: "own"}, generated(unique("own", "ts", "g")), unique("leaf_u", "ts")), "ileaf_u", true},
		{"root's key is generated: the whole row", shape.Table{Identity: d, Indexes: []shape.Index{generated(primary("g"))}}, leaf("a", d, generated(primary("g"))), "f", true},
		{"partition lacks the root's index", shape.Table{Identity: d, Indexes: []shape.Index{unique("root_u", "ts")}}, leaf("a", d), "f", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.root.Table, c.root.Partitioned = public("root"), true
			c.root.Leaves = []shape.Leaf{{Table: public("inner"), Partitioned: true, Identity: d}, c.leaf}
			ids, _ := plan.Identities(c.root, "full", "")
			require.Len(t, ids, 2, "root and leaf; the inner node holds no rows")
			require.Equal(t, public("root"), ids[0].Table)
			require.Equal(t, public("a"), ids[1].Table)
			require.Equal(t, public("root"), ids[1].Root)
			require.Equal(t, c.want, string(ids[1].Kind)+ids[1].Index)
			require.Equal(t, c.changes, ids[1].Change)
		})
	}
}

func TestSkippedPartitionsAllTakeInsertsOnly(t *testing.T) {
	root := shape.Table{Table: public("root"), Partitioned: true, Identity: shape.Identity{Kind: 'd'}, Leaves: []shape.Leaf{leaf("a", shape.Identity{Kind: 'd'}, primary("id"))}}
	ids, _ := plan.Identities(root, "skip", "")
	require.Len(t, ids, 2)
	for _, id := range ids {
		require.Equal(t, byte('n'), id.Kind)
		require.False(t, id.Change)
	}
}

func TestPublicationPlan(t *testing.T) {
	d := shape.Identity{Kind: 'd'}
	unlogged := leaf("parts_3", d, primary("id"))
	unlogged.Unlogged = true
	tables := []shape.Table{
		{Table: public("keyed"), Identity: d, Indexes: []shape.Index{primary("id")}},
		{Table: public("log"), Identity: d},
		{Table: public("cache"), Identity: d, Unlogged: true, Indexes: []shape.Index{primary("id")}},
		{Table: public("parts"), Identity: d, Partitioned: true, Indexes: []shape.Index{primary("id")},
			Leaves: []shape.Leaf{leaf("parts_1", d, primary("id")), {Table: public("parts_2"), Partitioned: true}, leaf("parts_2_1", d, primary("id")), unlogged}},
	}
	full := plan.PublicationPlan(tables, plan.IdentitiesOf(tables, "full", nil), 150000)
	require.Equal(t, plan.Publication{ViaRoot: true, All: []ident.Table{public("keyed"), public("log"), public("parts")}}, full)
	require.Equal(t, []string{"timeferry_x"}, full.Names("timeferry_x"))

	skip := plan.PublicationPlan(tables, plan.IdentitiesOf(tables, "skip", nil), 150000)
	require.Equal(t, []ident.Table{public("log")}, skip.InsertOnly)
	require.Equal(t, []ident.Table{public("keyed"), public("parts")}, skip.All)
	require.Equal(t, []string{"timeferry_x", "timeferry_x_ins"}, skip.Names("timeferry_x"))

	old := plan.PublicationPlan(tables, plan.IdentitiesOf(tables, "full", nil), 120022)
	require.Equal(t, plan.Publication{All: []ident.Table{public("keyed"), public("log"), public("parts_1"), public("parts_2_1")}}, old)

	unknown := plan.PublicationPlan(tables[:1], nil, 150000)
	require.Equal(t, []ident.Table{public("keyed")}, unknown.InsertOnly, "without a known identity updates are not published")
}
