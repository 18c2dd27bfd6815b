package evolve

import (
	"fmt"
	"slices"
	"strings"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// Sides are the descriptions of one table.
type Sides struct {
	// Known is the source's table as it was when its last change was carried over.
	Known *shape.Definition
	// Described is what the stream says. Nil: the source's catalogue stands for it.
	Described *change.Relation
	// Source is the source's catalogue by now; nil when it was not asked, or the table is gone there.
	Source *shape.Definition
	// Target is the target's table, under the name that statements are to use. Nil when it is missing.
	Target *shape.Definition
	// Types names the types that Described numbers.
	Types map[shape.TypeRef]shape.TypeName
}

// Change is one difference between what was and what is.
type Change struct {
	Kind string // one of the words below
	// What says it in words: `column "note" (text) was added`.
	What string
	// Statements bring the target's table in line, in this order.
	Statements []string
	// Done is true when the target is in line already.
	Done bool
	// Follow is true when the statements alone make the target's rows what the source's are. Why says what speaks against it.
	Follow bool
	Why    string
	// Early is true when the statements may be run before the stream comes to the change.
	Early bool
	// Refill is true when rows on the source have values that neither the stream nor a statement brings: the source must
	// write them once more.
	Refill bool
	Column string
}

// Kinds of changes.
const (
	Added     = "column-added"
	Dropped   = "column-dropped"
	Renamed   = "column-renamed"
	Retyped   = "column-retyped"
	Replaced  = "column-replaced" // dropped and added anew under the same name
	Generated = "column-generated"
	NotNull   = "column-not-null"
	Nullable  = "column-nullable"
	Default   = "column-default"
	Label     = "enum-label"
	Table     = "table-added"
)

// Outcome is what a comparison found.
type Outcome struct {
	Changes []Change
	// Next is the source's table as of the description, to be known from then on.
	Next shape.Definition
	// Skip are described columns that the target lacks and the source has dropped since: their values do not matter any more.
	Skip []string
	// Uncertain is "" when the catalogue and the description leave one history open, else what leaves two.
	Uncertain string
}

// Open are the changes that the target has not followed.
func (o Outcome) Open() []Change {
	return slices.DeleteFunc(slices.Clone(o.Changes), func(c Change) bool { return c.Done })
}

// Told are the open changes, and those of which nobody can see whether the target has followed.
func (o Outcome) Told() []Change {
	return slices.DeleteFunc(slices.Clone(o.Changes), func(c Change) bool { return c.Done && c.Kind != Replaced })
}

// Same is true when a description says what is known already, in all that matters to the rows.
func Same(known *shape.Definition, rel *change.Relation) bool {
	if known.Identity != rel.Identity {
		return false
	}
	plain := streamed(known)
	return slices.EqualFunc(plain, rel.Columns, func(a shape.DefinedColumn, b change.Column) bool {
		return a.Name == b.Name && a.TypeOID == b.TypeOID && a.Modifier == b.Modifier
	})
}

// streamed are the columns that the stream carries.
func streamed(d *shape.Definition) []shape.DefinedColumn {
	return slices.DeleteFunc(slices.Clone(d.Columns), func(c shape.DefinedColumn) bool { return c.Generated != "" })
}

// Compare finds what has changed, and what is to be done about it on the target.
func Compare(s Sides) Outcome {
	c := comparison{Sides: s, columns: s.described()}
	c.Uncertain = c.uncertain()
	for i := range c.columns {
		c.compareColumn(&c.columns[i])
	}
	for _, was := range streamed(s.Known) {
		if c.column(was.Name) == nil && !slices.Contains(c.renamed, was.Name) {
			c.dropped(was)
		}
	}
	c.judge()
	c.Next = c.next()
	return c.Outcome
}

type comparison struct {
	Sides
	Outcome
	columns []shape.DefinedColumn // as described
	renamed []string              // their former names
}

// described are the stream's columns, with what the source's catalogue says about those that it has in the same form.
func (s *Sides) described() []shape.DefinedColumn {
	if s.Described == nil {
		return streamed(s.Source)
	}
	columns := make([]shape.DefinedColumn, len(s.Described.Columns))
	for i, c := range s.Described.Columns {
		name := s.Types[shape.TypeRef{OID: c.TypeOID, Modifier: c.Modifier}]
		columns[i] = shape.DefinedColumn{Name: c.Name, TypeOID: c.TypeOID, Modifier: c.Modifier, Type: name.Full, BaseType: name.Base}
		if s.Source == nil {
			continue
		}
		if now := s.Source.Column(c.Name); now != nil && now.Generated == "" && now.TypeOID == c.TypeOID && now.Modifier == c.Modifier {
			columns[i] = *now
		}
	}
	return columns
}

func (c *comparison) column(name string) *shape.DefinedColumn {
	return (&shape.Definition{Columns: c.columns}).Column(name)
}

func (c *comparison) compareColumn(now *shape.DefinedColumn) {
	was := c.Known.Column(now.Name)
	switch {
	case was == nil:
		if from := c.renamedFrom(now); from != nil {
			c.rename(from, now)
			was = from
			break
		}
		c.added(now)
		return
	case was.Generated != "":
		c.ungenerated(now)
		return
	case was.Number != 0 && now.Number != 0 && was.Number != now.Number:
		c.replaced(was, now)
		return
	}
	missing := c.onTarget(now.Name) == nil && !slices.Contains(c.renamed, was.Name)
	switch {
	case missing && c.Source != nil && was.Number != 0 && c.Source.Numbered(was.Number) == nil:
		c.Skip = append(c.Skip, now.Name) // the target was ahead of the stream
	case was.TypeOID != now.TypeOID || was.Modifier != now.Modifier:
		c.retyped(was, now)
	case missing:
		c.add(Change{Kind: Added, Column: now.Name, What: fmt.Sprintf("column %s is missing on the target", ident.Quote(now.Name)),
			Statements: []string{c.alter("ADD COLUMN " + c.columnDefinition(now))}, Why: "somebody dropped it there", Refill: true})
	}
}

func (c *comparison) add(ch Change) { c.Changes = append(c.Changes, ch) }

func (c *comparison) onTarget(name string) *shape.DefinedColumn {
	if c.Target == nil {
		return nil
	}
	return c.Target.Column(name)
}

// alter is an ALTER TABLE of the target's table.
func (c *comparison) alter(action string) string {
	table := c.Known.Table
	if c.Target != nil {
		table = c.Target.Table
	}
	return "ALTER TABLE " + table.Quote() + " " + action
}

// renamedFrom finds the column that goes by another name now: only the number tells.
func (c *comparison) renamedFrom(now *shape.DefinedColumn) *shape.DefinedColumn {
	from := c.Known.Numbered(now.Number)
	if from == nil || from.Generated != "" || c.column(from.Name) != nil {
		return nil
	}
	return from
}

func (c *comparison) rename(from, now *shape.DefinedColumn) {
	c.renamed = append(c.renamed, from.Name)
	c.add(Change{Kind: Renamed, Column: now.Name, What: fmt.Sprintf("column %s was renamed to %s", ident.Quote(from.Name), ident.Quote(now.Name)),
		Statements: []string{c.alter("RENAME COLUMN " + ident.Quote(from.Name) + " TO " + ident.Quote(now.Name))},
		Done:       c.onTarget(now.Name) != nil && c.onTarget(from.Name) == nil, Why: "a renamed column is not carried over by itself"})
}

func (c *comparison) dropped(was shape.DefinedColumn) {
	c.add(Change{Kind: Dropped, Column: was.Name, What: fmt.Sprintf("column %s was dropped", ident.Quote(was.Name)),
		Statements: []string{c.alter("DROP COLUMN " + ident.Quote(was.Name))}, Done: c.onTarget(was.Name) == nil, Follow: true})
}

// replaced: the rows' values in the new column are not in the stream, and the old column's changes may still be.
func (c *comparison) replaced(was, now *shape.DefinedColumn) {
	statements, _, _ := c.addStatements(now)
	c.add(Change{Kind: Replaced, Column: now.Name, What: fmt.Sprintf("column %s was dropped and added anew", ident.Quote(now.Name)),
		Statements: append([]string{c.alter("DROP COLUMN " + ident.Quote(now.Name))}, statements...), Done: c.Described != nil && c.sameOnTarget(was, now),
		Why: "the stream does not tell when", Refill: true})
}

func (c *comparison) ungenerated(now *shape.DefinedColumn) {
	have := c.onTarget(now.Name)
	c.add(Change{Kind: Generated, Column: now.Name, What: fmt.Sprintf("column %s is not generated any more", ident.Quote(now.Name)),
		Statements: []string{c.alter("ALTER COLUMN " + ident.Quote(now.Name) + " DROP EXPRESSION")}, Done: have != nil && have.Generated == "",
		Why: "a generated column is not carried over by itself"})
}

func (c *comparison) retyped(was, now *shape.DefinedColumn) {
	have := c.onTarget(now.Name)
	if have == nil && was.Name != now.Name {
		have = c.onTarget(was.Name) // the statement before renames it
	}
	ch := Change{Kind: Retyped, Column: now.Name, What: fmt.Sprintf("column %s changed its type%s", ident.Quote(now.Name), fromTo(was.Type, now.Type)),
		Done: have != nil && c.sameOnTarget(was, now)}
	if now.Type != "" {
		ch.Statements = []string{c.alter("ALTER COLUMN " + ident.Quote(now.Name) + " TYPE " + typeText(now))}
	}
	wider := Widens(was, now)
	switch {
	case have == nil:
		ch.Statements, _, _ = c.addStatements(now)
		ch.Why = "the target has no such column"
	case wider && Widens(have, now):
		ch.Follow, ch.Early = true, true
	case wider:
		ch.Why = "the target's column has another type than the source's had"
	default:
		ch.Refill = true
		ch.Why = "the stream does not tell what the values became: use the USING expression of the source, if there was one"
	}
	c.add(ch)
}

func fromTo(from, to string) string {
	if from == "" || to == "" {
		return ""
	}
	return " from " + from + " to " + to
}

func typeText(now *shape.DefinedColumn) string {
	if now.Collation != "" {
		return now.Type + " COLLATE " + now.Collation
	}
	return now.Type
}

// sameOnTarget is true when the target's column can hold the described one's values as they are, and stands for the same type.
func (c *comparison) sameOnTarget(was, now *shape.DefinedColumn) bool {
	have := c.onTarget(now.Name)
	if have == nil || have.Generated != "" {
		return false
	}
	if sameType(have, now) && have.Modifier == now.Modifier {
		return true
	}
	if now.BaseType == "" && now.TypeOID >= FirstUserOID { // nobody could name it: only that it is the one it was
		return was != nil && was.TypeOID == now.TypeOID
	}
	// A target that was wider from the start may stay so, unless values were rewritten to fit.
	return (was == nil || Widens(was, now)) && Widens(now, have)
}

// judge takes the leave to follow from everything where the history is not sure.
func (c *comparison) judge() {
	if c.Uncertain == "" {
		return
	}
	for i := range c.Changes {
		if ch := &c.Changes[i]; ch.Follow {
			ch.Follow, ch.Why = false, c.Uncertain
			ch.Refill = ch.Kind == Added // right in whatever way it came about
		}
	}
}

// next is what is known from now on.
func (c *comparison) next() shape.Definition {
	if c.Described == nil {
		return *c.Source
	}
	next := shape.Definition{Table: ident.Table{Schema: c.Described.Schema, Name: c.Described.Name}, OID: c.Described.OID, Identity: c.Described.Identity,
		Findable: c.Known.Findable, Numbers: c.Known.Numbers, Files: c.Known.Files, Leaves: c.Known.Leaves}
	if c.Source != nil {
		next.Findable, next.Leaves = c.Source.Findable, c.Source.Leaves
		if slices.EqualFunc(streamed(c.Source), c.columns, func(a, b shape.DefinedColumn) bool {
			return a.Name == b.Name && a.TypeOID == b.TypeOID && a.Modifier == b.Modifier
		}) {
			next.Numbers, next.Files, next.Columns = c.Source.Numbers, c.Source.Files, slices.Clone(c.Source.Columns)
			return next
		}
	}
	for _, col := range c.columns {
		if was := c.Known.Column(col.Name); col.Number == 0 && was != nil {
			col.Number, col.Default, col.NotNull = was.Number, was.Default, was.NotNull
		}
		next.Numbers = max(next.Numbers, col.Number)
		next.Columns = append(next.Columns, col)
	}
	for _, was := range c.Known.Columns {
		if was.Generated != "" && next.Column(was.Name) == nil {
			next.Columns = append(next.Columns, was)
		}
	}
	return next
}

// FromRelation is a definition that knows no more than the stream tells.
func FromRelation(rel *change.Relation) shape.Definition {
	d := shape.Definition{Table: ident.Table{Schema: rel.Schema, Name: rel.Name}, OID: rel.OID, Identity: rel.Identity}
	for _, c := range rel.Columns {
		d.Columns = append(d.Columns, shape.DefinedColumn{Name: c.Name, TypeOID: c.TypeOID, Modifier: c.Modifier})
	}
	return d
}

// Words says the changes in words, for one line.
func Words(changes []Change) string {
	var words []string
	for _, c := range changes {
		words = append(words, c.What)
	}
	return strings.Join(words, "; ")
}

// Statements are the changes' statements, in order.
func Statements(changes []Change) []string {
	var all []string
	for _, c := range changes {
		all = append(all, c.Statements...)
	}
	return all
}
