package plan

import (
	"slices"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// NewTables tells of src's tables, which came into being during the migration, which can be carried over, and what speaks
// against the others. taken are names that are in use on the target, insertOnly says whether the stream asks for tables
// without a key too.
func NewTables(spec contract.Spec, src SourceFacts, taken map[ident.Table]bool, insertOnly bool) (fit []shape.Table, problems []contract.Problem) {
	f := facts{spec: spec, src: src}
	var found []contract.Problem
	for _, assess := range []func(facts) []contract.Problem{assessTableAccess, assessColumns, assessIdentities} {
		found = append(found, assess(f)...)
	}
	for _, t := range src.Tables {
		if p := f.againstNew(t, found, taken, insertOnly); p != nil {
			problems = append(problems, warning(contract.CodeNewTable, t.Table.String(), "it was created on the source during the migration, and is not carried over: "+p.Message, p.Remedy))
			continue
		}
		fit = append(fit, t)
	}
	return fit, problems
}

// againstNew is what speaks against carrying one new table over, or nil.
func (f facts) againstNew(t shape.Table, found []contract.Problem, taken map[ident.Table]bool, insertOnly bool) *contract.Problem {
	relations := []ident.Table{t.Table}
	for _, l := range t.Leaves {
		relations = append(relations, l.Table)
	}
	for _, r := range relations {
		if taken[r] {
			return &contract.Problem{Message: "the target has something else of the name " + r.String(),
				Remedy: "drop or rename " + r.Quote() + " on the target, then the table is made and filled by itself; or fill it by hand after the cutover"}
		}
		if i := slices.IndexFunc(found, func(p contract.Problem) bool { return p.Severity == contract.Fatal && p.Object == r.String() }); i >= 0 {
			return &found[i]
		}
	}
	if t.Partitioned && f.src.Version < ViaRootVersion {
		return &contract.Problem{Message: "this version of PostgreSQL publishes each partition by itself", Remedy: "create and fill it on the target by hand after the cutover, or resync"}
	}
	ids, _ := Identities(t, f.spec.ReplicaIdentity.Fallback, "")
	if !insertOnly && slices.ContainsFunc(ids, func(i Identity) bool { return i.Kind == IdentityNothing }) {
		return &contract.Problem{Message: "it has no usable key, and replicaIdentity.fallback is skip",
			Remedy: "run on the source: ALTER TABLE " + t.Table.Quote() + " REPLICA IDENTITY FULL; or give it a primary key"}
	}
	return nil
}
