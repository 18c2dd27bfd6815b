package contract

import (
	"regexp"
	"strings"

	"timeferry/internal/ident"
)

// A table pattern is schema.name, where * stands for any characters and ? for one. A part in double quotes is taken
// literally, dots and wildcards too, with "" for a quote. Letter case counts everywhere.

// matchAny says whether one of the patterns matches. A string that is no pattern matches nothing: ParseSpec refuses it.
func matchAny(patterns []string, table ident.Table) bool {
	for _, p := range patterns {
		schema, name, ok := parsePattern(p)
		if ok && schema.MatchString(table.Schema) && name.MatchString(table.Name) {
			return true
		}
	}
	return false
}

// parsePattern splits at the one dot outside of quotes; ok is false when there are more or none, or a part is empty.
func parsePattern(p string) (schema, name *regexp.Regexp, ok bool) {
	var parts []string
	var part strings.Builder
	quoted := false
	runes := []rune(p)
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; {
		case r == '"' && quoted && i+1 < len(runes) && runes[i+1] == '"':
			part.WriteRune('"')
			i++
		case r == '"':
			quoted = !quoted
		case r == '.' && !quoted:
			parts = append(parts, part.String())
			part.Reset()
		case r == '*' && !quoted:
			part.WriteString(".*")
		case r == '?' && !quoted:
			part.WriteString(".")
		default:
			part.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	parts = append(parts, part.String())
	if quoted || len(parts) != 2 || parts[0] == "" || parts[1] == "" {
		return nil, nil, false
	}
	compile := func(s string) *regexp.Regexp { return regexp.MustCompile(`(?s)^` + s + `$`) }
	return compile(parts[0]), compile(parts[1]), true
}
