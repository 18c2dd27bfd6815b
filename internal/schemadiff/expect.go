package schemadiff

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"timeferry/internal/contract"
)

// report puts a difference where it belongs.
func (c *comparison) report(s, t *Object, d Difference) {
	for _, rule := range []func(s, t *Object, d Difference) string{c.missingOnTarget, c.onlyOnTarget, c.otherRoles, c.otherHypertable, c.otherForNow, c.withoutRows, c.targetsOwn} {
		if why := rule(s, t, d); why != "" {
			d.Expected, d.Why = true, why
			c.result.Expected = append(c.result.Expected, d)
			return
		}
	}
	c.result.Differences = append(c.result.Differences, d)
}

// hypertable is the plan's word on the object's table.
func (c *comparison) hypertable(o *Object) (contract.Hypertable, bool) {
	h, ok := c.sourceScope.hypertables[o.Table]
	return h, ok
}

// missingOnTarget: what the plan leaves out.
func (c *comparison) missingOnTarget(s, t *Object, d Difference) string {
	if s == nil || t != nil || d.Property != Existence {
		return ""
	}
	id := s.id
	id.sub = 0
	needs, lost := c.source.lost[id]
	_, hyper := c.hypertable(s)
	root, _ := c.source.root(s.relid)
	state := s.property("enabled")
	switch {
	case s.Kind == Table && c.sourceScope.flattened(s.relid):
		return "its rows are in the hypertable " + root.name.String()
	case lost:
		return "it needs " + needs.String() + ", which is not on the target"
	case s.Kind == EventTrigger:
		return "event triggers need a superuser and are not carried over"
	case s.Kind == Trigger && hyper && (state == "disabled" || state == "replica"):
		return "a hypertable does not allow triggers that are switched off"
	case (s.Kind == Trigger || s.Kind == Rule) && c.plan.BeforeCutover && (state == "always" || state == "replica"):
		return "it is made at cutover"
	case c.droppedKey(s):
		return "the plan drops the keys that lack the time column"
	case s.Kind == Policy && !c.plan.Roles && c.lacksRole(s):
		return "the target does not have all its roles, which were not migrated"
	}
	return ""
}

// onlyOnTarget: what TimescaleDB or the target's provider have made.
func (c *comparison) onlyOnTarget(s, t *Object, d Difference) string {
	if s != nil || t == nil || d.Property != Existence {
		return ""
	}
	h, hyper := c.hypertable(t)
	switch {
	case t.Kind == Extension, t.Kind == EventTrigger:
		return "the target's own"
	case t.Kind == Trigger && hyper && strings.HasPrefix(t.Name, "ts_insert_blocker on "):
		return "TimescaleDB's, on every hypertable"
	case t.Kind == Index && hyper && t.property("_unique") == "false" && isDefaultIndex(columnsOf(t), h):
		return "an index that TimescaleDB makes by default"
	case t.Kind == Index && hyper && t.property("_unique") == "false" && c.plan.Keys[t.Table] == KeyDrop:
		return "it takes the place of a key that the plan drops"
	case t.Kind == NotNullConstraint && hyper && t.property("_column") == h.TimeColumn:
		return "a hypertable's time column is NOT NULL"
	}
	return ""
}

// isDefaultIndex: on the time column, and on the space column with it.
func isDefaultIndex(columns []string, h contract.Hypertable) bool {
	return slices.Equal(columns, []string{h.TimeColumn}) || h.SpaceColumn != "" && slices.Equal(columns, []string{h.SpaceColumn, h.TimeColumn})
}

// otherRoles: owners and grants.
func (c *comparison) otherRoles(s, t *Object, d Difference) string {
	grantee, isGrant := strings.CutPrefix(d.Property, grantsTo)
	if d.Property != "owner" && !isGrant {
		return ""
	}
	role := grantee
	if !isGrant {
		role = s.Owner
	}
	toAdmin := isGrant || t.Owner == c.plan.TargetAdmin
	switch {
	case !c.plan.Privileges:
		return "owners and grants are not migrated"
	case d.Kind == Schema && d.Object == "public" && !isGrant:
		return "the schema public is the target's own"
	case reserved(role) && toAdmin:
		return "the roles of RDS are left out"
	case !isGrant && strings.HasPrefix(role, "pg_") && toAdmin:
		return "PostgreSQL's own roles are not made owners"
	case !c.plan.Roles && !c.target.roles[c.mapRole(role)] && role != Owner && role != Public && toAdmin:
		return "the target does not have the role, and roles were not migrated"
	case d.Kind == DefaultPrivileges && reserved(s.Owner):
		return "the roles of RDS are left out"
	case d.Kind == DefaultPrivileges && s.Owner != "" && !c.plan.Roles && !c.target.roles[c.mapRole(s.Owner)]:
		return "the target does not have the role whose default privileges these are, and roles were not migrated"
	}
	return ""
}

// otherHypertable: what a hypertable cannot be like on the source.
func (c *comparison) otherHypertable(s, t *Object, d Difference) string {
	if s == nil || t == nil {
		return ""
	}
	h, hyper := c.hypertable(s)
	if !hyper {
		return ""
	}
	switch {
	case s.Kind == Table && (d.Property == "partition key" || d.Property == "kind" && d.Target == "plain"):
		return "the table is a hypertable now"
	case s.Kind == Table && d.Property == "replica identity":
		return "a hypertable has none of its own"
	case s.Kind == Table && d.Property == "options" && h.Columnstore != nil:
		return "the columnstore sets options"
	case s.Kind == Column && d.Property == "not null" && d.Target == "true" && s.Name == s.Table.String()+"."+display(h.TimeColumn):
		return "a hypertable's time column is NOT NULL"
	case s.Kind == Trigger && d.Property == "enabled" && d.Source == "always" && d.Target == "enabled":
		return "a hypertable allows triggers that are simply enabled only"
	case s.Kind == Index && d.Property == "definition" && c.droppedKey(s) && t.property("_unique") == "false":
		return "the plan drops the keys that lack the time column, and a plain index takes their place"
	case d.Property == "definition" && c.extendedKey(s, t, h):
		return "the plan extends the keys that lack the time column"
	}
	return ""
}

// otherForNow: what the migration has changed for its time.
func (c *comparison) otherForNow(s, t *Object, d Difference) string {
	if s == nil || t == nil || s.Kind != Table {
		return ""
	}
	switch {
	case d.Property == "replica identity" && slices.Contains(c.plan.Identities, s.Table):
		return "the migration has changed it on the source, for its time"
	case d.Property == "forced row security" && c.plan.BeforeCutover && d.Source == "true":
		return "it is set at cutover"
	}
	return ""
}

// withoutRows: what cannot hold for a table whose rows are left out.
func (c *comparison) withoutRows(s, t *Object, d Difference) string {
	if s == nil || t == nil || s.Kind != Constraint || d.Property != "validated" || d.Target != "false" || s.property("_foreign") != "true" {
		return ""
	}
	oid, err := strconv.ParseUint(s.property("_refers to"), 10, 32)
	if err != nil {
		return ""
	}
	if root, ok := c.source.root(uint32(oid)); ok && c.plan.Tables.Includes(root.name) && !c.plan.Tables.Moves(root.name) {
		return "the rows that it refers to, of " + root.name.String() + ", are left out"
	}
	return ""
}

// targetsOwn: what a new database comes with.
func (c *comparison) targetsOwn(s, t *Object, d Difference) string {
	if d.Kind == Schema && d.Object == "public" && d.Property == "comment" {
		return "the schema public is the target's own"
	}
	if d.Kind == Column && d.Property == "identity" && d.Source == "" && s != nil && c.source.Version < 170000 && c.target.Version >= 170000 {
		if root, ok := c.source.root(s.relid); ok && root.name != s.Table {
			return "from 17 on a partition has the identity columns of its table"
		}
	}
	if d.Kind == Extension && d.Property == "comment" {
		return "comments on extensions are not carried over"
	}
	return ""
}

// lacksKey is true for a unique key of a hypertable that does not have all columns by which it is cut.
func lacksKey(o *Object, h contract.Hypertable) bool {
	columns := columnsOf(o)
	return o.property("_unique") == "true" && (!slices.Contains(columns, h.TimeColumn) || h.SpaceColumn != "" && !slices.Contains(columns, h.SpaceColumn))
}

func (c *comparison) droppedKey(s *Object) bool {
	h, hyper := c.hypertable(s)
	return hyper && c.plan.Keys[s.Table] == KeyDrop && lacksKey(s, h)
}

// extendedKey: the same columns, and then those by which the hypertable is cut.
func (c *comparison) extendedKey(s, t *Object, h contract.Hypertable) bool {
	if c.plan.Keys[s.Table] != KeyExtend || !lacksKey(s, h) {
		return false
	}
	want := columnsOf(s)
	for _, column := range []string{h.TimeColumn, h.SpaceColumn} {
		if column != "" && !slices.Contains(want, column) {
			want = append(want, column)
		}
	}
	return slices.Equal(want, columnsOf(t))
}

func columnsOf(o *Object) []string {
	var columns []string
	if err := json.Unmarshal([]byte(o.property("_columns")), &columns); err != nil {
		return nil // an object without columns
	}
	return columns
}

func position(o *Object) int {
	n, err := strconv.Atoi(o.property("_position"))
	if err != nil {
		return 0 // it cannot be: the server counted
	}
	return n
}

func (c *comparison) lacksRole(policy *Object) bool {
	var roles []string
	if err := json.Unmarshal([]byte(policy.property("roles")), &roles); err != nil {
		return false
	}
	return slices.ContainsFunc(roles, func(role string) bool { return role != Public && !c.target.roles[c.mapRole(role)] })
}

// hypertables compares what the target has with what the plan wants.
func (c *comparison) hypertables(right map[string]*Object) {
	for table, h := range c.sourceScope.hypertables {
		c.result.Compared[Hypertable]++
		name := table.String()
		t := right[name]
		if t == nil {
			c.report(nil, nil, Difference{Kind: Hypertable, Object: name, Property: Existence, Source: "planned", Target: missing})
			continue
		}
		for property, planned := range map[string]string{"time column": h.TimeColumn, "space column": h.SpaceColumn} {
			if got := t.property(property); got != planned {
				c.report(nil, nil, Difference{Kind: Hypertable, Object: name, Property: property, Source: planned, Target: got})
			}
		}
	}
	for name, t := range right {
		if _, planned := c.hypertable(t); !planned {
			c.report(nil, nil, Difference{Kind: Hypertable, Object: name, Property: Existence, Source: missing, Target: exists})
		}
	}
}
