package plan

import (
	"fmt"
	"slices"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
)

// Codes of the findings about the scope.
const (
	CodeNoSuchTable   = "no-such-table"
	CodePatternUnused = "pattern-without-match"
	CodePartition     = "pattern-names-partition"
	CodeNothingToDo   = "no-tables"
	CodeParentMissing = "referenced-table-not-in-scope"
)

func assessPatterns(f facts) []contract.Problem {
	var found []contract.Problem
	for _, list := range []struct {
		key      string
		patterns []string
	}{{"include", f.spec.Tables.Include}, {"exclude", f.spec.Tables.Exclude}} {
		for _, p := range list.patterns {
			if p == "*.*" {
				continue // an empty database is another problem
			}
			if problem := f.assessPattern(list.key, p); problem != nil {
				found = append(found, *problem)
			}
		}
	}
	return found
}

func (f facts) assessPattern(key, pattern string) *contract.Problem {
	one := contract.Tables{Include: []string{pattern}}
	if slices.ContainsFunc(f.src.AllTables, one.Includes) {
		return nil
	}
	for partition, root := range f.src.Partitions {
		if one.Includes(partition) {
			p := fatal(CodePartition, pattern, "tables."+key+" names the partition "+partition.String()+": a partitioned table moves as a whole",
				"name its root "+root.String()+", or a pattern that matches it")
			return &p
		}
	}
	var p contract.Problem
	if strings.ContainsAny(pattern, "*?") {
		p = warning(CodePatternUnused, pattern, "no table on the source matches this pattern of tables."+key, "correct or remove it")
	} else {
		p = fatal(CodeNoSuchTable, pattern, "tables."+key+" names a table that is not on the source", "correct the name (letter case counts) or remove it")
	}
	return &p
}

func assessScope(f facts) []contract.Problem {
	if len(f.src.Tables) == 0 {
		return []contract.Problem{fatal(CodeNothingToDo, objectSource, "no table is in the scope that tables.include and tables.exclude leave",
			fmt.Sprintf("widen tables.include; the database %s has %d tables", f.src.Database, len(f.src.AllTables)))}
	}
	scope := f.inScope()
	var found []contract.Problem
	for _, key := range f.src.ForeignKeys {
		if scope[key.From] && !scope[key.To] {
			found = append(found, warning(CodeParentMissing, key.From.String(),
				"its foreign key "+key.Name+" refers to "+key.To.String()+", which is not in scope: the constraint cannot be kept on the target",
				"include "+key.To.String()+", or leave it and live without the constraint"))
		}
	}
	return found
}

// inScope is the set of names in scope, with partitions.
func (f facts) inScope() map[ident.Table]bool {
	set := map[ident.Table]bool{}
	for _, t := range f.src.Tables {
		set[t.Table] = true
		for _, leaf := range t.Leaves {
			set[leaf.Table] = true
		}
	}
	return set
}
