package evolve

import (
	"fmt"
	"slices"
	"strings"

	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// Watch compares catalogues, before the stream comes to a change: what Compare finds, and what the stream never describes. known is
// how the source's table was when the target was last brought in line with it.
func Watch(known, source, target *shape.Definition) []Change {
	c := comparison{Sides: Sides{Known: known, Source: source, Target: target}, columns: streamed(source)}
	open := Compare(c.Sides).Open()
	for i := range source.Columns {
		if now := &source.Columns[i]; !slices.ContainsFunc(open, func(o Change) bool { return o.Column == now.Name }) {
			c.watchColumn(now)
		}
	}
	for _, was := range known.Columns {
		if was.Generated != "" && source.Column(was.Name) == nil && c.onTarget(was.Name) != nil {
			c.dropped(was)
		}
	}
	return append(open, c.Changes...)
}

func (c *comparison) watchColumn(now *shape.DefinedColumn) {
	have, was := c.onTarget(now.Name), c.Known.Column(now.Name)
	column := "ALTER COLUMN " + ident.Quote(now.Name)
	switch {
	case have == nil && now.Generated != "":
		c.add(Change{Kind: Generated, Column: now.Name, What: fmt.Sprintf("generated column %s was added", ident.Quote(now.Name)),
			Statements: []string{c.alter("ADD COLUMN " + ident.Quote(now.Name) + " " + typeText(now) + " GENERATED ALWAYS AS " + now.Generated)}})
		return
	case have == nil:
		return
	case now.NotNull && !have.NotNull:
		c.add(Change{Kind: NotNull, Column: now.Name, What: fmt.Sprintf("column %s is NOT NULL", ident.Quote(now.Name)), Statements: []string{c.alter(column + " SET NOT NULL")}})
	case !now.NotNull && have.NotNull:
		c.add(Change{Kind: Nullable, Column: now.Name, What: fmt.Sprintf("column %s may be NULL", ident.Quote(now.Name)), Statements: []string{c.alter(column + " DROP NOT NULL")}, Early: true})
	}
	if was == nil || now.Generated != "" || now.Default == was.Default || now.Default == have.Default {
		return
	}
	action := " SET DEFAULT " + now.Default
	if now.Default == "" {
		action = " DROP DEFAULT"
	}
	c.add(Change{Kind: Default, Column: now.Name, What: fmt.Sprintf("the default of column %s changed", ident.Quote(now.Name)), Statements: []string{c.alter(column + action)}, Early: true})
}

// RenameTable is what gives a table of the target its new name.
func RenameTable(from, to ident.Table) string {
	var statements []string
	if from.Schema != to.Schema {
		statements = append(statements, "ALTER TABLE "+from.Quote()+" SET SCHEMA "+ident.Quote(to.Schema))
		from.Schema = to.Schema
	}
	if from.Name != to.Name {
		statements = append(statements, "ALTER TABLE "+from.Quote()+" RENAME TO "+ident.Quote(to.Name))
	}
	return strings.Join(statements, "; ")
}

// GoneLeaf is a partition whose rows the source has no more in its table, though nobody deleted them. Statement removes them on the
// target; "" where they cannot be told.
type GoneLeaf struct {
	Leaf      ident.Table
	Statement string
}

// GoneLeaves are the partitions that were detached or dropped since.
func GoneLeaves(known, source, target *shape.Definition) []GoneLeaf {
	var gone []GoneLeaf
	for _, l := range known.Leaves {
		is := func(o shape.DefinedLeaf) bool { return o.Table == l.Table }
		if slices.ContainsFunc(source.Leaves, is) {
			continue
		}
		g := GoneLeaf{Leaf: l.Table}
		switch {
		case slices.ContainsFunc(target.Leaves, is):
			g.Statement = "ALTER TABLE " + target.Table.Quote() + " DETACH PARTITION " + l.Table.Quote()
		case len(target.Leaves) > 0: // it is gone there, too
			continue
		case l.Bounds != "" && l.Bounds != "true" && !strings.Contains(l.Bounds, "satisfies_hash_partition"):
			g.Statement = "DELETE FROM " + target.Table.Quote() + " WHERE " + l.Bounds
		}
		gone = append(gone, g)
	}
	return gone
}
