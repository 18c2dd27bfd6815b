package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// Codes of the findings about hypertables.
const (
	CodeHypertableScope       = "hypertable-not-in-scope"
	CodeNoSuchColumn          = "no-such-column"
	CodeHypertableTimeType    = "hypertable-time-type"
	CodeHypertableInterval    = "hypertable-interval"
	CodeHypertableNullable    = "hypertable-nullable-time"
	CodeHypertableKey         = "hypertable-key"
	CodeHypertableForeignKey  = "hypertable-foreign-key"
	CodeHypertableInheritance = "hypertable-inheritance"
	CodeHypertableUnlogged    = "hypertable-unlogged"
	CodeHypertableKeyExtended = "hypertable-key-extended"
	CodeHypertableKeyDropped  = "hypertable-key-dropped"
	CodeHypertableKeyUsed     = "hypertable-key-used"
	CodeHypertableExclusion   = "hypertable-exclusion"
	CodeHypertableGenerated   = "hypertable-generated-column"
	CodeHypertableTimeRange   = "hypertable-time-range"
	CodeHypertableSpaceType   = "hypertable-space-type"
	CodeHypertableRule        = "hypertable-rule"
	CodeHypertableTrigger     = "hypertable-trigger"
	CodeHypertableNoInherit   = "hypertable-no-inherit"
	CodeHypertableRowSecurity = "hypertable-row-security"
	CodePartitionOwn          = "partition-own"
)

func assessHypertables(f facts) []contract.Problem {
	hypertables := HypertablesOf(f.spec)
	names := slices.SortedFunc(maps.Keys(hypertables), func(a, b ident.Table) int { return strings.Compare(a.String(), b.String()) })
	var found []contract.Problem
	for _, name := range names {
		t, ok := f.table(name)
		if !ok {
			found = append(found, f.hypertableMissing(name))
			continue
		}
		h := hypertables[name]
		found = append(found, f.assessTimeColumn(t, h)...)
		found = append(found, f.assessIntervals(t, h)...)
		found = append(found, f.assessHypertableColumns(t, h)...)
		found = append(found, f.assessHypertableKeys(t, h)...)
		found = append(found, f.assessHypertableKind(t)...)
		found = append(found, f.assessHypertableObjects(t, h)...)
		found = append(found, f.assessPartitionOwn(t)...)
	}
	return append(found, f.assessHypertableReferences(hypertables)...)
}

func (f facts) hypertableMissing(name ident.Table) contract.Problem {
	if root, ok := f.src.Partitions[name]; ok {
		return fatal(CodeHypertableScope, name.String(), "hypertables names a partition", "name its root "+root.String()+", which becomes one hypertable with all rows")
	}
	if slices.Contains(f.src.AllTables, name) {
		return fatal(CodeHypertableScope, name.String(), "hypertables names a table that tables.include and tables.exclude leave out", "include it, or remove it from hypertables")
	}
	return fatal(CodeNoSuchTable, name.String(), "hypertables names a table that is not on the source", "correct the name (quote it if it has capitals) or remove it")
}

func column(t shape.Table, name string) (shape.Column, bool) {
	i := slices.IndexFunc(t.Columns, func(c shape.Column) bool { return c.Name == name })
	if i < 0 {
		return shape.Column{}, false
	}
	return t.Columns[i], true
}

func noColumn(t shape.Table, key, name string) contract.Problem {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}
	return fatal(CodeNoSuchColumn, t.Table.String(), fmt.Sprintf("%s names the column %q, which the table does not have", key, name), "its columns are "+strings.Join(names, ", "))
}

func (f facts) assessHypertableKind(t shape.Table) []contract.Problem {
	object := t.Table.String()
	var found []contract.Problem
	if t.Inherits || slices.Contains(f.src.InheritanceParents, t.Table) {
		found = append(found, fatal(CodeHypertableInheritance, object, "a table with inheritance cannot become a hypertable", "run ALTER TABLE … NO INHERIT on the source, or remove it from hypertables"))
	}
	if t.Unlogged {
		found = append(found, fatal(CodeHypertableUnlogged, object, "an unlogged table cannot become a hypertable", "run: ALTER TABLE "+t.Table.Quote()+" SET LOGGED; or remove it from hypertables"))
	}
	for _, leaf := range t.Leaves {
		for _, x := range leaf.Indexes {
			if x.Unique && !leaf.Partitioned && !hasIndexOver(t.Indexes, x.Columns) {
				found = append(found, warning(CodePartitionOwnIndex, leaf.Table.String(),
					fmt.Sprintf("its unique index %s (%s) is not the partitioned table's own, so the hypertable will not have it", x.Name, strings.Join(x.Columns, ", ")),
					"create it on "+object+" if it is needed"))
			}
		}
	}
	return found
}

func hasIndexOver(indexes []shape.Index, columns []string) bool {
	return slices.ContainsFunc(indexes, func(x shape.Index) bool { return x.Unique && slices.Equal(x.Columns, columns) })
}

// assessHypertableObjects: what belongs to the table and cannot be on a hypertable.
func (f facts) assessHypertableObjects(t shape.Table, h contract.Hypertable) []contract.Problem {
	own, object := f.src.ForHypertables[t.Table], t.Table.String()
	var found []contract.Problem
	for _, name := range own.Rules {
		found = append(found, fatal(CodeHypertableRule, object, "its rule "+name+" cannot be: hypertables have no rules",
			fmt.Sprintf("drop it on the source: DROP RULE %s ON %s; or remove the table from hypertables", ident.Quote(name), t.Table.Quote())))
	}
	for _, name := range own.TransitionTriggers {
		found = append(found, fatal(CodeHypertableTrigger, object, "its trigger "+name+" is FOR EACH ROW with transition tables, which hypertables do not have",
			"make it FOR EACH STATEMENT on the source, or drop it; or remove the table from hypertables"))
	}
	for _, name := range own.NoInherit {
		found = append(found, fatal(CodeHypertableNoInherit, object, "its check constraint "+name+" is NO INHERIT, which a hypertable cannot have: its rows are in its chunks",
			"add the constraint on the source without NO INHERIT; or remove the table from hypertables"))
	}
	if own.RowSecurity && h.Columnstore != nil {
		found = append(found, fatal(CodeHypertableRowSecurity, object, "it has row level security, with which a hypertable has no columnstore",
			"leave columnstore out for it, or switch off row level security on the source"))
	}
	return found
}

// assessPartitionOwn: partitions become rows of one table, so what only some of them have is lost.
func (f facts) assessPartitionOwn(t shape.Table) []contract.Problem {
	own := f.src.ForHypertables[t.Table].PartitionOwn
	if len(own) == 0 {
		return nil
	}
	byKind := map[string][]string{}
	for _, o := range own {
		byKind[o.Kind] = append(byKind[o.Kind], o.Partition.String()+"."+o.Name)
	}
	var found []contract.Problem
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		found = append(found, warning(CodePartitionOwn, t.Table.String(),
			fmt.Sprintf("its partitions have a %s of their own, which the hypertable will not have (%d): %s", kind, len(byKind[kind]), listed(byKind[kind])),
			"create it on "+t.Table.String()+" if it is needed"))
	}
	return found
}

func (f facts) assessHypertableReferences(hypertables map[ident.Table]contract.Hypertable) []contract.Problem {
	var found []contract.Problem
	for _, key := range f.src.ForeignKeys {
		_, from := hypertables[key.From]
		_, to := hypertables[key.To]
		switch {
		case from && to:
			found = append(found, fatal(CodeHypertableForeignKey, key.From.String(),
				fmt.Sprintf("its foreign key %s refers to %s, and both become hypertables, between which there are no foreign keys", key.Name, key.To),
				"drop the foreign key on the source, or keep one of the two a plain table"))
		case to && f.dst.TimescaleDB != "" && olderThan(f.dst.TimescaleDB, 2, 16):
			found = append(found, fatal(CodeHypertableForeignKey, key.From.String(),
				fmt.Sprintf("its foreign key %s refers to the hypertable %s, which TimescaleDB %s does not allow", key.Name, key.To, f.dst.TimescaleDB),
				"use TimescaleDB 2.16 or later on the target, or drop the foreign key"))
		}
	}
	return found
}

// olderThan compares the first two numbers of a version; one that cannot be read is not older.
func olderThan(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return errA == nil && errB == nil && (a < major || a == major && b < minor)
}
