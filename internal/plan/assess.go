package plan

import (
	"cmp"
	"slices"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// facts is what every assess… function looks at.
type facts struct {
	spec contract.Spec
	src  SourceFacts
	dst  TargetFacts
}

// Assess says everything that speaks against the migration, before anything is changed: errors first, then warnings, then
// what is only to be known; within these by object. One file per concern; each concern's codes stand at its top. What is
// no error is said once for many objects, so that the findings of a large database can be read.
func Assess(spec contract.Spec, src SourceFacts, dst TargetFacts) []contract.Problem {
	f := facts{spec, src, dst}
	var found []contract.Problem
	for _, assess := range []func(facts) []contract.Problem{
		assessVersions, assessPartitions,
		assessSourcePrivileges, assessTableAccess, assessTargetPrivileges,
		assessSettings, assessPlugin, assessBuffer, assessSlots, assessConnections, assessBackOff,
		assessPatterns, assessScope, assessNeeds, assessContent, assessNotables, assessColumns, assessQuotedNames, assessLargeObjects, assessSequences,
		assessSize, assessCollations, assessExtensions, assessRoles, assessTargetTables, assessLedger,
		assessIdentities, assessHypertables,
		assessTransactions,
	} {
		found = append(found, assess(f)...)
	}
	SortProblems(found)
	found = Condense(found)
	SortProblems(found)
	return found
}

// SortProblems puts errors first, then warnings, then the rest; within these it sorts by object, then code.
func SortProblems(problems []contract.Problem) {
	rank := map[contract.Severity]int{contract.Fatal: 0, contract.Warning: 1, contract.Info: 2}
	slices.SortStableFunc(problems, func(a, b contract.Problem) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Code, b.Code))
	})
}

// HasFatal is true when a problem stops the migration.
func HasFatal(problems []contract.Problem) bool {
	return slices.ContainsFunc(problems, func(p contract.Problem) bool { return p.Severity == contract.Fatal })
}

// HypertablesOf are the spec's hypertables by table.
func HypertablesOf(spec contract.Spec) map[ident.Table]contract.Hypertable {
	byTable := map[ident.Table]contract.Hypertable{}
	for _, h := range spec.Hypertables {
		if t, ok := ident.ParseTable(h.Table); ok {
			byTable[t] = h
		}
	}
	return byTable
}

// TimeColumnsOf are the time columns of the spec's hypertables by table.
func TimeColumnsOf(spec contract.Spec) map[ident.Table]string {
	byTable := map[ident.Table]string{}
	for t, h := range HypertablesOf(spec) {
		byTable[t] = h.TimeColumn
	}
	return byTable
}

// TargetNames are the relations that the migration will make on the target: the tables in scope, and the partitions of
// those that do not become hypertables.
func TargetNames(spec contract.Spec, tables []shape.Table) []ident.Table {
	hypertables := HypertablesOf(spec)
	var names []ident.Table
	for _, t := range tables {
		names = append(names, t.Table)
		if _, flat := hypertables[t.Table]; flat {
			continue
		}
		for _, leaf := range t.Leaves {
			names = append(names, leaf.Table)
		}
	}
	return names
}

func (f facts) table(name ident.Table) (shape.Table, bool) {
	for _, tables := range [][]shape.Table{f.src.Tables, f.src.Empty} {
		if i := slices.IndexFunc(tables, func(t shape.Table) bool { return t.Table == name }); i >= 0 {
			return tables[i], true
		}
	}
	return shape.Table{}, false
}

func fatal(code, object, message, remedy string) contract.Problem {
	return contract.Problem{Severity: contract.Fatal, Code: code, Object: object, Message: message, Remedy: remedy}
}

func warning(code, object, message, remedy string) contract.Problem {
	return contract.Problem{Severity: contract.Warning, Code: code, Object: object, Message: message, Remedy: remedy}
}

func info(code, object, message, remedy string) contract.Problem {
	return contract.Problem{Severity: contract.Info, Code: code, Object: object, Message: message, Remedy: remedy}
}

// Names of the two servers as objects of problems.
const (
	objectSource = "source"
	objectTarget = "target"
)
