package schemadiff

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"timeferry/internal/ident"
)

// Compare is pure: everything it knows was read before.
func Compare(source, target *Catalog, plan Plan) Result {
	plan.SourceMaster = cmp.Or(plan.SourceMaster, source.User)
	plan.TargetAdmin = cmp.Or(plan.TargetAdmin, target.User)
	c := &comparison{plan: plan, source: source, target: target, sourceScope: newScope(plan, source), targetScope: newScope(plan, target),
		onlySource: map[ident.Table]bool{}, onlyTarget: map[ident.Table]bool{}, result: Result{Compared: map[Kind]int{}}}
	left := c.index(source, c.sourceScope, c.mapRole)
	right := c.index(target, c.targetScope, func(role string) string { return role })
	for _, kind := range kinds {
		if kind == NotNullConstraint && min(source.Version, target.Version) < 180000 {
			continue
		}
		c.kind(left[kind], right[kind])
	}
	c.hypertables(right[Hypertable])
	c.columnOrder(left[Column], right[Column])
	c.result.sort()
	return c.result
}

// comparison collects differences.
type comparison struct {
	plan                     Plan
	source, target           *Catalog
	sourceScope, targetScope *scope
	// onlySource and onlyTarget are relations that the other side lacks: what belongs to them is not named.
	onlySource, onlyTarget map[ident.Table]bool
	result                 Result
}

// index sorts a side's objects by kind and name. What is out of the scope is left out; the partitions of hypertables stay, to be
// named as gone.
func (c *comparison) index(side *Catalog, s *scope, role func(string) string) map[Kind]map[string]*Object {
	all := map[Kind]map[string]*Object{}
	for _, o := range side.Objects {
		if !s.includes(o.relid) || s.flattened(o.relid) && o.Kind != Table {
			continue
		}
		name := o.Name
		if o.Kind == DefaultPrivileges {
			name = "of " + display(role(o.Owner)) + " for " + o.Name
		}
		if all[o.Kind] == nil {
			all[o.Kind] = map[string]*Object{}
		}
		all[o.Kind][name] = o
	}
	return all
}

// mapRole is the name that a role of the source has on the target.
func (c *comparison) mapRole(role string) string {
	if role == c.plan.SourceMaster {
		return c.plan.TargetAdmin
	}
	return role
}

// isRelation is true for the kinds that other objects belong to.
func isRelation(k Kind) bool { return k == Table || k == View || k == MaterializedView || k == Type }

// lacks notes a relation that the other side does not have. An enum, say, is none.
func (c *comparison) lacks(relations map[ident.Table]bool, o *Object) {
	if isRelation(o.Kind) && o.Table != (ident.Table{}) {
		relations[o.Table] = true
	}
}

func (c *comparison) kind(left, right map[string]*Object) {
	for name, s := range left {
		t := right[name]
		if s.Kind == Hypertable || c.onlySource[s.Table] && !isRelation(s.Kind) {
			continue
		}
		c.result.Compared[s.Kind]++
		c.pair(name, s, t)
	}
	for name, t := range right {
		if left[name] != nil || t.Kind == Hypertable || c.onlyTarget[t.Table] && !isRelation(t.Kind) {
			continue
		}
		c.pair(name, nil, t)
	}
}

// pair compares two objects of one name; either may be nil.
func (c *comparison) pair(name string, s, t *Object) {
	some := cmp.Or(s, t)
	if some.Kind == DefaultPrivileges { // without an entry, they are what they are anyway
		empty := &Object{Kind: some.Kind}
		c.grants(name, cmp.Or(s, empty), cmp.Or(t, empty))
		return
	}
	switch {
	case t == nil:
		c.lacks(c.onlySource, s)
		c.report(s, t, Difference{Kind: s.Kind, Object: name, Property: Existence, Source: exists, Target: missing})
		return
	case s == nil:
		c.lacks(c.onlyTarget, t)
		c.report(s, t, Difference{Kind: t.Kind, Object: name, Property: Existence, Source: missing, Target: exists})
		return
	}
	c.properties(name, s, t)
	c.differ(name, "owner", s, t, c.mapRole(s.Owner), t.Owner, "")
	c.differ(name, "comment", s, t, s.Comment, t.Comment, "")
	c.grants(name, s, t)
}

// properties compares those that both versions have.
func (c *comparison) properties(name string, s, t *Object) {
	for i, property := range s.names {
		value, ok := t.Property(property)
		if !ok || hidden(property) {
			continue
		}
		own := s.values[i]
		if s.Kind == Policy && property == "roles" {
			own, value = c.roleList(own, c.mapRole), c.roleList(value, func(role string) string { return role })
		}
		if own == value {
			continue
		}
		key := renderedKey{s.Kind, s.Name, property}
		if r, ok := c.target.rendered[key]; ok {
			own = r
		}
		why := ""
		if message, ok := c.target.refused[key]; ok {
			why = "the versions may write the same differently, and the target could not read the source's: " + message
		}
		c.differ(name, property, s, t, own, value, why)
	}
}

// roleList sorts a policy's roles, named as on the target.
func (c *comparison) roleList(list string, role func(string) string) string {
	var names []string
	if err := json.Unmarshal([]byte(list), &names); err != nil {
		return list // it cannot be: the server made it. Then it is compared as it is
	}
	for i := range names {
		names[i] = role(names[i])
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// differ reports two values, with what is known of the reason.
func (c *comparison) differ(name, property string, s, t *Object, own, other, why string) {
	if own == other || alike(s, property, own) == alike(t, property, other) {
		return
	}
	own, other = shorten(own, other)
	c.report(s, t, Difference{Kind: s.Kind, Object: name, Property: property, Source: own, Target: other, Why: why})
}

// alike makes two ways of writing one thing the same, which versions differ in:
//   - before 16, format_type quotes json, a key word, as it is told to quote identifiers;
//   - from 14 on, the arguments of a procedure are written with IN.
//
// Both sides are treated so, wherever the words stand: what really differs still does.
func alike(o *Object, property, value string) string {
	value = plainJSON(value)
	if o != nil && o.Kind == Function && property == "arguments" && o.property("kind") == "procedure" {
		value = strings.ReplaceAll(strings.TrimPrefix(value, "IN "), ", IN ", ", ")
	}
	return value
}

func plainJSON(text string) string { return strings.ReplaceAll(text, `"json"`, "json") }

// grantsTo is the property's name for one grantee.
const (
	grantsTo     = "grants to "
	byDefault    = "the default"
	nothingAtAll = "nothing"
)

func (c *comparison) grants(name string, s, t *Object) {
	if len(s.Grants) == 0 && len(t.Grants) == 0 {
		return
	}
	own := map[string]string{}
	for role, privileges := range s.Grants {
		mapped := role
		if role != Owner && role != Public {
			mapped = c.mapRole(role)
		}
		if mapped == t.Owner { // it may do on the target whatever it likes
			continue
		}
		own[mapped] = privileges
	}
	grantees := maps.Clone(own)
	maps.Copy(grantees, t.Grants)
	for role := range grantees {
		a, b := c.privileges(own, role), c.privileges(t.Grants, role)
		if a != b {
			c.report(s, t, Difference{Kind: cmp.Or(s.Kind, t.Kind), Object: name, Property: grantsTo + role, Source: a, Target: b})
		}
	}
}

// privileges of a role, less what one of the servers does not know.
func (c *comparison) privileges(grants map[string]string, role string) string {
	list, ok := grants[role]
	if !ok {
		return byDefault
	}
	words := strings.Split(list, ", ")
	if min(c.source.Version, c.target.Version) < 170000 {
		words = slices.DeleteFunc(words, func(w string) bool { return w == "MAINTAIN" || w == "MAINTAIN*" })
	}
	return cmp.Or(strings.Join(words, ", "), nothingAtAll)
}

// columnOrder compares the order of the columns that both sides have.
func (c *comparison) columnOrder(left, right map[string]*Object) {
	tables := map[ident.Table][]*Object{}
	for name, s := range left {
		if right[name] != nil && !c.onlySource[s.Table] {
			tables[s.Table] = append(tables[s.Table], s)
		}
	}
	for table, columns := range tables {
		own, other := slices.Clone(columns), slices.Clone(columns)
		slices.SortFunc(own, func(a, b *Object) int { return cmp.Compare(position(a), position(b)) })
		slices.SortFunc(other, func(a, b *Object) int { return cmp.Compare(position(right[a.Name]), position(right[b.Name])) })
		if slices.Equal(own, other) {
			continue
		}
		a, b := shorten(columnNames(own), columnNames(other))
		c.report(nil, nil, Difference{Kind: Table, Object: table.String(), Property: "column order", Source: a, Target: b})
	}
}

func columnNames(columns []*Object) string {
	names := make([]string, len(columns))
	for i, o := range columns {
		names[i] = strings.TrimPrefix(o.Name, o.Table.String()+".")
	}
	return strings.Join(names, ", ")
}
