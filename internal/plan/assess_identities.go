package plan

import (
	"fmt"

	"timeferry/internal/contract"
)

// assessIdentities tells each choice that costs something: the whole row, inserts only, or none.
func assessIdentities(f facts) []contract.Problem {
	times := TimeColumnsOf(f.spec)
	var found []contract.Problem
	for _, t := range f.src.Tables {
		if t.Unlogged {
			continue
		}
		ids, problem := Identities(t, f.spec.ReplicaIdentity.Fallback, times[t.Table])
		if problem != nil {
			found = append(found, *problem)
		}
		if len(ids) == 0 || !t.Partitioned {
			continue
		}
		if ids[0].Kind == IdentityFull || ids[0].Kind == IdentityIndex {
			found = append(found, warning(CodePartitionIdentity, t.Table.String(),
				fmt.Sprintf("%d partitions have no primary key in common: a partition added while the migration runs starts without a replica identity, and the application's updates of it fail", len(ids)-1),
				"add a primary key to the partitioned table, or create the coming partitions before the start"))
		}
	}
	return found
}
