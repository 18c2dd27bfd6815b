package plan

import (
	"fmt"
	"slices"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// Codes of the findings about the scope.
const (
	CodeNoSuchTable   = "no-such-table"
	CodePatternUnused = "pattern-without-match"
	CodePartition     = "pattern-names-partition"
	CodeNothingToDo   = "no-tables"
	CodeParentMissing = "referenced-table-not-in-scope"
	CodeRowsLeftOut   = "rows-left-out"
	CodeParentEmpty   = "referenced-rows-left-out"
)

func assessPatterns(f facts) []contract.Problem {
	var found []contract.Problem
	for _, list := range []struct {
		key      string
		patterns []string
	}{{"include", f.spec.Tables.Include}, {"exclude", f.spec.Tables.Exclude}, {"excludeData", f.spec.Tables.ExcludeData}} {
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
		return []contract.Problem{fatal(CodeNothingToDo, objectSource, "no table is in the scope that tables.include, tables.exclude and tables.excludeData leave",
			fmt.Sprintf("widen tables.include; the database %s has %d tables", f.src.Database, len(f.src.AllTables)))}
	}
	scope, empty := relationsOf(f.src.Tables), relationsOf(f.src.Empty)
	found := f.assessEmpty()
	for _, key := range f.src.ForeignKeys {
		switch {
		case scope[key.From] && empty[key.To]:
			found = append(found, warning(CodeParentEmpty, key.From.String(),
				"its foreign key "+key.Name+" refers to "+key.To.String()+", whose rows tables.excludeData leaves out: the constraint stays NOT VALID, and after the cutover a row that refers to one of those is refused",
				"fill "+key.To.String()+" on the target before the cutover and validate the constraint, or carry its rows over"))
		case (scope[key.From] || empty[key.From]) && !scope[key.To] && !empty[key.To]:
			found = append(found, warning(CodeParentMissing, key.From.String(),
				"its foreign key "+key.Name+" refers to "+key.To.String()+", which is not in scope: the constraint cannot be kept on the target",
				"include "+key.To.String()+", or leave it and live without the constraint"))
		}
	}
	return found
}

// assessEmpty names the tables that come without rows.
func (f facts) assessEmpty() []contract.Problem {
	var names []string
	for _, t := range f.src.Empty {
		names = append(names, t.Table.String())
	}
	return many(info(CodeRowsLeftOut, "", "tables.excludeData: the definition is carried over, but neither rows nor changes; the table arrives empty, and views over it show it so",
		"see that the application does without the rows, or fill it on the target after the migration has made it"), "tables", names)
}

// relationsOf is the set of the tables' names, with partitions.
func relationsOf(tables []shape.Table) map[ident.Table]bool {
	set := map[ident.Table]bool{}
	for _, t := range tables {
		set[t.Table] = true
		for _, leaf := range t.Leaves {
			set[leaf.Table] = true
		}
	}
	return set
}
