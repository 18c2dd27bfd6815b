package apply

import (
	"slices"
	"strings"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
)

// mapping is how the rows of one relation of the stream go into its table on the target. Columns are always matched by
// name; indexes count the relation's columns.
type mapping struct {
	table    *table
	relation *change.Relation
	columns  []*column // the target's, in the relation's order
	// key are the columns by which a row is found; none: by all of them (REPLICA IDENTITY FULL without a key), or never.
	key []int
	// unique is true when an index of the target makes sure that a key has one row.
	unique bool
	// pinned are columns that an UPDATE cannot change: those that choose a hypertable's chunk, and GENERATED ALWAYS AS
	// IDENTITY. A change of them is a delete and an insert.
	pinned []int
	// free is true when some pinned column is not part of the key, so that a change of it cannot be seen in the stream.
	free bool
	// bounded are key columns that choose chunk or partition: statements get their least and greatest value, so that the
	// planner leaves out the others.
	bounded []int
	// extra are the target's other columns, kept when a row is moved.
	extra []string
	sql   map[string]string // statements by kind and columns
	fold  *fold             // the table's in this batch, if it is of this mapping
}

func tableName(rel *change.Relation) ident.Table {
	return ident.Table{Schema: rel.Schema, Name: rel.Name}
}

// newMapping matches a relation with its table. wrong says why the table cannot take the relation's rows, if so.
func newMapping(t *table, rel *change.Relation) (m *mapping, wrong []string) {
	m = &mapping{table: t, relation: rel, sql: map[string]string{}}
	names := make([]string, len(rel.Columns))
	for i, c := range rel.Columns {
		names[i] = c.Name
		have := t.column(c.Name)
		switch {
		case have == nil:
			wrong = append(wrong, "column "+ident.Quote(c.Name)+" is missing on the target")
		case have.generated:
			wrong = append(wrong, "column "+ident.Quote(c.Name)+" is generated on the target")
		}
		m.columns = append(m.columns, have)
	}
	for _, have := range t.columns {
		if slices.Contains(names, have.name) || have.generated {
			continue
		}
		m.extra = append(m.extra, have.name)
		if have.required {
			wrong = append(wrong, "column "+ident.Quote(have.name)+" is not in the stream any more, but NOT NULL on the target")
		}
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	m.chooseKey(names)
	m.choosePinned()
	return m, nil
}

func schemaChanged(t ident.Table, what []string) error {
	return fault.New(fault.Operator, opApply, t.String(),
		"make the same change to the table on the target, then resume; or take it back on the source, abort, then start again",
		"the table's definition differs: %s", strings.Join(what, "; ")).WithCode(CodeSchemaChanged)
}

// chooseKey takes the replica identity's columns; under FULL, a unique index of the target, which finds rows far faster
// than a comparison of all columns and is as exact.
func (m *mapping) chooseKey(names []string) {
	if m.relation.Identity == 'f' {
		for _, u := range m.table.uniques {
			if key := positions(names, u); key != nil {
				m.key = key
				break
			}
		}
	} else {
		for i, c := range m.relation.Columns {
			if c.Key {
				m.key = append(m.key, i)
			}
		}
	}
	for _, u := range m.table.uniques {
		if p := positions(names, u); p != nil && subset(p, m.key) {
			m.unique = true
		}
	}
}

func (m *mapping) choosePinned() {
	for i, c := range m.columns {
		routing := slices.Contains(m.table.routing, c.name)
		inKey := slices.Contains(m.key, i)
		if c.always || routing && m.table.hypertable {
			m.pinned = append(m.pinned, i)
			m.free = m.free || !inKey
		}
		if routing && inKey && boundable(c.typeOID) {
			m.bounded = append(m.bounded, i)
		}
	}
}

// positions finds each of columns among names; nil if one is not there.
func positions(names, columns []string) []int {
	var p []int
	for _, c := range columns {
		i := slices.Index(names, c)
		if i < 0 {
			return nil
		}
		p = append(p, i)
	}
	return p
}

func subset(a, b []int) bool {
	for _, x := range a {
		if !slices.Contains(b, x) {
			return false
		}
	}
	return true
}
