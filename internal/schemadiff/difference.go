package schemadiff

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Difference is one property of one object that is not the same on both sides.
type Difference struct {
	Kind   Kind   `json:"kind"`
	Object string `json:"object"`
	// Property is Existence, "owner", "comment", "grants to ROLE", or one of the kind's own.
	Property string `json:"property"`
	// Source and Target are the two values, shortened around the place where they part.
	Source string `json:"source"`
	Target string `json:"target"`
	// Expected says that the plan wanted it so, and Why for what reason. Of other differences Why is what may help a person.
	Expected bool   `json:"expected,omitempty"`
	Why      string `json:"why,omitempty"`
}

// Existence is the property of an object that only one side has. Then nothing that belongs to it is named.
const (
	Existence = "existence"
	exists    = "exists"
	missing   = "missing"
)

// String is one line for a person.
func (d Difference) String() string {
	var text string
	switch {
	case d.Property == Existence && d.Target == missing:
		text = fmt.Sprintf("%s %s: missing on the target", d.Kind, d.Object)
	case d.Property == Existence && d.Source == missing:
		text = fmt.Sprintf("%s %s: on the target only", d.Kind, d.Object)
	default:
		text = fmt.Sprintf("%s %s: %s is %q on the source, %q on the target", d.Kind, d.Object, d.Property, d.Source, d.Target)
	}
	if d.Why != "" {
		text += " (" + d.Why + ")"
	}
	return text
}

// Result of a comparison.
type Result struct {
	// Compared counts the objects of the source that were compared, by kind.
	Compared map[Kind]int `json:"compared"`
	// Differences were not meant, Expected were. Both are sorted by kind, object and property.
	Differences []Difference `json:"differences,omitempty"`
	Expected    []Difference `json:"expected,omitempty"`
}

// Equal is true when there is no difference but those of the plan.
func (r Result) Equal() bool { return len(r.Differences) == 0 }

func (r *Result) sort() {
	order := func(a, b Difference) int {
		return cmp.Or(cmp.Compare(rank(a.Kind), rank(b.Kind)), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Property, b.Property))
	}
	slices.SortFunc(r.Differences, order)
	slices.SortFunc(r.Expected, order)
}

// kinds in the order of a Result; relations come before what belongs to them.
var kinds = []Kind{Schema, Extension, Language, Type, Table, View, MaterializedView, Hypertable, Sequence, Column, Index, Constraint, NotNullConstraint,
	Trigger, Rule, Policy, Statistics, Function, Operator, OperatorFamily, OperatorClass, Cast, Conversion, Collation,
	SearchParser, SearchTemplate, SearchDictionary, SearchConfig, ForeignWrapper, ForeignServer, EventTrigger, DefaultPrivileges}

func rank(k Kind) int { return slices.Index(kinds, k) }

// longest is how much of a value is shown: enough to see what differs, short enough for a report with many.
const longest = 160

// shorten keeps what is around the first place where the two part.
func shorten(a, b string) (string, string) {
	same := 0
	for same < len(a) && same < len(b) && a[same] == b[same] {
		same++
	}
	return around(a, same), around(b, same)
}

func around(s string, at int) string {
	if len(s) <= longest {
		return s
	}
	from := max(0, min(at-longest/3, len(s)-longest))
	to := min(len(s), from+longest)
	for from > 0 && !utf8.RuneStart(s[from]) {
		from--
	}
	for to < len(s) && !utf8.RuneStart(s[to]) {
		to++
	}
	var b strings.Builder
	if from > 0 {
		b.WriteString("…")
	}
	b.WriteString(s[from:to])
	if to < len(s) {
		b.WriteString("…")
	}
	return b.String()
}
