// Package ident quotes identifiers and literals of PostgreSQL.
//
// Not here: building of statements.
package ident

import "strings"

// Quote returns name as a quoted SQL identifier, always quoted, so that every name is safe.
func Quote(name string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(name, "\x00", ""), `"`, `""`) + `"`
}

// Literal returns s as an SQL string literal that does not depend on standard_conforming_strings.
func Literal(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	quoted := `'` + strings.ReplaceAll(s, `'`, `''`) + `'`
	if strings.Contains(s, `\`) {
		return ` E` + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// Columns quotes each name and joins them with ", ".
func Columns(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = Quote(n)
	}
	return strings.Join(quoted, ", ")
}

// Table is a schema-qualified relation name.
type Table struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
}

// Quote returns the name for use in SQL: "schema"."name".
func (t Table) Quote() string { return Quote(t.Schema) + "." + Quote(t.Name) }

// String is the name as a person writes it: quoted only where PostgreSQL would need it.
func (t Table) String() string { return display(t.Schema) + "." + display(t.Name) }

func display(name string) string {
	for i, r := range name {
		plain := r == '_' || (r >= 'a' && r <= 'z') || (i > 0 && (r >= '0' && r <= '9' || r == '$'))
		if !plain {
			return Quote(name)
		}
	}
	if name == "" {
		return Quote(name)
	}
	return name
}

// ParseTable reads "schema.name", either part quoted or not; without a schema it is public. An unquoted part is folded
// to lower case as PostgreSQL does. ok is false for anything else.
func ParseTable(s string) (t Table, ok bool) {
	first, rest, ok := parsePart(s)
	if !ok {
		return Table{}, false
	}
	if rest == "" {
		return Table{Schema: "public", Name: first}, true
	}
	if rest[0] != '.' {
		return Table{}, false
	}
	second, rest, ok := parsePart(rest[1:])
	if !ok || rest != "" {
		return Table{}, false
	}
	return Table{Schema: first, Name: second}, true
}

// fold lowers A to Z only, as PostgreSQL does with an unquoted name in a multi-byte encoding.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, name)
}

func parsePart(s string) (part, rest string, ok bool) {
	if s == "" {
		return "", "", false
	}
	if s[0] != '"' {
		end := strings.IndexByte(s, '.')
		if end < 0 {
			end = len(s)
		}
		part = s[:end]
		if part == "" || strings.ContainsAny(part, "\" \t\n") {
			return "", "", false
		}
		return fold(part), s[end:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		return b.String(), s[i+1:], b.Len() > 0
	}
	return "", "", false
}
