package plan

import (
	"timeferry/internal/contract"
)

// Codes of the findings about what depends on tables that will not be on the target. They are the words that the schema's
// dump uses for the same.
const (
	CodeNeedsExcluded  = "needs-excluded-table"
	CodeNeedsPartition = "needs-partition"
)

// assessNeeds says what goes missing with tables out of scope, and with the partitions of tables that become hypertables.
func assessNeeds(f facts) []contract.Problem {
	hypertables := HypertablesOf(f.spec)
	var found []contract.Problem
	for _, n := range f.src.Needs {
		object := n.Kind + " " + n.Identity
		if root, partition := f.src.Partitions[n.Needs]; partition && f.spec.Tables.Includes(root) {
			if _, flat := hypertables[root]; flat {
				found = append(found, warning(CodeNeedsPartition, object, "it needs "+n.Needs.String()+", a partition of a table that becomes one hypertable, and is left out",
					"make it on the target, reading the hypertable instead"))
			}
			continue
		}
		if n.Table {
			found = append(found, fatal(CodeNeedsExcluded, object, "a table in scope cannot be made without "+n.Needs.String()+", which is not in scope: this part of it needs that table",
				"include "+n.Needs.String()+" too, or exclude the table that this belongs to"))
			continue
		}
		found = append(found, warning(CodeNeedsExcluded, object, "it needs "+n.Needs.String()+", which is not in scope, and is left out",
			"include that table too, or do without this object"))
	}
	return found
}
