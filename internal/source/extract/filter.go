package extract

import (
	"fmt"
	"slices"
	"strings"

	"timeferry/internal/contract"
)

// Codes of the problems that Dump reports.
const (
	CodeNeedsExcluded     = "needs-excluded-table"
	CodeNeedsPartition    = "needs-partition"
	CodeNeedsSuperuser    = "needs-superuser"
	CodeNotCarried        = "not-carried"
	CodeExtensionRights   = "extension-rights"
	CodeSetsParameter     = "function-sets-parameter"
	CodeHypertableMissing = "hypertable-missing"
)

// never are the kinds that are not restored: settings of other places, what other steps do, and what a schema dump should
// not have.
var never = map[string]bool{
	"ENCODING": true, "STDSTRINGS": true, "SEARCHPATH": true, "DATABASE": true, "DATABASE PROPERTIES": true, "TABLESPACE": true,
	"TABLE DATA": true, "SEQUENCE SET": true, KindRefresh: true, "STATISTICS DATA": true,
	"BLOB": true, "BLOBS": true, "BLOB COMMENTS": true, "BLOB METADATA": true, "LARGE OBJECT": true,
	"PUBLICATION": true, "PUBLICATION TABLE": true, "PUBLICATION TABLES IN SCHEMA": true, "SUBSCRIPTION": true, "SUBSCRIPTION TABLE": true,
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
	if e.kind == "SHELL TYPE" && len(b.cat.privileged) > 0 {
		return true // its type says why
	}
	if why, ok := reported[e.kind]; ok {
		b.report(contract.Warning, CodeNotCarried, describe(e), why.message, why.remedy)
		return true
	}
	switch e.kind {
	case "EXTENSION":
		return e.name == "plpgsql" || e.name == "timescaledb"
	case "SECURITY LABEL":
		if !b.outOfScope(e) {
			b.labels = append(b.labels, describe(e))
		}
		return true
	case "COMMENT":
		if b.commentsOnExtension(e) || e.name == `SCHEMA "public"` && !b.cat.publicComment {
			return true // extensions belong to others on the target
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
	if _, privileged := b.cat.privileged[o]; privileged {
		b.report(contract.Warning, CodeNeedsSuperuser, describe(e), "only a superuser may make it, which the target's user is not: it is left out",
			"let an extension that the target has bring it, or do without it")
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
	needs, why, code := b.cat.needed(l)
	switch {
	case e.kind == "TABLE":
		b.report(contract.Fatal, code, describe(e), "this table cannot be made without "+needs+", "+why, remedyFor(code, needs))
	case b.cat.flattened[l.needs.oid] && code == CodeNeedsExcluded:
		b.report(contract.Warning, CodeNeedsPartition, describe(e), "it needs "+needs+", a partition of a table that becomes one hypertable, and is left out",
			"make it on the target, reading the hypertable instead")
	case code == CodeNeedsSuperuser:
		b.report(contract.Warning, code, describe(e), "it needs "+needs+", "+why+", and is left out", "make it on the target in another way, or do without it")
	default:
		b.report(contract.Warning, code, describe(e), "it needs "+needs+", "+why+", and is left out", "include that table too, or do without this object")
	}
}

// remedyFor a table that cannot be made.
func remedyFor(code, needs string) string {
	if code == CodeNeedsSuperuser {
		return "let an extension that the target has bring it, or exclude this table"
	}
	return "include " + needs + " too, or exclude this table"
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
	if len(b.labels) > 0 {
		b.report(contract.Warning, CodeNotCarried, b.labels[0], fmt.Sprintf("security labels (%d) need their provider's library and are not carried over", len(b.labels)),
			"load the provider on the target and set them there, or do without them")
	}
	if len(b.members) > 0 {
		b.report(contract.Info, CodeExtensionRights, b.members[0], fmt.Sprintf("rights on what extensions or the server bring (%d) are set as far as the target's user may: a server that does not let it may say nothing", len(b.members)),
			"check them on the target, and have its provider set what the application needs")
	}
	for _, s := range b.cat.setters {
		b.report(contract.Warning, CodeSetsParameter, "function "+s.function, "it sets "+s.parameter+", which only a superuser, or whom one allows, may do: where the target's user may not, it cannot be made",
			"let the target's provider run: GRANT SET ON PARAMETER "+s.parameter+" to the target's user; or change the function on the source")
	}
	if has := b.cat.databaseOwn; len(has) > 0 {
		b.report(contract.Info, CodeNotCarried, "database", "the source database itself has "+strings.Join(has, " and ")+", which the target's database does not get",
			"set them on the target if the application needs them")
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
			needs, why, code := b.cat.needed(l)
			b.report(contract.Fatal, code, "table "+r.name.String(), "it cannot be made without "+needs+", "+why+": "+l.kind+" "+l.identity+" needs it", remedyFor(code, needs))
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
