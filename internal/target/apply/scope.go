package apply

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/evolve"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// route is how the rows of one relation of the stream reach their table. order says where each of the mapping's columns is
// among the relation's; nil: they are in the same order.
type route struct {
	*mapping
	order []int
	// relation is what the route was found for, and start from where on its transactions count.
	relation *change.Relation
	start    change.LSN
}

// arrange puts a row of the relation into the mapping's order, in the memory of into.
func (r *route) arrange(values, into []change.Datum) []change.Datum {
	if values == nil || r.order == nil {
		return values
	}
	into = into[:0]
	for _, at := range r.order {
		into = append(into, values[at])
	}
	return into
}

// tableOf is the table in scope that a relation's rows go into: its own, or that of its partition root.
func (o *Options) tableOf(rel *change.Relation) (name ident.Table, start change.LSN, inScope bool) {
	name = tableName(rel)
	if start, inScope = o.Starts[name]; inScope {
		return name, start, true
	}
	leaf, known := o.Leaves[name]
	if !known {
		return name, 0, false
	}
	start, inScope = o.Starts[leaf.Root]
	return leaf.Root, start, inScope
}

// route finds how the relation's rows go into their table; nil when the transaction does not count for the table, because
// its copy has these changes already.
func (g *gatherer) route(ctx context.Context, rel *change.Relation) (*route, error) {
	if r := g.last; r != nil && r.relation == rel && g.final >= r.start {
		return r, nil
	}
	name, start, inScope := g.tableOf(rel)
	if !inScope {
		return nil, g.unknown(rel)
	}
	if g.final < start {
		return nil, nil
	}
	if r := g.routes[rel]; r != nil {
		g.last = r
		return r, nil
	}
	r, err := g.resolve(ctx, name, rel)
	if err == nil {
		r.relation, r.start = rel, start
		g.routes[rel], g.last = r, r
	}
	return r, err
}

// resolve matches a description with the target's table. One that is not what is known of the relation means DDL on the source:
// then the target must have followed, or does so now.
func (g *gatherer) resolve(ctx context.Context, name ident.Table, rel *change.Relation) (*route, error) {
	own := tableName(rel)
	known := g.known[own]
	if known == nil || evolve.Same(known, rel) {
		if r, _ := g.match(name, rel); r != nil {
			if known == nil {
				return r, g.learn(own, evolve.FromRelation(rel))
			}
			return r, nil
		}
	}
	if err := g.keepUp(ctx, name, rel); err != nil {
		return nil, err
	}
	r, wrong := g.match(name, rel)
	if r == nil {
		return nil, schemaChanged(name, wrong)
	}
	return r, nil
}

// match is the route into the target's table as it is known here; nil if the table cannot take the relation's rows: wrong says why.
func (g *gatherer) match(name ident.Table, rel *change.Relation) (r *route, wrong []string) {
	t := g.tables[name]
	if t == nil {
		return nil, []string{"the table is missing on the target"}
	}
	if skip := g.skips[tableName(rel)]; len(skip) > 0 {
		reduced, order := project(rel, skip)
		m, wrong := newMapping(t, reduced)
		if len(wrong) > 0 {
			return nil, wrong
		}
		return &route{mapping: m, order: order}, nil
	}
	if r := g.sharedRoute(t, rel); r != nil {
		return r, nil
	}
	m, wrong := newMapping(t, rel)
	if len(wrong) > 0 {
		return nil, wrong
	}
	if tableName(rel) != name {
		g.leafMappings[name] = append(g.leafMappings[name], m)
	}
	return &route{mapping: m}, nil
}

// sharedRoute leads a leaf's rows into the mapping of another leaf of the same root that has the same columns and goes by the
// same key. So a batch keeps one net change for all of them, and a row that moves from leaf to leaf is followed by its key.
func (g *gatherer) sharedRoute(t *table, rel *change.Relation) *route {
	for _, m := range g.leafMappings[t.name] {
		if order, same := sameLayout(m.relation, rel); same {
			return &route{mapping: m, order: order}
		}
	}
	return nil
}

// sameLayout is true when two relations describe the same rows, but for the columns' order: order says where those of a are in
// b; nil: in the same places.
func sameLayout(a, b *change.Relation) (order []int, same bool) {
	if len(a.Columns) != len(b.Columns) || (a.Identity == 'f') != (b.Identity == 'f') {
		return nil, false
	}
	moved := false
	order = make([]int, len(a.Columns))
	for i, c := range a.Columns {
		at := slices.IndexFunc(b.Columns, func(o change.Column) bool { return o.Name == c.Name })
		if at < 0 || b.Columns[at].Key != c.Key {
			return nil, false
		}
		order[i] = at
		moved = moved || at != i
	}
	if !moved {
		return nil, true
	}
	return order, true
}

// readCatalogue reads from the target beside the session that applies.
func (g *gatherer) readCatalogue(ctx context.Context, read func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("reading a table's definition took longer than 30s"))
	defer cancel()
	conn, err := pgkit.Dial(ctx, g.Target, "apply catalogue")
	if err != nil {
		return lost(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // only read from
	if _, err := conn.Exec(ctx, "SELECT set_config('search_path', '', false)"); err != nil {
		return lost(err)
	}
	if err := read(ctx, conn); err != nil {
		return lost(err)
	}
	return nil
}
