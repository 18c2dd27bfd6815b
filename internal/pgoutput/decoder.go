package pgoutput

import (
	"slices"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/fault"
)

// Decoder turns messages into events. It remembers the relations that the stream has described, and reuses its slices
// from event to event. Not safe for concurrent use. Build it with NewDecoder.
type Decoder struct {
	relations map[uint32]*change.Relation
	last      *change.Relation // most changes come in runs for one table
	old, new  []change.Datum
	truncated []*change.Relation
}

// NewDecoder returns a decoder that knows no relation yet.
func NewDecoder() *Decoder {
	// A row of a table without columns is empty, but it is there.
	return &Decoder{relations: map[uint32]*change.Relation{}, old: []change.Datum{}, new: []change.Datum{}}
}

// Relation is what the stream said last about the table with this OID, or nil.
func (d *Decoder) Relation(oid uint32) *change.Relation { return d.relations[oid] }

// Decode decodes one message. ok is false for messages that mean nothing to the apply (Origin, Type). A Relation message
// yields Kind Schema; when it repeats what is known, with the Relation that was handed out before. The event is valid
// until the next Decode, and only as long as msg is left alone.
func (d *Decoder) Decode(msg []byte) (ev change.Event, ok bool, err error) {
	if len(msg) == 0 {
		return change.Event{}, false, malformed("empty message")
	}
	r := reader{rest: msg[1:]}
	ok = true
	switch msg[0] {
	case 'B':
		decodeBegin(&r, &ev)
	case 'C':
		decodeCommit(&r, &ev)
	case 'R':
		d.decodeRelation(&r, &ev)
	case 'I':
		d.decodeInsert(&r, &ev)
	case 'U':
		d.decodeUpdate(&r, &ev)
	case 'D':
		d.decodeDelete(&r, &ev)
	case 'T':
		d.decodeTruncate(&r, &ev)
	case 'M':
		decodeMessage(&r, &ev)
	case 'O': // where the transaction came from; position and name
		ok = false
		r.uint64()
		r.string()
	case 'Y': // a user-defined type's name; columns are carried as text
		ok = false
		r.uint32()
		r.string()
		r.string()
	default:
		return change.Event{}, false, malformed("unknown message type 0x%02x", msg[0])
	}
	if r.err == nil && len(r.rest) > 0 {
		r.fail("%d bytes after the end of a %q message", len(r.rest), msg[0])
	}
	if r.err != nil {
		return change.Event{}, false, r.err
	}
	return ev, ok, nil
}

func decodeBegin(r *reader, ev *change.Event) {
	ev.Kind = change.Begin
	ev.FinalLSN = change.LSN(r.uint64())
	ev.CommitTime = r.time()
	ev.XID = r.uint32()
}

func decodeCommit(r *reader, ev *change.Event) {
	ev.Kind = change.Commit
	r.uint8() // flags, none defined
	ev.FinalLSN = change.LSN(r.uint64())
	ev.EndLSN = change.LSN(r.uint64())
	ev.CommitTime = r.time()
}

func decodeMessage(r *reader, ev *change.Event) {
	ev.Kind = change.Message
	ev.Transactional = r.uint8()&1 != 0
	ev.MessageLSN = change.LSN(r.uint64())
	ev.Prefix = r.string()
	ev.Content = r.bytes(r.uint32())
}

func (d *Decoder) decodeRelation(r *reader, ev *change.Event) {
	ev.Kind = change.Schema
	rel := &change.Relation{OID: r.uint32(), Schema: r.string(), Name: r.string(), Identity: r.uint8()}
	if rel.Schema == "" { // the protocol's way to write pg_catalog
		rel.Schema = "pg_catalog"
	}
	count := int(r.uint16())
	rel.Columns = make([]change.Column, 0, min(count, len(r.rest)/10)) // a column takes 10 bytes at least
	for range count {
		rel.Columns = append(rel.Columns, change.Column{Key: r.uint8()&1 != 0, Name: r.string(), TypeOID: r.uint32(), Modifier: int32(r.uint32())})
		if r.err != nil {
			return
		}
	}
	if r.err != nil || len(r.rest) > 0 {
		return // Decode reports it; what is known stays
	}
	if known := d.relations[rel.OID]; known != nil && equal(known, rel) {
		rel = known
	}
	d.relations[rel.OID] = rel
	d.last = rel
	ev.Relation = rel
}

func equal(a, b *change.Relation) bool {
	return a.OID == b.OID && a.Schema == b.Schema && a.Name == b.Name && a.Identity == b.Identity && slices.Equal(a.Columns, b.Columns)
}

func (d *Decoder) decodeInsert(r *reader, ev *change.Event) {
	ev.Kind = change.Insert
	ev.Relation = d.relation(r)
	if mark := r.uint8(); mark != 'N' && r.err == nil {
		r.fail("insert has tuple mark 0x%02x, want N", mark)
	}
	d.new = d.tuple(r, ev.Relation, d.new[:0])
	ev.New = d.new
}

func (d *Decoder) decodeUpdate(r *reader, ev *change.Event) {
	ev.Kind = change.Update
	ev.Relation = d.relation(r)
	mark := r.uint8()
	if mark == 'K' || mark == 'O' {
		d.old = d.tuple(r, ev.Relation, d.old[:0])
		ev.Old, ev.OldIsKey = d.old, mark == 'K'
		mark = r.uint8()
	}
	if mark != 'N' && r.err == nil {
		r.fail("update has tuple mark 0x%02x, want N", mark)
	}
	d.new = d.tuple(r, ev.Relation, d.new[:0])
	ev.New = d.new
}

func (d *Decoder) decodeDelete(r *reader, ev *change.Event) {
	ev.Kind = change.Delete
	ev.Relation = d.relation(r)
	mark := r.uint8()
	if mark != 'K' && mark != 'O' && r.err == nil {
		r.fail("delete has tuple mark 0x%02x, want K or O", mark)
	}
	d.old = d.tuple(r, ev.Relation, d.old[:0])
	ev.Old, ev.OldIsKey = d.old, mark == 'K'
}

func (d *Decoder) decodeTruncate(r *reader, ev *change.Event) {
	ev.Kind = change.Truncate
	count := r.uint32()
	flags := r.uint8()
	ev.Cascade, ev.RestartIdentity = flags&1 != 0, flags&2 != 0
	if r.err == nil && int64(count)*4 != int64(len(r.rest)) {
		r.fail("truncate names %d relations in %d bytes", count, len(r.rest))
		return
	}
	d.truncated = d.truncated[:0]
	for range count {
		rel := d.relation(r)
		if r.err != nil {
			return
		}
		d.truncated = append(d.truncated, rel)
	}
	ev.Truncated = d.truncated
}

// relation reads an OID and looks it up. The server describes a relation before its first change in every session, and
// the spool keeps the descriptions, so an unknown one means that we lost it.
func (d *Decoder) relation(r *reader) *change.Relation {
	oid := r.uint32()
	if r.err != nil {
		return nil
	}
	if d.last != nil && d.last.OID == oid {
		return d.last
	}
	rel := d.relations[oid]
	if rel == nil {
		r.err = fault.New(fault.Bug, "decode replication message", "", "", "a change for relation %d, which was never described", oid)
		return nil
	}
	d.last = rel
	return rel
}

// tuple appends the columns' values to into.
func (d *Decoder) tuple(r *reader, rel *change.Relation, into []change.Datum) []change.Datum {
	count := int(r.uint16())
	if r.err != nil {
		return into
	}
	if count != len(rel.Columns) {
		r.fail("a row of %d columns for relation %d, which has %d", count, rel.OID, len(rel.Columns))
		return into
	}
	for range count {
		datum := change.Datum{State: change.State(r.uint8())}
		switch datum.State {
		case change.Null, change.Unchanged:
		case change.Text, change.Binary:
			datum.Bytes = r.bytes(r.uint32())
		default:
			r.fail("column state 0x%02x", byte(datum.State))
		}
		if r.err != nil {
			return into
		}
		into = append(into, datum)
	}
	return into
}

// epoch is the zero of PostgreSQL's clock.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
