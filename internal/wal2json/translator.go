package wal2json

import (
	"encoding/binary"
	"strconv"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/fault"
)

// Options are what wal2json must be asked for, names and values in turn. The names of the types, which cost the most, are the only mark
// that an altered modifier leaves in the stream: numeric(8,2) and numeric(10,3) have one OID. quoted asks for numbers as strings, which plugins
// from 2.6 on know: only then NaN and the infinities are told from NULL.
func Options(quoted bool) []string {
	o := []string{"format-version", "2", "include-xids", "true", "include-timestamp", "true", "include-lsn", "true",
		"include-origin", "true", "include-type-oids", "true", "include-types", "true"}
	if quoted {
		o = append(o, "numeric-data-types-as-string", "true")
	}
	return o
}

// Catalog says what the source's catalogue has now. ok is false for a table that is not in scope. fresh asks to read it anew,
// because what was said before does not fit the stream.
type Catalog interface {
	Table(schema, name string, fresh bool) (t Table, ok bool, err error)
	// Modifier says which type the server takes a name for, and with which modifier; OID 0 if it knows no such type.
	Modifier(typeName string) (oid uint32, modifier int32, err error)
}

// Translator translates one session's objects. Not safe for concurrent use. Build it with NewTranslator.
type Translator struct {
	catalog Catalog
	known   map[string]*relation // by schema, zero byte, name
	// described are the relations whose descriptions were handed out last, by their OID.
	described map[uint32]*relation
	name      []byte

	scan    scanner
	record  record
	out     []byte
	begun   change.LSN // FinalLSN of the transaction under way
	ends    change.LSN
	at      time.Time
	emptied []uint32 // relations of a TRUNCATE, which come one by one
}

// relation is what is known of a table's name.
type relation struct {
	Table
	inScope bool
	derived bool      // from a change, as the catalogue does not say it any more
	asked   time.Time // when the catalogue said so
}

// NewTranslator returns a translator that has described no table yet.
func NewTranslator(c Catalog) *Translator {
	return &Translator{catalog: c, known: map[string]*relation{}, described: map[uint32]*relation{}}
}

// Translate hands pgoutput's messages for one object to put, which must copy what it keeps. at is the object's position as
// the server gave it. While skip is true, changes are passed over: their transaction is not wanted.
func (t *Translator) Translate(at change.LSN, object []byte, skip bool, put func(msg []byte) error) error {
	if skip && len(object) > 13 && string(object[:11]) == `{"action":"` && object[11] != 'B' && object[11] != 'C' {
		return nil
	}
	t.scan = scanner{rest: object, unescaped: t.scan.unescaped[:0]}
	r := &t.record
	if r.parse(&t.scan); t.scan.err != nil {
		return t.scan.err
	}
	if r.action != 'T' {
		if err := t.truncate(put); err != nil {
			return err
		}
	}
	switch r.action {
	case 'B':
		return t.begin(put)
	case 'C':
		return t.commit(put)
	case 'M':
		return t.message(at, put)
	case 'I', 'U', 'D', 'T':
		if skip {
			return nil
		}
		return t.row(put)
	}
	return malformed("unknown action %q", r.action)
}

func (t *Translator) begin(put func([]byte) error) error {
	r := &t.record
	final, err := change.ParseLSN(string(r.lsn))
	if err != nil {
		return malformed("begin: %w", err)
	}
	xid, err := strconv.ParseUint(string(r.xid), 10, 32)
	if err != nil {
		return malformed("begin: transaction ID: %w", err)
	}
	if t.at, err = parseTime(string(r.timestamp)); err != nil {
		return err
	}
	if t.ends, err = change.ParseLSN(string(r.nextLSN)); err != nil {
		return malformed("begin: %w", err)
	}
	t.begun = final
	b := append(t.out[:0], 'B')
	b = binary.BigEndian.AppendUint64(b, uint64(final))
	b = binary.BigEndian.AppendUint64(b, uint64(micros(t.at)))
	t.out = binary.BigEndian.AppendUint32(b, uint32(xid))
	if err := put(t.out); err != nil || len(r.origin) == 0 || string(r.origin) == "0" {
		return err
	}
	// The origin's name is not in the stream, nor the position there; whoever asks wants to know whether there is one.
	b = append(t.out[:0], 'O')
	b = binary.BigEndian.AppendUint64(b, 0)
	t.out = append(append(b, r.origin...), 0)
	return put(t.out)
}

func (t *Translator) commit(put func([]byte) error) error {
	b := append(t.out[:0], 'C', 0)
	b = binary.BigEndian.AppendUint64(b, uint64(t.begun))
	b = binary.BigEndian.AppendUint64(b, uint64(t.ends))
	t.out = binary.BigEndian.AppendUint64(b, uint64(micros(t.at)))
	return put(t.out)
}

func (t *Translator) message(at change.LSN, put func([]byte) error) error {
	r := &t.record
	flags := byte(0)
	if r.transactional {
		flags = 1
	}
	b := append(t.out[:0], 'M', flags)
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = append(append(b, r.prefix...), 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.content)))
	t.out = append(b, r.content...)
	return put(t.out)
}

// truncate hands out the TRUNCATE whose relations were gathered. Relations of two statements that follow each other at once
// come in one, which does the same. Its flags are not in the stream: what CASCADE reached is listed, and sequences are set at
// the cutover in any case.
func (t *Translator) truncate(put func([]byte) error) error {
	if len(t.emptied) == 0 {
		return nil
	}
	b := append(t.out[:0], 'T')
	b = binary.BigEndian.AppendUint32(b, uint32(len(t.emptied)))
	b = append(b, 0)
	for _, oid := range t.emptied {
		b = binary.BigEndian.AppendUint32(b, oid)
	}
	t.out, t.emptied = b, t.emptied[:0]
	return put(b)
}

// epoch is the zero of PostgreSQL's clock.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func micros(at time.Time) int64 { return at.UnixMicro() - epoch.UnixMicro() }

// parseTime reads a timestamp in ISO form in UTC, which our sessions ask for.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02 15:04:05.999999-07", "2006-01-02 15:04:05.999999-07:00"} {
		if at, err := time.Parse(layout, s); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, malformed("a timestamp that is not in ISO form")
}

func schemaFault(table string, format string, args ...any) error {
	return fault.New(fault.Operator, "translate changes of", table,
		"use the plugin pgoutput, which describes tables as they were: abort, then start again with replication.plugin: pgoutput", format, args...).WithCode(CodeUnclear)
}

// CodeUnclear: the stream and the catalogue together do not say what a change is.
const CodeUnclear = "wal2json-unclear"
