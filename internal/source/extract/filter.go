package extract

import (
	"slices"
	"strings"

	"timeferry/internal/contract"
)

// Codes of the problems that Dump reports.
const (
	CodeNeedsExcluded     = "needs-excluded-table"
	CodeNeedsPartition    = "needs-partition"
	CodeNotCarried        = "not-carried"
	CodeHypertableMissing = "hypertable-missing"
)

// never are the kinds that are not restored: settings of other places, what other steps do, and what a schema dump should
// not have.
var never = map[string]bool{
	"ENCODING": true, "STDSTRINGS": true, "SEARCHPATH": true, "DATABASE": true, "DATABASE PROPERTIES": true, "TABLESPACE": true,
	"TABLE DATA": true, "SEQUENCE SET": true, KindRefresh: true, "STATISTICS DATA": true,
	"BLOB": true, "BLOBS": true, "BLOB COMMENTS": true, "BLOB METADATA": true, "LARGE OBJECT": true,
	"PUBLICATION": true, "PUBLICATION TABLE": true, "PUBLICATION TABLES IN SCHEMA": true, "SUBSCRIPTION": true, "SUBSCRIPTION TABLE": true,
	"SECURITY LABEL": true,
}

// reported are kinds that are left out too, but that a person must know of.
var reported = map[string]struct{ message, remedy string }{
	"EVENT TRIGGER": {"event triggers need a superuser and are not carried over", "ask the target's provider, or do without it"},
	"USER MAPPING":  {"user mappings hold passwords and are not carried over", "create it on the target yourself: CREATE USER MAPPING"},
}

// leftOut decides whether an entry is not restored, and reports it unless that was asked for or is of no interest.
func (b *builder) leftOut(e *tocEntry) bool {
	if never[e.kind] || isPublicSchema(e) || isACL(e.kind) && !b.privileges {
		return true
	}
	if why, ok := reported[e.kind]; ok {
		b.report(contract.Warning, CodeNotCarried, describe(e), why.message, why.remedy)
		return true
	}
	switch e.kind {
	case "EXTENSION":
		return e.name == "plpgsql" || e.name == "timescaledb"
	case "COMMENT":
		if e.name == `SCHEMA "public"` || b.commentsOnExtension(e) {
			return true // they belong to others on the target
		}
	}
	return b.outOfScope(e) || b.idleOnHypertable(e)
}

// idleOnHypertable: TimescaleDB does not let triggers of hypertables be switched off, so one that does not fire on the
// source must not be made.
func (b *builder) idleOnHypertable(e *tocEntry) bool {
	t, ok := b.cat.triggers[e.oid]
	if e.kind != "TRIGGER" || !ok || t.state == "A" || !b.onHypertable(e) {
		return false
	}
	b.report(contract.Warning, CodeNotCarried, describe(e), "it is switched off for ordinary sessions, which a hypertable does not allow, so it is left out",
		"make it on the target when it is to fire")
	return true
}

func (b *builder) commentsOnExtension(e *tocEntry) bool {
	for _, dep := range e.deps {
		if on := b.byID[dep]; on != nil && on.kind == "EXTENSION" {
			return true
		}
	}
	return false
}

// outOfScope: what belongs to a table that is not carried over goes silently with it; what only needs one is reported.
func (b *builder) outOfScope(e *tocEntry) bool {
	if e.class == 0 {
		for _, dep := range e.deps {
			if b.skipped[dep] {
				return true
			}
		}
		return false
	}
	o := object{e.class, e.oid}
	r, known := b.cat.relationOf(o)
	if known && (b.cat.excluded[r.oid] || b.cat.flattened[r.oid]) {
		return true
	}
	l, ok := b.cat.lost[o]
	if !ok {
		return false
	}
	b.reportLost(e, l)
	return true
}

func (b *builder) reportLost(e *tocEntry, l lost) {
	needs := b.cat.relations[l.needs].name.String()
	switch {
	case e.kind == "TABLE":
		b.report(contract.Fatal, CodeNeedsExcluded, describe(e), "this table cannot be made without "+needs+", which is not in the scope",
			"include "+needs+" too, or exclude this table")
	case b.cat.flattened[l.needs]:
		b.report(contract.Warning, CodeNeedsPartition, describe(e), "it needs "+needs+", a partition of a table that becomes one hypertable, and is left out",
			"make it on the target, reading the hypertable instead")
	default:
		b.report(contract.Warning, CodeNeedsExcluded, describe(e), "it needs "+needs+", which is not in the scope, and is left out",
			"include that table too, or do without this object")
	}
}

// reportRest says what no entry of the dump speaks of.
func (b *builder) reportRest() {
	from := len(b.problems)
	b.reportInline()
	slices.SortFunc(b.problems[from:], func(x, y contract.Problem) int { return strings.Compare(x.Object+x.Message, y.Object+y.Message) })
	for _, t := range b.cat.missingHypertables {
		b.report(contract.Fatal, CodeHypertableMissing, t.String(), "it is to become a hypertable but is no table in the scope of the migration",
			"correct its name under hypertables, or include it under tables")
	}
	if names := b.cat.databaseSettings; len(names) > 0 {
		b.report(contract.Info, CodeNotCarried, "ALTER DATABASE … SET", "the source database has settings of its own that are not carried over: "+strings.Join(names, ", "),
			"set them on the target if the application needs them")
	}
}

// reportInline finds defaults and checks that stand inside CREATE TABLE and need a table that is not there.
func (b *builder) reportInline() {
	own := map[object]bool{}
	for _, e := range b.byID {
		own[object{e.class, e.oid}] = true
	}
	for o, l := range b.cat.lost {
		r, known := b.cat.relationOf(o)
		if !known || own[o] || b.cat.excluded[r.oid] || b.cat.flattened[r.oid] {
			continue
		}
		check := o.class == b.cat.classes["pg_constraint"] && b.cat.constraints[o.oid].kind == "c"
		if o.class == b.cat.classes["pg_attrdef"] || check {
			b.report(contract.Fatal, CodeNeedsExcluded, "table "+r.name.String(),
				"it cannot be made without "+b.cat.relations[l.needs].name.String()+", which is not in the scope: "+l.kind+" "+l.identity+" needs it",
				"include that table too, or exclude this one")
		}
	}
}

func (b *builder) report(severity contract.Severity, code, object, message, remedy string) {
	b.problems = append(b.problems, contract.Problem{Severity: severity, Code: code, Object: object, Message: message, Remedy: remedy})
}

func describe(e *tocEntry) string {
	name := e.name
	if e.schema != "" {
		name = e.schema + "." + name
	}
	return strings.ToLower(e.kind) + " " + name
}
