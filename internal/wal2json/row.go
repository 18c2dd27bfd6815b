package wal2json

import (
	"bytes"
	"encoding/binary"
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
		return t.describe(rel, put)
	}
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
	derived, ok := derive(&rel.Table, &was.Table, &t.record)
	if !ok {
		name := ident.Table{Schema: string(t.record.schema), Name: string(t.record.table)}
		return nil, schemaFault(name.String(), "it was altered on the source, and a change from before has not all of its columns")
	}
	rel = &relation{Table: derived, inScope: true, derived: true}
	t.known[string(t.name)] = rel
	return rel, nil
}

// outgrown is the table as the catalogue was read last, if the change fits that: a derived description may have columns that are
// dropped, and a change from after that must not be taken for one that left them alone.
func (t *Translator) outgrown(was *relation) (*relation, error) {
	table, ok, err := t.catalog.Table(string(t.record.schema), string(t.record.table), false)
	if err != nil || !ok {
		return was, err
	}
	now := &relation{Table: table, inScope: true, asked: time.Now()}
	if !now.fits(&t.record) {
		return was, nil
	}
	t.known[string(t.name)] = now
	return now, nil
}

// derive describes the table as the change has it: an insert, or an old row under FULL, has all columns; an update may lack
// those that it did not touch. Keys and modifiers are those of columns that are still there, or were known before. A delete by
// its key says nothing of the others, and needs none: it is not alike when the key is not.
func derive(now, before *Table, r *record) (Table, bool) {
	derived := *now
	derived.Columns, derived.Generated = nil, nil
	fields := r.columns
	if now.Identity == 'f' && r.action != 'I' {
		fields = r.identity
	} else if r.action == 'D' {
		return Table{}, false
	}
	for i, f := range fields {
		oid, err := strconv.ParseUint(string(f.typeOID), 10, 32)
		if err != nil {
			return Table{}, false
		}
		if now.generated(f.name) || before.generated(f.name) {
			derived.Generated = append(derived.Generated, string(f.name))
			continue
		}
		c := Column{Name: string(f.name), TypeOID: uint32(oid), Modifier: -1, Toastable: true}
		for _, t := range []*Table{now, before} {
			if at := t.index(f.name, i); at >= 0 && t.Columns[at].TypeOID == c.TypeOID {
				c = t.Columns[at]
				break
			}
		}
		derived.Columns = append(derived.Columns, c)
	}
	for _, c := range now.Columns {
		if r.action == 'U' && now.Identity != 'f' && c.Toastable && !listed(fields, c.Name) {
			derived.Columns = append(derived.Columns, c)
		}
	}
	rel := relation{Table: derived}
	return derived, rel.fits(r)
}

func (rel *relation) oldMark() byte {
	if rel.Identity == 'f' {
		return 'O'
	}
	return 'K'
}

// fits tells whether the record's columns are the known ones: all of them, of the same types, but for what the kind of change
// may leave out.
func (rel *relation) fits(r *record) bool {
	switch r.action {
	case 'I':
		return rel.covers(r.columns, func(Column) bool { return false })
	case 'D':
		return rel.covers(r.identity, rel.beyondKey)
	}
	return rel.covers(r.columns, func(c Column) bool { return c.Toastable }) && rel.covers(r.identity, rel.beyondKey)
}

func (rel *relation) beyondKey(c Column) bool { return rel.Identity != 'f' && !c.Key }

func (rel *relation) covers(fields []field, mayLack func(Column) bool) bool {
	seen := 0
	var have [64]bool // wider tables are counted only
	for i, f := range fields {
		at := rel.index(f.name, i)
		if at < 0 {
			if rel.generated(f.name) {
				continue
			}
			return false
		}
		if oid, err := strconv.ParseUint(string(f.typeOID), 10, 32); err != nil || rel.Columns[at].TypeOID != uint32(oid) {
			return false
		}
		seen++
		if at < len(have) {
			have[at] = true
		}
	}
	if seen == len(rel.Columns) {
		return true
	}
	for i, c := range rel.Columns {
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
