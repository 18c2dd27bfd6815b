package apply

import (
	"context"
	"errors"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// mapping finds how the relation's rows go into their table; nil when the transaction does not count for the table,
// because its copy has these changes already.
func (g *gatherer) mapping(ctx context.Context, rel *change.Relation) (*mapping, error) {
	name := tableName(rel)
	start, inScope := g.Starts[name]
	if !inScope {
		return nil, unknownTable(rel)
	}
	if g.final < start {
		return nil, nil
	}
	if m := g.mappings[rel]; m != nil {
		return m, nil
	}
	m, err := g.resolve(ctx, name, rel)
	if err == nil {
		g.mappings[rel] = m
	}
	return m, err
}

// resolve matches a description with the target's table. One that differs from the first in this Run means DDL on the
// source: then the target's catalogue is read again, since somebody may have followed.
func (g *gatherer) resolve(ctx context.Context, name ident.Table, rel *change.Relation) (*mapping, error) {
	before := g.first[name]
	changed := before != nil && !sameRelation(before, rel)
	if changed {
		if err := g.reload(ctx, name); err != nil {
			return nil, err
		}
	}
	t := g.tables[name]
	if t == nil {
		return nil, schemaChanged(name, []string{"the table is missing on the target"})
	}
	m, wrong := newMapping(t, rel)
	if changed && len(wrong) == 0 {
		wrong = m.checkRetyped(before)
	}
	if changed && len(wrong) > 0 {
		wrong = append(compareRelations(before, rel), wrong...)
	}
	if len(wrong) > 0 {
		return nil, schemaChanged(name, wrong)
	}
	if changed {
		g.Log.WarnContext(ctx, "the table's definition changed on the source; the target can take it", "table", name.String(), "changes", compareRelations(before, rel))
	}
	g.first[name] = rel
	return m, nil
}

func (g *gatherer) reload(ctx context.Context, name ident.Table) error {
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
	fresh, err := loadTables(ctx, conn, []ident.Table{name}, g.Hypertables)
	if err != nil {
		return lost(err)
	}
	g.tables[name] = fresh[name]
	return nil
}
