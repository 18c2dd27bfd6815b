package extract

import (
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"timeferry/internal/fault"
)

// tocEntry is one line of pg_restore's list, with what its text says.
type tocEntry struct {
	id         int
	class, oid uint32 // of the catalogue row; both 0 for what has none (comments, grants)
	rest       string // the line's end: kind, schema, name, owner, not parted
	section    string

	kind, schema, name, owner string
	deps                      []int
	sql                       string // the statements, without ownership
	ownerSQL                  string // "ALTER … OWNER TO " up to the name, or empty
}

// parseList reads "215; 1259 16388 SEQUENCE public parent_id_seq app" lines.
func parseList(text string) ([]tocEntry, error) {
	var entries []tocEntry
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, ";") {
			continue
		}
		id, rest, _ := strings.Cut(line, "; ")
		class, rest, _ := strings.Cut(rest, " ")
		oid, rest, ok := strings.Cut(rest, " ")
		e := tocEntry{rest: rest}
		var errs [3]error
		e.id, errs[0] = strconv.Atoi(strings.TrimSpace(id))
		e.class, errs[1] = parseOID(class)
		e.oid, errs[2] = parseOID(oid)
		if !ok || errs != [3]error{} {
			return nil, fault.New(fault.Bug, "read list of", "the schema dump", "", "a line is not understood: %q", line)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func parseOID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}

// block is the text of one entry.
type block struct {
	header string // comment lines
	body   string // statements, trimmed
}

// border is a place in the text that looks like the start of an entry.
type border struct{ start, id int }

var borderLine = regexp.MustCompile(`(?m)^--\n-- TOC entry (\d+) \(class (\d+) OID (\d+)\)$`)

// cut parts the text at the borders. The body of a function may contain what looks like one, but then its number stands
// in the text twice; alone, which gives the text that pg_restore writes for a single entry, tells which of the two it is.
func cut(text string, list []tocEntry, alone func(id int) (string, error)) (map[int]block, error) {
	borders := findBorders(text, list)
	seen := map[int]int{}
	for _, b := range borders {
		seen[b.id]++
	}
	blocks := make(map[int]block, len(list))
	for i := 0; i < len(borders); {
		next := i + 1
		if next < len(borders) && seen[borders[next].id] > 1 {
			single, err := alone(borders[i].id)
			if err != nil {
				return nil, err
			}
			end, err := endOfAlone(text, borders[i], single)
			if err != nil {
				return nil, err
			}
			for next < len(borders) && borders[next].start < end {
				next++
			}
		}
		end := endOfDump(text)
		if next < len(borders) {
			end = borders[next].start
		}
		if _, twice := blocks[borders[i].id]; twice {
			return nil, misread("entry %d appears twice", borders[i].id)
		}
		b, err := parseBlock(text[borders[i].start:end])
		if err != nil {
			return nil, err
		}
		blocks[borders[i].id] = b
		i = next
	}
	if len(blocks) != len(list) {
		return nil, misread("%d entries are listed, %d are in the text", len(list), len(blocks))
	}
	return blocks, nil
}

func misread(format string, args ...any) error {
	return fault.New(fault.Bug, "read", "the schema dump", "", format, args...)
}

func findBorders(text string, list []tocEntry) []border {
	known := make(map[string]int, len(list))
	for _, e := range list {
		known[fmt.Sprintf("%d %d %d", e.id, e.class, e.oid)] = e.id
	}
	var borders []border
	for _, m := range borderLine.FindAllStringSubmatchIndex(text, -1) {
		key := text[m[2]:m[3]] + " " + text[m[4]:m[5]] + " " + text[m[6]:m[7]]
		if id, ok := known[key]; ok {
			borders = append(borders, border{start: m[0], id: id})
		}
	}
	sort.Slice(borders, func(i, j int) bool { return borders[i].start < borders[j].start })
	return borders
}

// endOfDump is where the trailer starts. It is the last thing in the text, so the last match is the true one.
func endOfDump(text string) int {
	const trailer = "--\n-- PostgreSQL database dump complete\n--\n"
	end := strings.LastIndex(text, trailer)
	if end < 0 {
		return len(text)
	}
	if completed := strings.LastIndex(text[:end], "\n-- Completed on "); completed >= 0 {
		end = completed + 1
	}
	return end
}

// endOfAlone says where the entry at b ends, given the text that pg_restore writes for it alone.
func endOfAlone(text string, b border, single string) (int, error) {
	first := borderLine.FindStringIndex(single)
	if first == nil {
		return 0, misread("entry %d has no text of its own", b.id)
	}
	own := strings.TrimRight(single[first[0]:endOfDump(single)], "\n")
	if !strings.HasPrefix(text[b.start:], own) {
		return 0, misread("entry %d reads differently alone", b.id)
	}
	return b.start + len(own), nil
}

// defaultTableAM is written by clients before 15, where it cannot be turned off, in front of the entry it is meant for.
const defaultTableAM = "SET default_table_access_method = heap;"

func parseBlock(text string) (block, error) {
	text = strings.TrimPrefix(text, "--\n")
	header, body, ok := strings.Cut(text, "\n--\n")
	if !ok {
		return block{}, misread("an entry has no end of its comment")
	}
	body = strings.TrimRight(body, "\n")
	body = strings.TrimSuffix(body, "\n"+defaultTableAM)
	return block{header: header, body: strings.Trim(body, "\n")}, nil
}

// fill parts the list's line by what the text's header says, and takes over the statements. Both write a space for a line
// break in a name: names has those as they are.
func (e *tocEntry) fill(b, withOwner block, names trueNames) error {
	for line := range strings.Lines(b.header) {
		line = strings.TrimSuffix(line, "\n")
		if deps, ok := strings.CutPrefix(line, "-- Dependencies:"); ok {
			for _, word := range strings.Fields(deps) {
				id, err := strconv.Atoi(word)
				if err != nil {
					return misread("dependencies of entry %d: %q", e.id, deps)
				}
				e.deps = append(e.deps, id)
			}
		}
		if named, ok := strings.CutPrefix(line, "-- Name: "); ok && !e.identify(named) {
			return misread("entry %d: its line %q and its comment %q do not fit", e.id, e.rest, named)
		}
	}
	if e.kind == "" {
		return misread("entry %d has no name", e.id)
	}
	e.sql = b.body
	if name, ok := names.relations[object{e.class, e.oid}]; ok {
		e.name = name
	}
	if schema, ok := names.schemas[object{e.class, e.oid}]; ok {
		e.schema = schema
	}
	if isPublicSchema(e) {
		return nil // it is there, and belongs to the target; before PostgreSQL 15 the text differs with its owner
	}
	if e.kind == "SCHEMA" { // without owners, pg_restore writes its own statement instead of the dump's
		e.sql = "CREATE SCHEMA " + quoted(e.name) + ";"
	}
	return e.takeOwner(withOwner.body, names.roles)
}

// identify parts "kind schema name owner" of the list with the help of "name; Type: kind; Schema: schema; Owner: …". Names
// may contain anything, so the parting is the one where both agree.
func (e *tocEntry) identify(named string) bool {
	for t := range indexes(named, "; Type: ") {
		name, afterType := named[:t], named[t+len("; Type: "):]
		kind, afterKind, ok := strings.Cut(afterType, "; Schema: ")
		if !ok || strings.Trim(kind, "ABCDEFGHIJKLMNOPQRSTUVWXYZ ") != "" {
			continue
		}
		for o := range indexes(afterKind, "; Owner: ") {
			schema := afterKind[:o]
			if owner, ok := strings.CutPrefix(e.rest, kind+" "+schema+" "+name+" "); ok {
				e.kind, e.schema, e.name, e.owner = kind, schema, name, owner
				if schema == "-" {
					e.schema = ""
				}
				return true
			}
		}
	}
	return false
}

// indexes yields every place of sep in s.
func indexes(s, sep string) func(func(int) bool) {
	return func(yield func(int) bool) {
		for from := 0; ; {
			i := strings.Index(s[from:], sep)
			if i < 0 || !yield(from+i) {
				return
			}
			from += i + 1
		}
	}
}

// takeOwner compares the text with ownership to the one without: what is more is the one statement that sets it. The owner
// is of the name in the list, or one of the roles whose names have line breaks.
func (e *tocEntry) takeOwner(withOwner string, broken []string) error {
	more, ok := strings.CutPrefix(withOwner, e.sql)
	if !ok {
		return misread("entry %d reads differently with its owner", e.id)
	}
	more = strings.TrimSpace(more)
	if more == "" {
		return nil
	}
	if head, ok := strings.CutSuffix(more, " OWNER TO "+e.owner+";"); ok {
		e.ownerSQL = head + " OWNER TO "
		return nil
	}
	for _, name := range append([]string{e.owner}, broken...) {
		if head, ok := strings.CutSuffix(more, " OWNER TO "+quoted(name)+";"); ok {
			e.owner, e.ownerSQL = name, head+" OWNER TO "
			return nil
		}
	}
	return misread("entry %d has more than an owner at its end", e.id)
}
