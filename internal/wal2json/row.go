package wal2json

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/ident"
)

// row hands out an insert, update or delete, after the table's description where that is new; a TRUNCATE is gathered.
func (t *Translator) row(put func([]byte) error) error {
	rel, err := t.relation(false)
	if err != nil || !rel.inScope {
		return err
	}
	r := &t.record
	switch {
	case r.action == 'T' && rel.Leaf, r.action != 'I' && r.action != 'T' && rel.InsertOnly:
		return nil
	case r.action == 'T':
		t.emptied = append(t.emptied, rel.OID)
		return t.describe(t.latest(rel), put)
	}
	rel = t.latest(rel)
	if rel.derived {
		if rel, err = t.outgrown(rel); err != nil {
			return err
		}
	}
	if !rel.fits(r) {
		if rel, err = t.renew(rel); err != nil || !rel.inScope {
			return err
		}
	}
	if err := t.describe(rel, put); err != nil {
		return err
	}
	b := append(t.out[:0], r.action)
	b = binary.BigEndian.AppendUint32(b, rel.OID)
	switch r.action {
	case 'I':
		b, err = rel.appendTuple(append(b, 'N'), r.columns, change.Null)
	case 'D':
		b, err = rel.appendTuple(append(b, rel.oldMark()), r.identity, change.Null)
	case 'U':
		if rel.Identity == 'f' || keyChanged(r) {
			b, err = rel.appendTuple(append(b, rel.oldMark()), r.identity, change.Null)
		}
		if err == nil {
			b, err = rel.appendTuple(append(b, 'N'), r.columns, change.Unchanged)
		}
	}
	if t.out = b; err != nil {
		return err
	}
	return put(b)
}

// latest is what was described last under the table's name. Partitions go under their root's: what is known of this one may be from
// before an alteration that another has shown, and a delete by the key, or a TRUNCATE, must not bring the old form back.
func (t *Translator) latest(rel *relation) *relation {
	last := t.described[rel.OID]
	if last == nil || last.Schema != rel.Schema || last.Name != rel.Name {
		return rel
	}
	return last
}

// describe hands out the table's description unless the last one under its OID says the same: leaves go under their root's.
func (t *Translator) describe(rel *relation, put func([]byte) error) error {
	was := t.described[rel.OID]
	if was == rel {
		return nil
	}
	if was == nil || !was.alike(&rel.Table) {
		t.out = rel.appendRelation(t.out[:0])
		if err := put(t.out); err != nil {
			return err
		}
	}
	t.described[rel.OID] = rel
	return nil
}

// outsideFor is how long a table counts as out of scope before the catalogue is asked again.
const outsideFor = time.Second

// relation is what is known of the record's table; it asks the catalogue the first time, and when it is told to.
func (t *Translator) relation(fresh bool) (*relation, error) {
	r := &t.record
	t.name = append(append(append(t.name[:0], r.schema...), 0), r.table...)
	was := t.known[string(t.name)]
	if was != nil && !fresh && (was.inScope || time.Since(was.asked) < outsideFor) {
		return was, nil
	}
	table, ok, err := t.catalog.Table(string(r.schema), string(r.table), fresh || was != nil)
	if err != nil {
		return nil, err
	}
	if was != nil && !was.inScope && ok && table.Leaf {
		return nil, schemaFault(ident.Table{Schema: string(r.schema), Name: string(r.table)}.String(),
			"it became a partition of a table in scope, and changes from before were passed over")
	}
	rel := &relation{Table: table, inScope: ok, asked: time.Now()}
	t.known[string(t.name)] = rel
	return rel, nil
}

// renew asks the catalogue again about a table whose change does not fit what is known. Where the change is older than the last
// alteration of the table, the description is taken from the change itself as far as it says.
func (t *Translator) renew(was *relation) (*relation, error) {
	rel, err := t.relation(true)
	if err != nil || !rel.inScope || rel.fits(&t.record) {
		return rel, err
	}
	if !was.inScope {
		was = rel
	}
	derived, ok, err := t.derive(&rel.Table, &was.Table)
	if err != nil {
		return nil, err
	}
	if !ok {
		name := ident.Table{Schema: string(t.record.schema), Name: string(t.record.table)}
		return nil, schemaFault(name.String(), "it was altered on the source, and a change from before has not all of its columns")
	}
	rel = &relation{Table: derived, inScope: true, derived: true}
	t.known[string(t.name)] = rel
	return rel, nil
}

// outgrown is the table as the catalogue was read last, if only that fits the change. Where both do, the derived description stays, for
// the next change may show that the alteration is still to come. But it may have a column that is dropped, and a change from after that
// must not be taken for one that left it alone.
func (t *Translator) outgrown(was *relation) (*relation, error) {
	table, ok, err := t.catalog.Table(string(t.record.schema), string(t.record.table), false)
	if err != nil || !ok {
		return was, err
	}
	now := &relation{Table: table, inScope: true, asked: time.Now()}
	if !now.fits(&t.record) || was.fits(&t.record) && !(t.record.action == 'U' && t.record.lacksDropped(&was.Table, &now.Table)) {
		return was, nil
	}
	t.known[string(t.name)] = now
	return now, nil
}

// lacksDropped tells whether a column that is there no more is not in the change.
func (r *record) lacksDropped(was, now *Table) bool {
	return slices.ContainsFunc(was.Columns, func(c Column) bool { return now.index([]byte(c.Name), 0) < 0 && r.field(c.Name) == nil })
}

// derive describes the table as the change has it: under the columns that are there now, or were known before, if those are the
// change's. Else it must list them: an insert, or an old row under FULL, has all columns; an update may lack those that it did not
// touch; a delete by its key says nothing of the others.
func (t *Translator) derive(now, before *Table) (derived Table, ok bool, err error) {
	derived = *now
	switch {
	case now.covers(&t.record):
		derived.Columns = slices.Clone(now.Columns)
	case before.Identity == now.Identity && before.covers(&t.record):
		derived.Columns, derived.Generated = slices.Clone(before.Columns), before.Generated
	default:
		if derived.Columns, derived.Generated, ok = listColumns(now, before, &t.record); !ok {
			return derived, false, nil
		}
	}
	for i := range derived.Columns {
		if ok, err = t.modify(&derived.Columns[i], now, before); err != nil || !ok {
			return derived, false, err
		}
	}
	return derived, derived.fits(&t.record), nil
}

// listColumns are the columns that the change lists. Their keys are those of columns that are still there, or were known before.
func listColumns(now, before *Table, r *record) (columns []Column, generated []string, ok bool) {
	fields := r.columns
	if now.Identity == 'f' && r.action != 'I' {
		fields = r.identity
	} else if r.action == 'D' {
		return nil, nil, false
	}
	for i, f := range fields {
		oid, err := strconv.ParseUint(string(f.typeOID), 10, 32)
		if err != nil {
			return nil, nil, false
		}
		if now.generated(f.name) || before.generated(f.name) {
			generated = append(generated, string(f.name))
			continue
		}
		c := Column{Name: string(f.name), TypeOID: uint32(oid), Modifier: -1, Toastable: true}
		for _, t := range []*Table{now, before} {
			if at := t.index(f.name, i); at >= 0 && t.Columns[at].TypeOID == c.TypeOID {
				c = t.Columns[at]
				break
			}
		}
		columns = append(columns, c)
	}
	for _, c := range now.Columns {
		if r.action == 'U' && now.Identity != 'f' && c.Toastable && !listed(fields, c.Name) {
			columns = append(columns, c)
		}
	}
	return columns, generated, true
}

// modify gives a column the modifier that the change has for it: the catalogue's may be of later. Of a column that the change leaves
// out, the one that was known before is the best guess. ok is false if nobody knows what the type's name stands for.
func (t *Translator) modify(c *Column, now, before *Table) (ok bool, err error) {
	f := t.record.field(c.Name)
	if f == nil {
		if at := before.index([]byte(c.Name), 0); at >= 0 && before.Columns[at].TypeOID == c.TypeOID {
			c.Type, c.Modifier = before.Columns[at].Type, before.Columns[at].Modifier
		}
		return true, nil
	}
	for _, side := range []*Table{now, before} {
		at := side.index(f.name, 0)
		if at < 0 || side.Columns[at].TypeOID != c.TypeOID {
			continue
		}
		if have := side.Columns[at]; have.Type == "" || f.named(have.Type) {
			c.Type, c.Modifier = have.Type, have.Modifier
			return true, nil
		}
	}
	c.Type, c.Modifier = f.typeName(), -1
	if !modified(c.TypeOID, c.Type) {
		return true, nil
	}
	oid, modifier, err := t.catalog.Modifier(c.Type)
	c.Modifier = modifier
	return oid == c.TypeOID && modifier >= 0, err
}

func (rel *relation) oldMark() byte {
	if rel.Identity == 'f' {
		return 'O'
	}
	return 'K'
}

// fits tells whether the record's columns are the known ones: all of them, of the same types and modifiers, but for what the kind
// of change may leave out.
func (t *Table) fits(r *record) bool { return t.matches(r, true) }

// covers is fits whatever the modifiers are.
func (t *Table) covers(r *record) bool { return t.matches(r, false) }

func (t *Table) matches(r *record, modifiers bool) bool {
	switch r.action {
	case 'I':
		return t.lists(r.columns, modifiers, func(Column) bool { return false })
	case 'D':
		return t.lists(r.identity, modifiers, t.beyondKey)
	}
	return t.lists(r.columns, modifiers, func(c Column) bool { return c.Toastable }) && t.lists(r.identity, modifiers, t.beyondKey)
}

func (t *Table) beyondKey(c Column) bool { return t.Identity != 'f' && !c.Key }

func (t *Table) lists(fields []field, modifiers bool, mayLack func(Column) bool) bool {
	seen := 0
	var have [64]bool // wider tables are counted only
	for i, f := range fields {
		at := t.index(f.name, i)
		if at < 0 {
			if t.generated(f.name) {
				continue
			}
			return false
		}
		c := &t.Columns[at]
		if oid, err := strconv.ParseUint(string(f.typeOID), 10, 32); err != nil || c.TypeOID != uint32(oid) {
			return false
		}
		if modifiers && c.Type != "" && !f.named(c.Type) {
			return false
		}
		seen++
		if at < len(have) {
			have[at] = true
		}
	}
	if seen == len(t.Columns) {
		return true
	}
	for i, c := range t.Columns {
		if i < len(have) && !have[i] && !mayLack(c) {
			return false
		}
		if i >= len(have) && !mayLack(c) && !listed(fields, c.Name) {
			return false
		}
	}
	return true
}

func listed(fields []field, name string) bool {
	for _, f := range fields {
		if string(f.name) == name {
			return true
		}
	}
	return false
}

// keyChanged tells whether an update's old key is another one than the new row's. wal2json lists the key with every update.
func keyChanged(r *record) bool {
	for i, old := range r.identity {
		at := i
		if at >= len(r.columns) || !bytes.Equal(r.columns[at].name, old.name) {
			for at = range r.columns {
				if bytes.Equal(r.columns[at].name, old.name) {
					break
				}
			}
		}
		if at >= len(r.columns) || !bytes.Equal(r.columns[at].name, old.name) {
			return true // left out as unchanged, and needed to find the row
		}
		if now := r.columns[at]; now.kind != old.kind || !bytes.Equal(now.value, old.value) {
			return true
		}
	}
	return false
}

// appendTuple writes the fields in the table's order; missing is the state of those that are not there.
func (rel *relation) appendTuple(b []byte, fields []field, missing change.State) ([]byte, error) {
	b = binary.BigEndian.AppendUint16(b, uint16(len(rel.Columns)))
	next := 0
	for i := range rel.Columns {
		c := &rel.Columns[i]
		f := find(fields, c.Name, &next)
		if f == nil {
			b = append(b, byte(missing))
			continue
		}
		var err error
		if b, err = rel.appendValue(b, c, f); err != nil {
			return b, err
		}
	}
	return b, nil
}

// find looks for a field, beginning where the last one was.
func find(fields []field, name string, next *int) *field {
	for n := range fields {
		at := (*next + n) % len(fields)
		if string(fields[at].name) == name {
			*next = at + 1
			return &fields[at]
		}
	}
	return nil
}

func (rel *relation) appendValue(b []byte, c *Column, f *field) ([]byte, error) {
	value := f.value
	switch f.kind {
	case isNull:
		if c.NotNull && c.MayBeNaN() {
			return b, schemaFault(ident.Table{Schema: rel.Schema, Name: rel.Name}.String(),
				"column %s is NOT NULL and came as null: this version of wal2json says so of NaN and the infinities", ident.Quote(c.Name))
		}
		return append(b, byte(change.Null)), nil
	case isTrue:
		value = []byte("t")
	case isFalse:
		value = []byte("f")
	}
	prefix := ""
	if c.TypeOID == byteaOID {
		prefix = `\x` // which wal2json leaves out
	}
	b = append(b, byte(change.Text))
	b = binary.BigEndian.AppendUint32(b, uint32(len(prefix)+len(value)))
	return append(append(b, prefix...), value...), nil
}
