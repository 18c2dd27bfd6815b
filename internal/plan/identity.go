package plan

import (
	"fmt"
	"slices"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// The kinds of replica identity, in pg_class.relreplident's letters.
const (
	IdentityDefault byte = 'd'
	IdentityNothing byte = 'n'
	IdentityFull    byte = 'f'
	IdentityIndex   byte = 'i'
)

// Identity is the choice of a replica identity for one relation: a table, a partition root or a partition.
type Identity struct {
	// Kind is one of the letters above. IdentityNothing means that the table is published for inserts only, and that its
	// identity stays as it is.
	Kind   byte
	Index  string // with IdentityIndex
	Reason string
	// Change is true when the identity in force is another one.
	Change bool
	Table  ident.Table
	// Root is the table in scope: Table itself, or its partition root.
	Root ident.Table
}

// Identities chooses for the table and, one by one, for its partitions: the primary key, else the best usable unique index,
// else what fallback says (full, fail, skip). timeColumn is that of a future hypertable, or "". The problem is a warning
// (full, skip), an error (fail) or nil. With an error there are no identities.
//
// Partitions follow their root: the stream describes rows by the root's identity, but the old row's columns are those of
// the partition's. A partition keyed by fewer columns than its root would leave old key values out.
func Identities(t shape.Table, fallback, timeColumn string) ([]Identity, *contract.Problem) {
	kind, index, reason := choose(t.Identity, t.Indexes, timeColumn)
	var problem *contract.Problem
	if kind == IdentityNothing {
		switch fallback {
		case "fail":
			return nil, noIdentityProblem(t)
		case "skip":
			reason, problem = "no usable key: inserts only", insertOnlyProblem(t)
		default:
			kind, reason, problem = IdentityFull, "no usable key: the whole row", fullProblem(t)
		}
	}
	ids := []Identity{{Kind: kind, Index: index, Reason: reason, Table: t.Table, Root: t.Table,
		Change: kind != IdentityNothing && !SameIdentity(shape.Identity{Kind: kind, Index: index}, t.Identity)}}
	rootKey := identityColumns(ids[0].Wanted(), t.Indexes)
	for _, leaf := range t.Leaves {
		if leaf.Partitioned {
			continue // holds no rows, and the stream goes by the root
		}
		ids = append(ids, leafIdentity(leaf, ids[0], rootKey))
	}
	return ids, problem
}

// Wanted is the choice as the catalogue words it.
func (i Identity) Wanted() shape.Identity { return shape.Identity{Kind: i.Kind, Index: i.Index} }

// SameIdentity compares two identities; the index counts only where the identity goes by one.
func SameIdentity(a, b shape.Identity) bool {
	return a.Kind == b.Kind && (a.Kind != IdentityIndex || a.Index == b.Index)
}

// choose picks for one relation on its own; IdentityNothing when it has no usable key.
func choose(now shape.Identity, indexes []shape.Index, timeColumn string) (kind byte, index, reason string) {
	if now.Kind == IdentityFull {
		return IdentityFull, "", "already set to full"
	}
	if now.Kind == IdentityIndex && len(identityColumns(now, indexes)) > 0 {
		return IdentityIndex, now.Index, "already set to this index"
	}
	if len(identityColumns(shape.Identity{Kind: IdentityDefault}, indexes)) > 0 {
		return IdentityDefault, "", "primary key"
	}
	if best := bestIndex(indexes, timeColumn); best != nil {
		return IdentityIndex, best.Name, "unique index over " + strings.Join(best.Columns, ", ")
	}
	return IdentityNothing, "", ""
}

// leafIdentity chooses for a partition whose root goes by rootKey (nil: the whole row, or inserts only).
func leafIdentity(leaf shape.Leaf, root Identity, rootKey []string) Identity {
	id := Identity{Table: leaf.Table, Root: root.Root, Kind: root.Kind, Reason: root.Reason}
	if rootKey != nil && root.Kind != IdentityNothing {
		kind, index, reason := chooseCovering(leaf, rootKey)
		id.Kind, id.Index, id.Reason = kind, index, reason
	}
	id.Change = id.Kind != IdentityNothing && !SameIdentity(id.Wanted(), leaf.Identity)
	return id
}

func chooseCovering(leaf shape.Leaf, rootKey []string) (kind byte, index, reason string) {
	covers := func(columns []string) bool {
		return len(columns) > 0 && !slices.ContainsFunc(rootKey, func(c string) bool { return !slices.Contains(columns, c) })
	}
	if leaf.Identity.Kind == IdentityFull {
		return IdentityFull, "", "already set to full"
	}
	if leaf.Identity.Kind == IdentityIndex && covers(identityColumns(leaf.Identity, leaf.Indexes)) {
		return IdentityIndex, leaf.Identity.Index, "already set to this index"
	}
	if covers(identityColumns(shape.Identity{Kind: IdentityDefault}, leaf.Indexes)) {
		return IdentityDefault, "", "primary key"
	}
	var usable []shape.Index
	for _, x := range leaf.Indexes {
		if covers(x.Columns) {
			usable = append(usable, x)
		}
	}
	if best := bestIndex(usable, ""); best != nil {
		return IdentityIndex, best.Name, "unique index over " + strings.Join(best.Columns, ", ")
	}
	return IdentityFull, "", "no index covers the key of the partitioned table: the whole row"
}

// identityColumns are those that an identity logs of an old row; nil for full, nothing, and one that does not work. A
// deferrable primary key does not work: PostgreSQL treats such a table as one without identity.
func identityColumns(id shape.Identity, indexes []shape.Index) []string {
	for _, x := range indexes {
		isPrimary := id.Kind == IdentityDefault && x.Primary
		isNamed := id.Kind == IdentityIndex && id.Index != "" && x.Name == id.Index
		if (isPrimary || isNamed) && rejection(x) == "" {
			return x.Columns
		}
	}
	return nil
}

// rejection says why an index cannot be a replica identity; "" when it can.
func rejection(x shape.Index) string {
	switch {
	case !x.Unique:
		return "not unique"
	case !x.Valid:
		return "not valid"
	case !x.Immediate:
		return "deferrable"
	case x.Partial:
		return "partial"
	case x.Expressions:
		return "over an expression"
	case !x.NotNull:
		return "over nullable columns"
	case x.Generated:
		return "over a generated column, which the change stream does not carry"
	}
	return ""
}

func bestIndex(indexes []shape.Index, timeColumn string) *shape.Index {
	var best *shape.Index
	for i := range indexes {
		x := &indexes[i]
		if rejection(*x) == "" && (best == nil || better(*x, *best, timeColumn)) {
			best = x
		}
	}
	return best
}

// better prefers the hypertable's time column, then few columns, then the name, so that the choice is stable.
func better(a, b shape.Index, timeColumn string) bool {
	aTime, bTime := slices.Contains(a.Columns, timeColumn), slices.Contains(b.Columns, timeColumn)
	if aTime != bTime {
		return aTime
	}
	if len(a.Columns) != len(b.Columns) {
		return len(a.Columns) < len(b.Columns)
	}
	return a.Name < b.Name
}

// Codes of the findings about replica identities.
const (
	CodeNoIdentity   = "no-replica-identity"
	CodeInsertOnly   = "inserts-only"
	CodeIdentityFull = "replica-identity-full"
)

func noIdentityProblem(t shape.Table) *contract.Problem {
	return &contract.Problem{Severity: contract.Fatal, Code: CodeNoIdentity, Object: t.Table.String(),
		Message: "it has neither a primary key nor a usable unique index" + rejections(t.Indexes) + ", and replicaIdentity.fallback is fail",
		Remedy:  "add a primary key, or a unique index over columns that are NOT NULL" + notGenerated(t) + ", or set replicaIdentity.fallback to full"}
}

func insertOnlyProblem(t shape.Table) *contract.Problem {
	return &contract.Problem{Severity: contract.Warning, Code: CodeInsertOnly, Object: t.Table.String(),
		Message: fmt.Sprintf("it has neither a primary key nor a usable unique index%s, and replicaIdentity.fallback is skip: its updates and deletes after the copy do not reach the target%s",
			rejections(t.Indexes), counts(t)),
		Remedy: "add a primary key, or set replicaIdentity.fallback to full; or leave it if rows of this table are only ever added"}
}

func fullProblem(t shape.Table) *contract.Problem {
	return &contract.Problem{Severity: contract.Warning, Code: CodeIdentityFull, Object: t.Table.String(),
		Message: fmt.Sprintf("it has neither a primary key nor a usable unique index%s: it gets REPLICA IDENTITY FULL, so each update and delete writes the whole old row to the WAL and is slow to apply%s",
			rejections(t.Indexes), counts(t)),
		Remedy: "add a primary key, or a unique index over columns that are NOT NULL" + notGenerated(t) + "; nothing need be done if it is rarely updated"}
}

// notGenerated keeps the advice from being followed with a column of the wrong sort.
func notGenerated(t shape.Table) string {
	if hasGenerated(t) {
		return " and not generated"
	}
	return ""
}

func counts(t shape.Table) string {
	return fmt.Sprintf(" (%d updates and %d deletes since the statistics were reset)", t.Updates, t.Deletes)
}

// rejections tells which unique indexes there are and what keeps them from use.
func rejections(indexes []shape.Index) string {
	var parts []string
	for _, x := range indexes {
		if x.Unique {
			parts = append(parts, fmt.Sprintf("%s is %s", x.Name, rejection(x)))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, "; ") + ")"
}
