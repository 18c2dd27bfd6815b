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
)

// Types by which a hypertable can be cut: https://docs.tigerdata.com/api/latest/hypertable/create_hypertable/.
var timeTypes = map[uint32]string{1082: "date", 1114: "timestamp", 1184: "timestamptz", 20: "bigint", 21: "smallint", 23: "integer"}

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
		found = append(found, assessTimeColumn(t, h)...)
		found = append(found, assessHypertableColumns(t, h)...)
		found = append(found, assessHypertableKeys(t, h)...)
		found = append(found, f.assessHypertableKind(t)...)
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

func assessTimeColumn(t shape.Table, h contract.Hypertable) []contract.Problem {
	object := t.Table.String()
	c, ok := column(t, h.TimeColumn)
	if !ok {
		return []contract.Problem{noColumn(t, "timeColumn", h.TimeColumn)}
	}
	kind, ok := timeTypes[c.TypeOID]
	if !ok {
		return []contract.Problem{fatal(CodeHypertableTimeType, object, fmt.Sprintf("the time column %s is of type %s", c.Name, c.Type),
			"choose a column of type timestamp, timestamptz, date, smallint, integer or bigint")}
	}
	var found []contract.Problem
	if strings.HasSuffix(kind, "int") || kind == "integer" {
		if n, err := strconv.ParseInt(strings.TrimSpace(h.ChunkInterval), 10, 64); err != nil || n <= 0 {
			found = append(found, fatal(CodeHypertableInterval, object, fmt.Sprintf("the time column %s is of type %s, but chunkInterval is %q", c.Name, c.Type, h.ChunkInterval),
				"give chunkInterval as a whole number in the column's own unit"))
		}
	}
	if !c.NotNull {
		found = append(found, warning(CodeHypertableNullable, object, fmt.Sprintf("the time column %s may be NULL, which a hypertable does not allow: a row without a time would stop the copy", c.Name),
			fmt.Sprintf("run: ALTER TABLE %s ALTER COLUMN %s SET NOT NULL", t.Table.Quote(), ident.Quote(c.Name))))
	}
	return found
}

func assessHypertableColumns(t shape.Table, h contract.Hypertable) []contract.Problem {
	var found []contract.Problem
	if h.SpaceColumn != "" {
		if _, ok := column(t, h.SpaceColumn); !ok {
			found = append(found, noColumn(t, "spaceColumn", h.SpaceColumn))
		}
	}
	if h.Columnstore != nil {
		for _, name := range h.Columnstore.SegmentBy {
			if _, ok := column(t, name); !ok {
				found = append(found, noColumn(t, "columnstore.segmentBy", name))
			}
		}
	}
	return found
}

// assessHypertableKeys: a unique index of a hypertable is one index per chunk, so it must contain what chunks are cut by.
func assessHypertableKeys(t shape.Table, h contract.Hypertable) []contract.Problem {
	var found []contract.Problem
	for _, x := range t.Indexes {
		if !x.Unique {
			continue
		}
		var missing []string
		for _, c := range []string{h.TimeColumn, h.SpaceColumn} {
			if c != "" && !slices.Contains(x.Columns, c) {
				missing = append(missing, c)
			}
		}
		if len(missing) == 0 {
			continue
		}
		kind := "unique index"
		if x.Primary {
			kind = "primary key"
		}
		found = append(found, fatal(CodeHypertableKey, t.Table.String(),
			fmt.Sprintf("its %s %s (%s) does not contain %s, by which the hypertable is cut", kind, x.Name, strings.Join(x.Columns, ", "), strings.Join(missing, " and ")),
			keyRemedy(t, h, x, missing)))
	}
	return found
}

func keyRemedy(t shape.Table, h contract.Hypertable, x shape.Index, missing []string) string {
	with := ident.Columns(append(slices.Clone(x.Columns), missing...))
	table := t.Table.Quote()
	remedy := "remove the table from hypertables"
	if !slices.Contains(missing, h.TimeColumn) {
		remedy += ", leave spaceColumn out"
	}
	switch {
	case x.Expressions:
		return remedy + fmt.Sprintf(", or drop the index on the source: DROP INDEX %s", ident.Table{Schema: t.Schema, Name: x.Name}.Quote())
	case x.Primary:
		return remedy + fmt.Sprintf(", or replace the key on the source: ALTER TABLE %s DROP CONSTRAINT %s, ADD PRIMARY KEY (%s)", table, ident.Quote(x.Constraint), with)
	case x.Constraint != "":
		return remedy + fmt.Sprintf(", or replace the constraint on the source: ALTER TABLE %s DROP CONSTRAINT %s, ADD UNIQUE (%s)", table, ident.Quote(x.Constraint), with)
	}
	return remedy + fmt.Sprintf(", or replace the index on the source by one over (%s)", with)
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
