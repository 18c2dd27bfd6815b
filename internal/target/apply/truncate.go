package apply

import (
	"context"
	"slices"
	"strings"

	"timeferry/internal/change"
)

// truncate empties all its tables in one statement, after the changes that came before.
func (g *gatherer) truncate(ctx context.Context, ev *change.Event) error {
	if !g.inTx {
		return outOfOrder("a truncate outside of a transaction")
	}
	var tables []*table
	for _, rel := range ev.Truncated {
		m, err := g.mapping(ctx, rel)
		if err != nil {
			return err
		}
		if m == nil || slices.Contains(tables, m.table) {
			continue
		}
		if f := g.folds[m.table.name]; f != nil {
			g.flush(f)
		}
		tables = append(tables, m.table)
	}
	if len(tables) == 0 {
		return nil
	}
	g.count++
	g.batch.steps = truncateSteps(g.batch.steps, tables, ev.RestartIdentity)
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
