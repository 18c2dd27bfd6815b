package extract

import (
	"slices"
	"strings"

	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

func quoted(name string) string { return ident.Quote(name) }

// grant is one GRANT, REVOKE or ALTER DEFAULT PRIVILEGES, parted around the role it is about.
type grant struct {
	before, role, after string
	forRole             string // whose default privileges; empty otherwise
	grantor             string // who granted it, if that is not the owner
}

// token of a statement: a quoted or plain word, or any other sign.
type token struct {
	start, end int
	quoted     bool
	depth      int // of parentheses
}

func (t token) text(sql string) string { return sql[t.start:t.end] }

// name is the identifier that the token stands for. PUBLIC comes out as ledger.PublicRole.
func (t token) name(sql string) string {
	if t.quoted {
		return strings.ReplaceAll(sql[t.start+1:t.end-1], `""`, `"`)
	}
	return strings.ToLower(t.text(sql))
}

// cutGrants parts the text of an ACL entry. Statements are told apart by semicolons outside quotes; pg_dump writes nothing
// but names, keywords and signatures there. SET and RESET SESSION AUTHORIZATION stand around what somebody else than the
// owner granted.
func cutGrants(sql string) ([]grant, error) {
	var grants []grant
	grantor := ""
	for _, statement := range splitStatements(sql) {
		tokens := tokenize(statement)
		if len(tokens) == 0 {
			continue
		}
		switch tokens[0].text(statement) {
		case "SET":
			grantor = tokens[len(tokens)-1].name(statement)
			continue
		case "RESET":
			grantor = ""
			continue
		}
		g, ok := partGrant(statement, tokens)
		if !ok {
			return nil, misread("a grant is not understood: %q", statement)
		}
		g.grantor = grantor
		grants = append(grants, g)
	}
	return grants, nil
}

func partGrant(sql string, tokens []token) (grant, bool) {
	var g grant
	word := func(i int, w string) bool {
		return i < len(tokens) && !tokens[i].quoted && tokens[i].depth == 0 && tokens[i].text(sql) == w
	}
	if word(0, "ALTER") && word(1, "DEFAULT") && word(2, "PRIVILEGES") && word(3, "FOR") && word(4, "ROLE") && len(tokens) > 5 {
		g.forRole = tokens[5].name(sql)
	}
	for i := len(tokens) - 2; i > 0; i-- {
		if word(i, "TO") || word(i, "FROM") {
			role := tokens[i+1]
			g.before, g.role, g.after = sql[:role.start], role.name(sql), sql[role.end:]
			return g, true
		}
	}
	return grant{}, false
}

// mapForRole replaces the role whose default privileges these are, if it is the source's master, by whoever restores them.
func (g grant) mapForRole(master string) grant {
	if g.forRole != master || g.forRole == "" {
		return g
	}
	tokens := tokenize(g.before)
	role := tokens[5]
	g.before = g.before[:role.start] + "CURRENT_USER" + g.before[role.end:]
	g.forRole = ledger.CurrentRole
	return g
}

// onMember is true for rights on what an extension brought, or the server itself: the dump has no entry of the object.
func (b *builder) onMember(e *tocEntry) bool {
	known := slices.ContainsFunc(e.deps, func(dep int) bool { return b.byID[dep] != nil })
	return e.kind == "ACL" && !known && e.name != `SCHEMA "public"`
}

// splitStatements parts at semicolons outside quotes; the semicolons go.
func splitStatements(sql string) []string {
	var statements []string
	from := 0
	for _, t := range tokenize(sql) {
		if !t.quoted && t.text(sql) == ";" {
			statements = append(statements, strings.TrimSpace(sql[from:t.start]))
			from = t.end
		}
	}
	if rest := strings.TrimSpace(sql[from:]); rest != "" {
		statements = append(statements, rest)
	}
	return statements
}

func tokenize(sql string) []token {
	var tokens []token
	depth := 0
	for i := 0; i < len(sql); {
		start := i
		switch c := sql[i]; {
		case c == ' ' || c == '\n' || c == '\t':
			i++
			continue
		case c == '"' || c == '\'':
			i = endOfQuoted(sql, i)
		case isWord(c):
			for i < len(sql) && isWord(sql[i]) {
				i++
			}
		default:
			i++
		}
		t := token{start: start, end: i, quoted: sql[start] == '"' || sql[start] == '\'', depth: depth}
		switch t.text(sql) {
		case "(":
			depth++
		case ")":
			depth--
		}
		tokens = append(tokens, t)
	}
	return tokens
}

func endOfQuoted(sql string, start int) int {
	quote := sql[start]
	for i := start + 1; i < len(sql); i++ {
		if sql[i] != quote {
			continue
		}
		if i+1 < len(sql) && sql[i+1] == quote {
			i++
			continue
		}
		return i + 1
	}
	return len(sql)
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
