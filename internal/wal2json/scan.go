package wal2json

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"timeferry/internal/fault"
)

// scanner takes tokens off the front of a JSON text. Its first failure sticks, like that of pgoutput's reader.
type scanner struct {
	rest []byte
	err  error
	// unescaped holds the strings that had to be rewritten. What was handed out before it grew stays valid.
	unescaped []byte
}

func malformed(format string, args ...any) error {
	return fault.New(fault.Integrity, "decode wal2json message", "", "", format, args...)
}

func (s *scanner) fail(format string, args ...any) {
	if s.err == nil {
		s.err = malformed(format, args...)
	}
	s.rest = nil
}

func (s *scanner) space() {
	for len(s.rest) > 0 && (s.rest[0] == ' ' || s.rest[0] == '\n' || s.rest[0] == '\t' || s.rest[0] == '\r') {
		s.rest = s.rest[1:]
	}
}

// peek is the next byte that is no space, or 0.
func (s *scanner) peek() byte {
	s.space()
	if len(s.rest) == 0 {
		return 0
	}
	return s.rest[0]
}

// accept takes the byte c if it is next.
func (s *scanner) accept(c byte) bool {
	if s.peek() != c || c == 0 {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

func (s *scanner) expect(c byte) {
	if !s.accept(c) {
		s.fail("want %q, %d bytes before the end", c, len(s.rest))
	}
}

// more tells whether another element comes in an object or array that ends with end; call it before each, with the number of
// elements before.
func (s *scanner) more(end byte, before int) bool {
	if s.err != nil || s.accept(end) {
		return false
	}
	if before > 0 {
		s.expect(',')
	}
	return s.err == nil
}

// key takes an object's key and its colon.
func (s *scanner) key() []byte {
	k := s.string()
	s.expect(':')
	return k
}

// string takes a string and gives its value, which points into the text if nothing in it is escaped.
func (s *scanner) string() []byte {
	s.expect('"')
	end := bytes.IndexByte(s.rest, '"')
	if end < 0 {
		s.fail("a string without an end")
		return nil
	}
	if i := bytes.IndexByte(s.rest[:end], '\\'); i >= 0 {
		return s.escaped(i)
	}
	value := s.rest[:end:end]
	s.rest = s.rest[end+1:]
	return value
}

// escaped takes the rest of a string whose first escape is at i.
func (s *scanner) escaped(i int) []byte {
	start := len(s.unescaped)
	s.unescaped = append(s.unescaped, s.rest[:i]...)
	s.rest = s.rest[i:]
	for {
		i := bytes.IndexAny(s.rest, `"\`)
		if i < 0 {
			s.fail("a string without an end")
			return nil
		}
		s.unescaped = append(s.unescaped, s.rest[:i]...)
		quote := s.rest[i] == '"'
		s.rest = s.rest[i+1:]
		if quote {
			return s.unescaped[start:len(s.unescaped):len(s.unescaped)]
		}
		s.escape()
		if s.err != nil {
			return nil
		}
	}
}

// escape takes what follows a backslash.
func (s *scanner) escape() {
	if len(s.rest) == 0 {
		s.fail("a string without an end")
		return
	}
	c := s.rest[0]
	s.rest = s.rest[1:]
	switch c {
	case '"', '\\', '/':
		s.unescaped = append(s.unescaped, c)
	case 'b':
		s.unescaped = append(s.unescaped, '\b')
	case 'f':
		s.unescaped = append(s.unescaped, '\f')
	case 'n':
		s.unescaped = append(s.unescaped, '\n')
	case 'r':
		s.unescaped = append(s.unescaped, '\r')
	case 't':
		s.unescaped = append(s.unescaped, '\t')
	case 'u':
		r := s.unit()
		if utf16.IsSurrogate(r) {
			if !bytes.HasPrefix(s.rest, []byte(`\u`)) {
				s.fail("half a surrogate pair")
				return
			}
			s.rest = s.rest[2:]
			if r = utf16.DecodeRune(r, s.unit()); r == utf8.RuneError {
				s.fail("half a surrogate pair")
				return
			}
		}
		s.unescaped = utf8.AppendRune(s.unescaped, r)
	default:
		s.fail("unknown escape \\%c", c)
	}
}

// unit takes four hexadecimal digits.
func (s *scanner) unit() rune {
	if len(s.rest) < 4 {
		s.fail("a string without an end")
		return 0
	}
	n, err := strconv.ParseUint(string(s.rest[:4]), 16, 16)
	if err != nil {
		s.fail("an escape of no hexadecimal number")
		return 0
	}
	s.rest = s.rest[4:]
	return rune(n)
}

// typeOIDKey comes after a type's name.
var typeOIDKey = []byte(`,"typeoid":`)

// typeToken takes a type's name with its quotation marks. It is not always a JSON string, but always ends before the next key, which
// neither a JSON string nor a quoted name can hold: the one would have a backslash before the quotation mark, the other two marks.
func (s *scanner) typeToken() []byte {
	s.space()
	end := bytes.Index(s.rest, typeOIDKey)
	if end < 0 {
		s.fail("a type's name without its number")
		return nil
	}
	token := s.rest[:end:end]
	s.rest = s.rest[end:]
	return token
}

// kind says what a scalar is.
type kind byte

const (
	isNull kind = iota
	isText      // a string
	isBare      // a number
	isTrue
	isFalse
)

// scalar takes a string, number, truth value or null. The value of the last three is the token itself.
func (s *scanner) scalar() (kind, []byte) {
	switch s.peek() {
	case '"':
		return isText, s.string()
	case '{', '[', 0:
		s.fail("want a value, %d bytes before the end", len(s.rest))
		return isNull, nil
	}
	i := bytes.IndexAny(s.rest, ",]} \n\t\r")
	if i < 0 {
		i = len(s.rest)
	}
	token := s.rest[:i:i]
	s.rest = s.rest[i:]
	switch {
	case string(token) == "null":
		return isNull, token
	case string(token) == "true":
		return isTrue, token
	case string(token) == "false":
		return isFalse, token
	case number(token):
		return isBare, token
	}
	s.fail("an unknown word of %d bytes", len(token))
	return isNull, nil
}

// number is true for what PostgreSQL prints for numbers, NaN and the infinities included.
func number(token []byte) bool {
	t := string(bytes.TrimPrefix(token, []byte("-")))
	if t == "Infinity" || t == "NaN" {
		return true
	}
	digits := 0
	for _, c := range []byte(t) {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-':
			return false
		}
	}
	return digits > 0
}

// skip passes over any value.
func (s *scanner) skip() {
	for depth := 0; s.err == nil; {
		switch c := s.peek(); c {
		case '{', '[':
			s.rest = s.rest[1:]
			depth++
		case '}', ']':
			if depth == 0 {
				s.fail("an end without its beginning")
				return
			}
			s.rest = s.rest[1:]
			depth--
		case ',', ':':
			if depth == 0 {
				s.fail("want a value")
				return
			}
			s.rest = s.rest[1:]
			continue
		default:
			s.scalarOrKey()
		}
		if depth == 0 {
			return
		}
	}
}

// scalarOrKey takes a string or a word, which skip does not look at.
func (s *scanner) scalarOrKey() {
	if s.peek() == '"' {
		s.string()
		return
	}
	s.scalar()
}
