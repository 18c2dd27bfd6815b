package apply

import (
	"context"
	"slices"
	"strings"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// truncate empties all its tables in one statement, after the changes that came before.
func (g *gatherer) truncate(ctx context.Context, ev *change.Event) error {
	if !g.inTx {
		return outOfOrder("a truncate outside of a transaction")
	}
	var tables []*table                        // named by the message, or roots of leaves that are
	emptied := map[ident.Table][]ledger.Leaf{} // the leaves, by their root
	for _, rel := range ev.Truncated {
		r, err := g.route(ctx, rel)
		if err != nil {
			return err
		}
		if r == nil {
			continue
		}
		if name := tableName(rel); name != r.table.name {
			emptied[r.table.name] = append(emptied[r.table.name], g.Leaves[name])
		}
		if slices.ContainsFunc(tables, func(t *table) bool { return t.oid == r.table.oid }) {
			continue
		}
		g.batch.join() // TRUNCATE locks out everybody else
		if f := g.folds[r.table.name]; f != nil {
			g.flush(f)
		}
		tables = append(tables, r.table)
	}
	if len(tables) == 0 {
		return nil
	}
	g.count++
	var together []*table
	for _, t := range tables {
		g.touching.whole(t.name)
		some, err := g.truncateLeaves(ctx, t, emptied[t.name])
		if err != nil {
			return err
		}
		together = append(together, some...)
	}
	g.batch.steps = truncateSteps(g.batch.steps, together, ev.RestartIdentity)
	return nil
}

// truncateSteps never cascades: the stream lists every table that the source emptied. A table that others refer to, which
// are not being emptied, cannot be truncated: its rows are deleted.
func truncateSteps(into []step, tables []*table, restart bool) []step {
	var together []string
	var first *table
	for _, t := range tables {
		outside := slices.ContainsFunc(t.referencedBy, func(oid uint32) bool {
			return !slices.ContainsFunc(tables, func(o *table) bool { return o.oid == oid })
		})
		if outside {
			into = append(into, step{kind: stepQuery, sql: "DELETE FROM " + t.only + t.name.Quote(), rows: anyRows, table: t, verb: "truncate"})
			continue
		}
		if first == nil {
			first = t
		}
		together = append(together, t.only+t.name.Quote())
	}
	if first == nil {
		return into
	}
	sql := "TRUNCATE TABLE " + strings.Join(together, ", ")
	if restart {
		sql += " RESTART IDENTITY"
	}
	return append(into, step{kind: stepQuery, sql: sql, rows: anyRows, table: first, verb: "truncate"})
}
