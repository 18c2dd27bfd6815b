package apply

import (
	"slices"
	"strconv"

	"timeferry/internal/change"
	"timeferry/internal/compare"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// touching notes which stretches of which tables the changes touch, so that a later comparison may leave out the others. It
// tells too much rather than too little. nil notes nothing.
type touching struct {
	tracked map[ident.Table]ledger.Tracked
	tables  map[ident.Table]*touchedTable
	rows    map[*mapping]*trackedRows
	last    *trackedRows // looked up last: changes of one table mostly come together
	listed  []*touchedTable
}

type touchedTable struct {
	*compare.Touched
	name   ident.Table
	listed bool // among those that may have something to tell
}

// trackedRows finds the tracked value in the rows of one mapping.
type trackedRows struct {
	mapping *mapping
	touched *touchedTable
	kind    compare.Kind
	column  int  // -1: there is none
	inKey   bool // old rows always have it
}

func newTouching(tracked map[ident.Table]ledger.Tracked) *touching {
	if tracked == nil {
		return nil
	}
	return &touching{tracked: tracked, tables: map[ident.Table]*touchedTable{}, rows: map[*mapping]*trackedRows{}}
}

func (t *touching) table(name ident.Table) *touchedTable {
	touched := t.tables[name]
	if touched == nil {
		touched = &touchedTable{Touched: compare.NewTouched(t.tracked[name].Kind.FirstShift()), name: name}
		t.tables[name] = touched
	}
	t.list(touched)
	return touched
}

func (t *touching) list(touched *touchedTable) {
	if !touched.listed {
		touched.listed = true
		t.listed = append(t.listed, touched)
	}
}

// whole notes that anything of the table may have been touched.
func (t *touching) whole(name ident.Table) {
	if t != nil {
		t.table(name).AddAll()
	}
}

// row notes a change of one row: where it was, and where it is now.
func (t *touching) row(m *mapping, ev *change.Event) {
	if t == nil {
		return
	}
	r := t.last
	if r == nil || r.mapping != m {
		r = t.lookUp(m)
		t.last = r
	}
	t.list(r.touched)
	known := r.column >= 0
	if known && ev.New != nil {
		known = r.add(ev.New)
	}
	if known && ev.Kind != change.Insert {
		switch {
		case ev.Old != nil && (r.inKey || !ev.OldIsKey):
			known = r.add(ev.Old)
		case ev.Old != nil:
			known = false
		default: // the key did not change
			known = r.inKey
		}
	}
	if !known {
		r.touched.AddAll()
	}
}

func (t *touching) lookUp(m *mapping) *trackedRows {
	if r := t.rows[m]; r != nil {
		return r
	}
	tracked := t.tracked[m.table.name]
	r := &trackedRows{mapping: m, touched: t.table(m.table.name), kind: tracked.Kind, column: -1}
	if tracked.Kind != compare.None {
		r.column = slices.IndexFunc(m.relation.Columns, func(c change.Column) bool { return c.Name == tracked.Column })
	}
	r.inKey = r.column >= 0 && m.relation.Columns[r.column].Key
	t.rows[m] = r
	return r
}

func (r *trackedRows) add(values []change.Datum) (known bool) {
	d := values[r.column]
	if d.State != change.Text {
		return false
	}
	if r.kind == compare.Value {
		r.touched.AddValue(d.Bytes)
		return true
	}
	ordinal, known := r.kind.Ordinal(d.Bytes)
	if known {
		r.touched.Add(ordinal)
	}
	return known
}

// take returns what was touched for the first time since the last call.
func (t *touching) take() touched {
	var all touched
	if t == nil {
		return all
	}
	for _, touched := range t.listed {
		touched.listed = false
		for _, b := range touched.Take() {
			all.tables = append(all.tables, touched.name)
			all.buckets = append(all.buckets, b)
		}
	}
	t.listed = t.listed[:0]
	return all
}

// touched are buckets with their tables, one by one.
type touched struct {
	tables  []ident.Table
	buckets []compare.Bucket
}

// send notes them in the ledger, in the transaction that touches them. after is the last barrier that was taken.
func (t touched) send(p *pipeline, after int) {
	if len(t.tables) == 0 {
		return
	}
	texts := func(text func(i int) string) []byte {
		return textArray(len(t.tables), func(i int) change.Datum { return change.Datum{State: change.Text, Bytes: []byte(text(i))} })
	}
	numbers := func(number func(compare.Bucket) int64) []byte {
		b := []byte{'{'}
		for i, bucket := range t.buckets {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, number(bucket), 10)
		}
		return append(b, '}')
	}
	params := [][]byte{texts(func(i int) string { return t.tables[i].Schema }), texts(func(i int) string { return t.tables[i].Name }),
		numbers(func(b compare.Bucket) int64 { return int64(b.Shift) }), numbers(func(b compare.Bucket) int64 { return b.Number }),
		texts(func(i int) string { return t.buckets[i].Value }), strconv.AppendInt(nil, int64(after), 10)}
	p.query(ledger.TouchSQL, params, []int16{1, 1, 0, 0, 1, 0}, &expectation{})
}
