package wal2json

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
		case "typeoid":
			_, f.typeOID = s.scalar()
		case "value":
			f.kind, f.value = s.scalar()
			valued = true
		default:
			s.skip()
		}
	}
	if s.err == nil && (f.name == nil || f.typeOID == nil || !valued) {
		s.fail("a column without its name, type or value")
	}
	return f
}
