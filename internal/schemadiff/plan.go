package schemadiff

import (
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
)

// Plan says what was meant to differ. Its zero value expects no table at all: fill in Tables.
type Plan struct {
	// Tables is the scope, by the names of the source. A partitioned table counts as a whole, by its root.
	Tables contract.Tables
	// Hypertables become such on the target: their partitions are gone, their time columns NOT NULL.
	Hypertables []contract.Hypertable
	// Keys says what was to happen to the unique keys of a hypertable that lack its time column; "": nothing.
	Keys map[ident.Table]KeyChange
	// SourceMaster stands for TargetAdmin on the target. Empty: the user of the connection.
	SourceMaster, TargetAdmin string
	// Roles and Privileges say whether those were migrated. Without privileges, owners and grants differ as expected.
	Roles, Privileges bool
	// Identities are the tables and partitions whose replica identity the migration has changed on the source for its time.
	Identities []ident.Table
	// BeforeCutover says that the target still lacks what is made at cutover only: triggers and rules that fire in replica
	// sessions too, and row security forced on owners.
	BeforeCutover bool
}

// PlanOf is the plan of a spec. identities are those that the ledger has recorded. Set BeforeCutover yourself.
func PlanOf(spec contract.Spec, identities []ident.Table) Plan {
	keys := map[ident.Table]KeyChange{}
	for _, h := range spec.Hypertables {
		if t, ok := ident.ParseTable(h.Table); ok && (h.Key == contract.KeyExtend || h.Key == contract.KeyDrop) {
			keys[t] = KeyChange(h.Key)
		}
	}
	return Plan{Keys: keys, Tables: spec.Tables, Hypertables: spec.Hypertables, SourceMaster: spec.Source.User, TargetAdmin: spec.Target.User,
		Roles: spec.Roles == "migrate", Privileges: spec.Privileges == "migrate", Identities: identities}
}

// KeyChange is what happens to a unique key that lacks the time column.
type KeyChange string

// The changes.
const (
	KeyExtend KeyChange = "extend" // the partitioning columns are added at its end
	KeyDrop   KeyChange = "drop"
)

// scope answers the plan's questions about the relations of one side.
type scope struct {
	plan        Plan
	catalog     *Catalog
	hypertables map[ident.Table]contract.Hypertable
	included    map[ident.Table]bool // answers given before: patterns are slow
}

func newScope(plan Plan, c *Catalog) *scope {
	s := &scope{plan: plan, catalog: c, hypertables: map[ident.Table]contract.Hypertable{}, included: map[ident.Table]bool{}}
	for _, h := range plan.Hypertables {
		if t, ok := ident.ParseTable(h.Table); ok { // the spec was checked
			s.hypertables[t] = h
		}
	}
	return s
}

// includes is true for what belongs to no table, and for all that the scope's tables have.
func (s *scope) includes(relid uint32) bool {
	root, ok := s.catalog.root(relid)
	if !ok || !isTable(root.kind) {
		return true
	}
	in, known := s.included[root.name]
	if !known {
		in = s.plan.Tables.Includes(root.name)
		s.included[root.name] = in
	}
	return in
}

// flattened is true for the partitions of what becomes one hypertable.
func (s *scope) flattened(relid uint32) bool {
	root, ok := s.catalog.root(relid)
	_, hyper := s.hypertables[root.name]
	return ok && hyper && s.catalog.relations[relid].name != root.name
}

// reserved is true for the roles that RDS makes for itself.
func reserved(role string) bool { return strings.HasPrefix(role, "rds") }
