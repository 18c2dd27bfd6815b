package extract

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// builder turns the dump's entries into the ledger's.
type builder struct {
	cat        *catalogue
	master     string
	privileges bool

	byID     map[int]*tocEntry
	dropped  map[int]bool           // unique constraints of hypertables that become plain indexes
	skipped  map[int]bool           // left out, and so is what speaks of it
	made     map[int][]ledger.Entry // per entry of the dump
	labels   []string               // security labels, which are left out
	members  []string               // rights on what extensions bring
	problems []contract.Problem
}

// build decides about every entry. It is pure: all that it needs was read before.
func build(toc []tocEntry, cat *catalogue, o DumpOptions) ([]ledger.Entry, []contract.Problem, error) {
	b := &builder{cat: cat, master: o.Source.User, privileges: o.Privileges, byID: map[int]*tocEntry{}, skipped: map[int]bool{}, dropped: map[int]bool{}, made: map[int][]ledger.Entry{}}
	for i := range toc {
		b.byID[toc[i].id] = &toc[i]
	}
	var main, last []ledger.Entry
	for i := range toc {
		e := &toc[i]
		if b.leftOut(e) {
			b.skipped[e.id] = !isPublicSchema(e)
			continue
		}
		made, err := b.entries(e)
		if err != nil {
			return nil, nil, err
		}
		b.made[e.id] = made
		// Grants come when everything is there, as pg_restore does it: before, owners need their rights to build.
		if isACL(e.kind) {
			last = append(last, made...)
		} else {
			main = append(main, made...)
		}
	}
	if o.Only == nil {
		b.reportRest()
	}
	return inOrder(append(main, last...)), b.problems, nil
}

// inOrder sorts by section, and keeps the dump's order inside each. Materialized views are filled after foreign keys.
func inOrder(entries []ledger.Entry) []ledger.Entry {
	sections := []string{ledger.SectionPreData, ledger.SectionPostData, ledger.SectionFinish, ledger.SectionCutover}
	rank := func(e ledger.Entry) int {
		r := 2 * slices.Index(sections, e.Section)
		if e.Kind == KindRefresh {
			r++
		}
		return r
	}
	slices.SortStableFunc(entries, func(x, y ledger.Entry) int { return rank(x) - rank(y) })
	for i := range entries {
		entries[i].Ordinal = i + 1
	}
	return entries
}

// Kinds of entries that pg_restore does not know.
const (
	KindRefresh  = "MATERIALIZED VIEW DATA"
	KindValidate = "VALIDATE CONSTRAINT"
	KindForceRLS = "FORCE ROW SECURITY"
	// KindExtensionData: rows of an extension's configuration table.
	KindExtensionData = "EXTENSION DATA"
)

func isACL(kind string) bool { return kind == "ACL" || kind == "DEFAULT ACL" }

func isPublicSchema(e *tocEntry) bool { return e.kind == "SCHEMA" && e.name == "public" }

// entries makes the ledger's entries of one of the dump's.
func (b *builder) entries(e *tocEntry) ([]ledger.Entry, error) {
	if isACL(e.kind) {
		return b.grants(e)
	}
	o := object{e.class, e.oid}
	base := ledger.Entry{ID: strconv.Itoa(e.id), Section: e.section, Kind: e.kind, Schema: e.schema, Name: e.name, SQL: e.sql}
	if r, ok := b.cat.relationOf(o); ok {
		base.Table = r.name
	}
	b.follow(e, &base)
	if b.privileges && e.ownerSQL != "" && b.carried(e.owner) {
		base.Owner, base.OwnerSQL = e.owner, e.ownerSQL
	}
	if key, ok := b.cat.keys[o]; ok {
		return []ledger.Entry{b.changedKey(e, base, key)}, nil
	}
	if b.speaksOfDropped(e) {
		return nil, nil
	}
	switch e.kind {
	case "TABLE":
		return b.table(e, base)
	case "MATERIALIZED VIEW":
		return b.materializedView(e, base), nil
	case "INDEX":
		return b.index(e, base)
	case "CONSTRAINT", "CHECK CONSTRAINT":
		base.Exclusive = true
		return []ledger.Entry{b.inTwoSteps(e, b.constraint(e, base))}, nil
	case "FK CONSTRAINT":
		return b.foreignKey(e, base)
	case "TRIGGER", "RULE":
		base.Fires = e.kind == "TRIGGER" || !strings.HasSuffix(e.name, " _RETURN")
		if b.cat.replicaFiring[o] {
			base.Section = ledger.SectionCutover
		}
		if t, ok := b.cat.triggers[e.oid]; ok && e.kind == "TRIGGER" && b.onHypertable(e) {
			base.SQL = t.definition + ";" // fires always on the source; here it can only be enabled
		}
	case "POLICY":
		if p, ok := b.cat.policies[e.oid]; ok {
			base.SQL, base.AfterSQL, base.Roles = p.head, p.tail, b.mapRoles(p.roles)
		}
	}
	return []ledger.Entry{base}, nil
}

// follow puts what speaks of another entry (a comment, an attachment) where that one is, when it was put off.
func (b *builder) follow(e *tocEntry, base *ledger.Entry) {
	if e.class != 0 {
		return
	}
	for _, dep := range e.deps {
		for _, made := range b.made[dep] {
			if made.Kind != b.byID[dep].kind {
				continue
			}
			base.Fires = base.Fires || made.Fires
			if made.Section == ledger.SectionFinish || made.Section == ledger.SectionCutover {
				base.Section = made.Section
			}
		}
	}
}

// table takes out of CREATE TABLE what must not be there yet. Both texts are compared exactly with what the catalogue says.
func (b *builder) table(e *tocEntry, base ledger.Entry) ([]ledger.Entry, error) {
	r, ok := b.cat.relationOf(object{e.class, e.oid})
	if !ok {
		return nil, misread("table entry %d is not in the catalogue", e.id)
	}
	made := []ledger.Entry{base}
	if b.cat.hypertables[r.oid] && r.kind == "p" {
		text, err := replaceLast(base.SQL, "\nPARTITION BY "+r.partitionKey+";", ";", e)
		if err != nil {
			return nil, err
		}
		made[0].SQL = text
	}
	if r.forceRLS {
		// While changes are applied as a member of the owner, row security must not hold for owners.
		text, err := replaceLast(made[0].SQL, "\nALTER TABLE ONLY "+r.name.Quote()+" FORCE ROW LEVEL SECURITY;", "", e)
		if err != nil {
			return nil, err
		}
		made[0].SQL = text
		force := ledger.Entry{ID: base.ID + ".force", Section: ledger.SectionCutover, Kind: KindForceRLS, Schema: base.Schema, Name: base.Name, Table: r.name,
			SQL: "ALTER TABLE " + r.name.Quote() + " FORCE ROW LEVEL SECURITY;"}
		made = append(made, force)
	}
	return made, nil
}

// replaceLast: what stands in the text earlier is the default of a column that looks like it.
func replaceLast(sql, part, by string, e *tocEntry) (string, error) {
	at := strings.LastIndex(sql, part)
	if at < 0 {
		return "", misread("table %s.%s does not read as its catalogue entry says", e.schema, e.name)
	}
	return sql[:at] + by + sql[at+len(part):], nil
}

// materializedView is made empty, and filled at the end if it is filled on the source.
func (b *builder) materializedView(e *tocEntry, base ledger.Entry) []ledger.Entry {
	r, ok := b.cat.relationOf(object{e.class, e.oid})
	if !ok || !r.populated {
		return []ledger.Entry{base}
	}
	return []ledger.Entry{base, {ID: base.ID + ".refresh", Section: ledger.SectionFinish, Kind: KindRefresh, Schema: base.Schema, Name: base.Name,
		Table: r.name, SQL: "REFRESH MATERIALIZED VIEW " + r.name.Quote() + ";"}}
}

func (b *builder) index(e *tocEntry, base ledger.Entry) ([]ledger.Entry, error) {
	x, ok := b.cat.indexes[e.oid]
	if !ok {
		return nil, misread("index entry %d is not in the catalogue", e.id)
	}
	base.Exclusive = x.exclusive
	if b.onHypertable(e) {
		base.SQL = x.definition + ";"
		if rest, only := strings.CutPrefix(x.definition, x.onlyPrefix); only {
			base.SQL = x.prefix + rest + ";"
		}
	}
	return []ledger.Entry{base}, nil
}

func (b *builder) onHypertable(e *tocEntry) bool {
	r, ok := b.cat.relationOf(object{e.class, e.oid})
	return ok && b.cat.hypertables[r.oid]
}

// constraint of a hypertable is built from the catalogue: ALTER TABLE ONLY is refused there.
func (b *builder) constraint(e *tocEntry, base ledger.Entry) ledger.Entry {
	if x, ok := b.cat.constraints[e.oid]; ok && b.onHypertable(e) {
		base.SQL = "ALTER TABLE " + base.Table.Quote() + "\n    ADD CONSTRAINT " + ident.Quote(x.name) + " " + x.definition + ";"
	}
	return base
}

// foreignKey is added NOT VALID and validated at the end, once no row is missing any more. A partitioned table refuses
// NOT VALID (before PostgreSQL 18): its keys are made at the end.
func (b *builder) foreignKey(e *tocEntry, base ledger.Entry) ([]ledger.Entry, error) {
	x, ok := b.cat.constraints[e.oid]
	r, known := b.cat.relations[x.relation]
	if !ok || !known {
		return nil, misread("foreign key entry %d is not in the catalogue", e.id)
	}
	base = b.constraint(e, base)
	base.Exclusive, base.Fires = true, true
	switch {
	case r.kind == "p" && !b.cat.hypertables[r.oid]:
		base.Section = ledger.SectionFinish
		return []ledger.Entry{base}, nil
	case !x.validated: // nor is it on the source
		return []ledger.Entry{base}, nil
	}
	sql, ok := strings.CutSuffix(base.SQL, ";")
	if !ok {
		return nil, misread("foreign key entry %d does not end with its statement", e.id)
	}
	base.SQL = sql + " NOT VALID;"
	return []ledger.Entry{base, {ID: base.ID + ".validate", Section: ledger.SectionFinish, Kind: KindValidate, Schema: base.Schema, Name: base.Name,
		Table: r.name, Fires: true, SQL: "ALTER TABLE " + r.name.Quote() + " VALIDATE CONSTRAINT " + ident.Quote(x.name) + ";"}}, nil
}

// grants makes one entry of each statement, so that those for roles that are not on the target can be left out.
func (b *builder) grants(e *tocEntry) ([]ledger.Entry, error) {
	parts, err := cutGrants(e.sql)
	if err != nil {
		return nil, err
	}
	var made []ledger.Entry
	for i, g := range parts {
		if isReserved(g.role) || isReserved(g.forRole) {
			continue
		}
		g = g.mapForRole(b.master)
		entry := ledger.Entry{ID: fmt.Sprintf("%d.%d", e.id, i+1), Section: e.section, Kind: e.kind, Schema: e.schema, Name: e.name,
			Owner: b.owner(g), SQL: g.before, AfterSQL: g.after + ";", Roles: b.mapRoles([]string{g.role})}
		b.follow(e, &entry)
		made = append(made, entry)
	}
	if len(made) > 0 && b.onMember(e) {
		b.members = append(b.members, describe(e))
	}
	return made, nil
}

// owner is the role that a grant's entry speaks for, if that is neither the object's owner nor the source's master.
func (b *builder) owner(g grant) string {
	if g.grantor != "" && b.carried(g.grantor) {
		return g.grantor
	}
	return g.forRole
}

// mapRoles puts whoever restores in the place of the source's master.
func (b *builder) mapRoles(roles []string) []string {
	mapped := make([]string, len(roles))
	for i, r := range roles {
		mapped[i] = r
		if r == b.master {
			mapped[i] = ledger.CurrentRole
		}
	}
	return mapped
}

// carried says whether the role is one that may own things on the target under its own name.
func (b *builder) carried(role string) bool {
	return role != "" && role != b.master && !isReserved(role) && !strings.HasPrefix(role, "pg_")
}

// isReserved is true for the roles that RDS makes for itself.
func isReserved(role string) bool { return strings.HasPrefix(role, "rds") }
