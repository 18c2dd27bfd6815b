package plan

import (
	"fmt"
	"slices"

	"timeferry/internal/contract"
)

// Codes of the findings about what logical replication does not carry.
const (
	CodeUnlogged          = "unlogged-table"
	CodeForeignTable      = "foreign-table"
	CodeInheritance       = "inheritance"
	CodeSourceHypertable  = "source-hypertable"
	CodeLargeObjects      = "large-objects"
	CodeSequenceNearEnd   = "sequence-near-end"
	CodePartitionIdentity = "new-partitions"
	CodePartitionOwnIndex = "partition-index"
)

func assessContent(f facts) []contract.Problem {
	var found []contract.Problem
	for _, t := range f.src.Tables {
		name := t.Table.String()
		if t.Unlogged {
			found = append(found, warning(CodeUnlogged, name, "the table is unlogged: its rows are copied once, later changes are not replicated",
				"run: ALTER TABLE "+t.Table.Quote()+" SET LOGGED; or leave it if it can be filled again after the switch"))
		}
		if t.Inherits || slices.Contains(f.src.InheritanceParents, t.Table) {
			found = append(found, info(CodeInheritance, name, "the table is part of an inheritance tree: parent and children move as tables of their own",
				"keep the whole tree in scope"))
		}
	}
	for _, t := range f.src.ForeignTables {
		found = append(found, warning(CodeForeignTable, t.String(), "it is a foreign table: its rows live elsewhere and are not moved",
			"make the foreign server reachable from the target, or exclude the table"))
	}
	for _, t := range f.src.Hypertables {
		found = append(found, fatal(CodeSourceHypertable, t.String(), "it is a hypertable on the source already: its chunks' changes cannot be published under its name",
			"exclude it, or move it with TimescaleDB's own tools"))
	}
	return found
}

func assessLargeObjects(f facts) []contract.Problem {
	if f.src.LargeObjects == 0 {
		return nil
	}
	return []contract.Problem{warning(CodeLargeObjects, objectSource,
		fmt.Sprintf("the database has %d large objects: logical replication does not carry them, and they are not moved", f.src.LargeObjects),
		"move them into bytea columns, or carry them over yourself once the writers have stopped")}
}

// assessSequences warns from nine tenths on: an identifier that runs out stops the application, on either side.
func assessSequences(f facts) []contract.Problem {
	var found []contract.Problem
	for _, s := range f.src.Sequences {
		total, used := float64(s.End)-float64(s.Start), float64(s.LastValue)-float64(s.Start)
		if total != 0 && used/total >= 0.9 {
			found = append(found, warning(CodeSequenceNearEnd, s.Table.String(),
				fmt.Sprintf("it stands at %d and ends at %d", s.LastValue, s.End), "widen the sequence and its column to bigint before or after the migration"))
		}
	}
	return found
}
