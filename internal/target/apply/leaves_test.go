package apply

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
	"timeferry/internal/target/ledger"
)

func publicTable(name string) ident.Table { return ident.Table{Schema: "public", Name: name} }

// leafGatherer knows the table p with the columns id, d, v and its leaves.
func leafGatherer(leaves ...string) *gatherer {
	root := publicTable("p")
	o := Options{BatchBytes: 1 << 20, BatchChanges: 1000, ReplicaRole: true, Starts: map[ident.Table]change.LSN{root: 100}, Leaves: map[ident.Table]ledger.Leaf{}}
	for _, name := range leaves {
		o.Leaves[publicTable(name)] = ledger.Leaf{Table: publicTable(name), Root: root}
	}
	t := &table{oid: 7, name: root, columns: []column{{name: "id", equal: "="}, {name: "d", equal: "="}, {name: "v", equal: "="}}, uniques: [][]string{{"id", "d"}}}
	r := &runner{Options: o, known: map[ident.Table]*shape.Definition{}}
	g := newGatherer(r, nil, 0, map[ident.Table]*table{root: t})
	g.final = 100
	return g
}

func (g *gatherer) mustRoute(t *testing.T, rel *change.Relation) *route {
	t.Helper()
	r, err := g.route(t.Context(), rel)
	require.NoError(t, err)
	return r
}

func TestLeavesShareTheRootsMapping(t *testing.T) {
	g := leafGatherer("p1", "p2", "p3", "p4")
	first := g.mustRoute(t, relation("p1", 'd', "id*", "d*", "v"))
	require.Equal(t, publicTable("p"), first.table.name)
	require.Nil(t, first.order)

	same := g.mustRoute(t, relation("p2", 'd', "id*", "d*", "v"))
	require.Same(t, first.mapping, same.mapping)
	require.Nil(t, same.order)

	turned := g.mustRoute(t, relation("p3", 'i', "v", "d*", "id*"))
	require.Same(t, first.mapping, turned.mapping)
	require.Equal(t, row1("7", "2024-01-01", "x"), turned.arrange(row1("x", "2024-01-01", "7"), nil))
	require.Nil(t, turned.arrange(nil, nil))

	full := g.mustRoute(t, relation("p4", 'f', "id", "d", "v"))
	require.NotSame(t, first.mapping, full.mapping, "what it logs of an old row is more than a key")
}

func TestLeavesWithAnotherKeyDoNotShare(t *testing.T) {
	g := leafGatherer("p1", "p2")
	first := g.mustRoute(t, relation("p1", 'd', "id*", "d*", "v"))
	other := g.mustRoute(t, relation("p2", 'i', "id*", "d*", "v*"))
	require.NotSame(t, first.mapping, other.mapping)
}

func TestALeafIsTakenFromItsRootsStart(t *testing.T) {
	g := leafGatherer("p1")
	g.final = 99
	require.Nil(t, g.mustRoute(t, relation("p1", 'd', "id*", "d*", "v")))
}

func TestAnUnknownLeafIsRefused(t *testing.T) {
	g := leafGatherer("p1")
	_, err := g.route(t.Context(), relation("p_later", 'd', "id*", "d*", "v"))
	requireFault(t, err, fault.Operator, CodeUnknownTable)
	g.Leaves[publicTable("stray")] = ledger.Leaf{Table: publicTable("stray"), Root: publicTable("elsewhere")}
	_, err = g.route(t.Context(), relation("stray", 'd', "id*"))
	requireFault(t, err, fault.Operator, CodeUnknownTable)
}

// Rows that move from leaf to leaf in one batch are one net change: by statements for rows of one key.
func TestMovesBetweenLeavesFoldByKey(t *testing.T) {
	g := leafGatherer("p1", "p2")
	p1, p2 := relation("p1", 'd', "id*", "d*", "v"), relation("p2", 'd', "v", "id*", "d*")
	g.inTx = true
	for _, ev := range []change.Event{
		ins(p1, "1", "2024-01-01", "a"), // inserted, moved, moved back: one insert
		del(p1, "1", "2024-01-01", null), ins(p2, "b", "1", "2024-02-01"),
		del(p2, null, "1", "2024-02-01"), ins(p1, "1", "2024-01-02", "c"),
		del(p1, "2", "2024-01-01", null), ins(p2, "d", "2", "2024-02-02"), // was there, moved: delete and insert
		del(p2, null, "2", "2024-02-02"), // and gone: one delete
	} {
		require.NoError(t, g.take(t.Context(), &ev))
	}
	for _, s := range g.batch.steps {
		require.Nil(t, s.table, "nothing is applied before the batch is full, but that the leaves' definitions are recorded")
	}
	require.Len(t, g.order, 1)
	steps := g.order[0].steps(nil)
	require.Len(t, steps, 2)
	require.Equal(t, "delete", steps[0].verb)
	require.Equal(t, [][]byte{[]byte("2"), []byte("2024-01-01")}, steps[0].params)
	require.Equal(t, "insert", steps[1].verb)
	require.Equal(t, [][]byte{[]byte("1"), []byte("2024-01-02"), []byte("c")}, steps[1].params)
}
