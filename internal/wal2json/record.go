package wal2json

import "strings"

// record is one object of format version 2. Byte slices point into the object, or into the scanner's memory.
type record struct {
	action        byte
	xid           []byte
	timestamp     []byte
	lsn, nextLSN  []byte
	origin        []byte // a number; 0 for what was written on the source itself
	schema, table []byte
	columns       []field
	identity      []field
	hasIdentity   bool
	transactional bool
	prefix        []byte
	content       []byte
}

// field is one column's name, type and value.
type field struct {
	name    []byte
	typ     []byte // as the plugin writes it, see typeName
	typeOID []byte
	kind    kind
	value   []byte
}

// parse reads one object into r, whose slices it uses again.
func (r *record) parse(s *scanner) {
	*r = record{columns: r.columns[:0], identity: r.identity[:0]}
	s.expect('{')
	for n := 0; s.more('}', n); n++ {
		key := s.key()
		switch string(key) {
		case "action":
			if a := s.string(); len(a) == 1 {
				r.action = a[0]
			}
		case "xid":
			_, r.xid = s.scalar()
		case "timestamp":
			_, r.timestamp = s.scalar()
		case "lsn":
			_, r.lsn = s.scalar()
		case "nextlsn":
			_, r.nextLSN = s.scalar()
		case "origin":
			_, r.origin = s.scalar()
		case "schema":
			r.schema = s.string()
		case "table":
			r.table = s.string()
		case "columns":
			r.columns = s.fields(r.columns)
		case "identity":
			r.identity, r.hasIdentity = s.fields(r.identity), true
		case "transactional":
			k, _ := s.scalar()
			r.transactional = k == isTrue
		case "prefix":
			r.prefix = s.string()
		case "content":
			r.content = s.string()
		default:
			s.skip()
		}
	}
	if s.err == nil && s.peek() != 0 {
		s.fail("%d bytes after the object", len(s.rest))
	}
}

func (s *scanner) fields(into []field) []field {
	s.expect('[')
	for n := 0; s.more(']', n); n++ {
		into = append(into, s.field())
	}
	return into
}

func (s *scanner) field() (f field) {
	s.expect('{')
	valued := false
	for n := 0; s.more('}', n); n++ {
		switch string(s.key()) {
		case "name":
			f.name = s.string()
		case "type":
			f.typ = s.typeToken()
		case "typeoid":
			_, f.typeOID = s.scalar()
		case "value":
			f.kind, f.value = s.scalar()
			valued = true
		default:
			s.skip()
		}
	}
	if s.err == nil && (f.name == nil || f.typ == nil || f.typeOID == nil || !valued) {
		s.fail("a column without its name, type or value")
	}
	return f
}

// field is what the record has for a column: its new value, or else that of the old row.
func (r *record) field(name string) *field {
	next := 0
	if f := find(r.columns, name, &next); f != nil {
		return f
	}
	return find(r.identity, name, &next)
}

// named tells whether the field's type is what format_type calls by this name.
func (f *field) named(name string) bool {
	if t := f.typ; len(t) == len(name)+2 && string(t[1:len(t)-1]) == name {
		return true // nearly always: nothing in it is escaped
	}
	return string(f.typ) == name || f.typeName() == name // "bit" is a name with its quotation marks
}

// typeName is the type's name with its modifier. The plugin writes a name that begins with a quoted word as it is, though that need
// not be a JSON string: "Q S"."T""q". With an empty search_path it is qualified then, so that the two are not mistaken.
func (f *field) typeName() string {
	s := scanner{rest: f.typ}
	if name := s.string(); s.err == nil && len(s.rest) == 0 {
		return string(name)
	}
	return string(f.typ)
}

// modified tells whether a type's name has a modifier in it. A type of the server's own has it in brackets anywhere, or in interval's
// words; any other has it at the end, where a quoted name has its quotation mark.
func modified(oid uint32, name string) bool {
	if oid < firstUserOID && (strings.Contains(name, "(") || strings.HasPrefix(name, "interval ")) {
		return true
	}
	return strings.HasSuffix(strings.TrimRight(name, "[]"), ")")
}

// firstUserOID is the least OID of types that databases number on their own.
const firstUserOID = 16384
