package apply

import (
	"encoding/binary"
	"errors"

	"timeferry/internal/change"
)

// fold is the net change of one table within a batch. Rows are followed by their key as it is now; a row that was there
// before the batch keeps its original key, by which it will be found.
//
// Deletes are applied first, then updates, then inserts. That order and the lost intermediate states cannot show in the
// result; only a unique constraint may object (two rows swap values), and then the batch is replayed in order.
type fold struct {
	mapping *mapping
	memory  *memory
	live    map[string]*row  // by current key; not used for tables without a key
	rows    []*row           // in order of arrival, also those that are gone again
	dead    [][]change.Datum // original keys of rows that are gone
	listed  bool             // among the gatherer's folds of this batch
	rekeyed bool             // a row has got another key
	scratch []byte
}

// row is one row touched by the batch.
type row struct {
	values []change.Datum // Unchanged: as it is on the target
	// orig is the key before the batch; nil for a row that the batch inserts.
	orig  []change.Datum
	moved bool // the key is not the original one any more
	gone  bool
}

// errBarrier asks to apply what is folded so far before this change.
var errBarrier = errors.New("cannot fold this change into the batch")

func newFold(m *mapping, mem *memory) *fold {
	return &fold{mapping: m, memory: mem, live: map[string]*row{}}
}

func (f *fold) reset() {
	clear(f.live)
	f.rows, f.dead, f.rekeyed = f.rows[:0], f.dead[:0], false
}

func (f *fold) insert(values []change.Datum) error {
	if len(f.mapping.key) > 0 {
		f.scratch = f.mapping.appendKey(f.scratch[:0], values, nil)
		if f.live[string(f.scratch)] != nil {
			return errBarrier // a second row of the same key: let the target judge
		}
	}
	r := f.memory.newRow()
	r.values = f.memory.copyDatums(values)
	f.rows = append(f.rows, r)
	if len(f.mapping.key) > 0 {
		f.live[string(f.scratch)] = r
	}
	return nil
}

// update changes the row found by old (nil: the key did not change).
func (f *fold) update(old, values []change.Datum) error {
	m := f.mapping
	f.scratch = m.appendKey(f.scratch[:0], values, old)
	now := f.scratch
	was := now
	if old != nil {
		f.scratch = m.appendKey(f.scratch, old, nil)
		now, was = f.scratch[:len(now)], f.scratch[len(now):]
	}
	rekeyed := string(now) != string(was)
	if rekeyed && f.live[string(now)] != nil {
		return errBarrier
	}
	r := f.live[string(was)]
	if r == nil {
		r = f.memory.newRow()
		r.values = f.memory.copyDatums(values)
		r.orig = f.keyDatums(values, old)
		f.rows = append(f.rows, r)
	} else {
		for i, d := range values {
			if d.State != change.Unchanged {
				r.values[i] = change.Datum{State: d.State, Bytes: f.memory.copyBytes(d.Bytes)}
			}
		}
	}
	if rekeyed {
		f.rekeyed = true
		delete(f.live, string(was))
		r.moved = r.orig != nil && !m.sameKey(r.orig, r.values)
	}
	f.live[string(now)] = r
	return nil
}

func (f *fold) delete(old []change.Datum) {
	f.scratch = f.mapping.appendKey(f.scratch[:0], old, nil)
	r := f.live[string(f.scratch)]
	if r == nil {
		f.dead = append(f.dead, f.keyDatums(old, nil))
		return
	}
	delete(f.live, string(f.scratch))
	r.gone = true
	if r.orig != nil {
		f.dead = append(f.dead, r.orig)
	}
}

// keyDatums copies the key from old, or from values if the stream gave no old row.
func (f *fold) keyDatums(values, old []change.Datum) []change.Datum {
	if old != nil {
		values = old
	}
	kept := f.memory.datums.take(len(f.mapping.key))
	for i, k := range f.mapping.key {
		kept[i] = change.Datum{State: values[k].State, Bytes: f.memory.copyBytes(values[k].Bytes)}
	}
	return kept
}

// appendKey appends the key's values with their lengths. A key column that the update left out is taken from old.
func (m *mapping) appendKey(b []byte, values, old []change.Datum) []byte {
	for _, k := range m.key {
		d := values[k]
		if d.State == change.Unchanged && old != nil {
			d = old[k]
		}
		b = appendDatum(b, d)
	}
	return b
}

func appendDatum(b []byte, d change.Datum) []byte {
	b = append(b, byte(d.State))
	b = binary.BigEndian.AppendUint32(b, uint32(len(d.Bytes)))
	return append(b, d.Bytes...)
}

// sameKey compares an original key with the key in values.
func (m *mapping) sameKey(orig, values []change.Datum) bool {
	for i, k := range m.key {
		v := values[k]
		if v.State != change.Unchanged && (v.State != orig[i].State || string(v.Bytes) != string(orig[i].Bytes)) {
			return false
		}
	}
	return true
}
