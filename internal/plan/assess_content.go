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
	var unlogged, inheriting, foreign []string
	for _, t := range f.src.Tables {
		if t.Unlogged {
			unlogged = append(unlogged, t.Table.String())
		}
		for _, leaf := range t.Leaves {
			if leaf.Unlogged && !leaf.Partitioned && !t.Unlogged {
				unlogged = append(unlogged, leaf.Table.String())
			}
		}
		if t.Inherits || slices.Contains(f.src.InheritanceParents, t.Table) {
			inheriting = append(inheriting, t.Table.String())
		}
	}
	for _, t := range f.src.ForeignTables {
		foreign = append(foreign, t.String())
	}
	found := many(warning(CodeUnlogged, "", "unlogged: the rows are copied once, later changes are not replicated, and if there are any, the comparison before the switch finds both sides different and nothing is switched",
		"run ALTER TABLE … SET LOGGED; or leave the rows out under tables.excludeData, if the table can be filled again after the switch"), "unlogged tables", unlogged)
	found = append(found, many(info(CodeInheritance, "", "part of an inheritance tree: parents and children move as tables of their own", "keep the whole tree in scope"), "tables", inheriting)...)
	found = append(found, many(warning(CodeForeignTable, "", "foreign: the rows live elsewhere and are not moved",
		"make the foreign server reachable from the target, or exclude the table"), "foreign tables", foreign)...)
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
