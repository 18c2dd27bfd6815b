// Package shape describes a database's tables as plain values.
//
// In: what pgkit reads from a catalogue. Out: values for the rules in plan and for the rooms.
//
// Not here: queries.
package shape

import "timeferry/internal/ident"

// Table is one table in the migration's scope: a plain table, or the root of a partition tree (its leaves are in Leaves
// and are not listed on their own).
type Table struct {
	ident.Table
	OID         uint32
	Partitioned bool
	Unlogged    bool
	Owner       string
	// Parent is the direct parent by old-style inheritance, if any.
	Inherits bool
	// PartitionKey is pg_get_partkeydef's text, "RANGE (ts)", for a partition root.
	PartitionKey string
	// Leaves of the tree, every level, in name order. Empty for a plain table.
	Leaves []Leaf
	// Bytes is the heap with TOAST, without indexes; for a root the sum of its leaves. Pages is the heap's alone, in
	// blocks of 8 KiB. EstimatedRows is pg_class.reltuples, -1 when never analysed.
	Bytes         int64
	Pages         int64
	EstimatedRows int64
	// Split is nil unless it was asked for, and for a root: its leaves have their own.
	Split *Split
	// Updates and Deletes are the counters of pg_stat_user_tables since the last reset, summed over leaves.
	Updates int64
	Deletes int64
	Columns []Column
	Indexes []Index
	// Identity is the replica identity in force.
	Identity Identity
	// Triggers counts user triggers; ForeignKeysOut and In name constraints from and to this table.
	ForeignKeysOut []string
	ForeignKeysIn  []string
}

// Leaf is a partition that holds rows (or, with Partitioned, an inner node of the tree).
type Leaf struct {
	ident.Table
	OID         uint32
	Partitioned bool
	Unlogged    bool
	Bytes       int64
	Pages       int64
	Split       *Split
	Identity    Identity
	Indexes     []Index
}

// Split is what the server's statistics tell for cutting a heap other than by its blocks.
type Split struct {
	// LiveBytes is what the heap's live rows would fill without gaps, TOAST left out; zero when that is not known.
	LiveBytes int64
	// Column is NOT NULL, the first of a btree index, of a type whose order does not depend on a collation, and follows the
	// order of the heap; empty where there is none. Bounds are values of it in their text form, about equally many rows apart.
	Column string
	Bounds []string
}

// Column of a table, in attribute order, dropped ones left out.
type Column struct {
	Name      string
	TypeOID   uint32
	Type      string // format_type with modifier
	NotNull   bool
	Generated bool // GENERATED ALWAYS AS (…) STORED
	Identity  byte // 0, 'a' always, 'd' by default
	// TextCopy is true when COPY BINARY of this type would carry OIDs that differ between databases (arrays and
	// composites of user-defined types).
	TextCopy bool
}

// Index of a table.
type Index struct {
	Name        string
	Primary     bool
	Unique      bool
	Valid       bool
	Immediate   bool // not deferrable
	Partial     bool
	Expressions bool
	Columns     []string // key columns, without INCLUDE; empty names for expressions
	// NotNull is true when all key columns are declared NOT NULL.
	NotNull bool
	// Generated is true when a key column is a generated one, which the change stream does not carry.
	Generated bool
	// Constraint is the name of the constraint that owns it, or "".
	Constraint string
}

// Identity is a replica identity: Kind is 'd' default, 'n' nothing, 'f' full, 'i' index (then Index names it).
type Identity struct {
	Kind  byte   `json:"kind"`
	Index string `json:"index,omitempty"`
}

// Sequence with its state.
type Sequence struct {
	ident.Table
	LastValue int64
	IsCalled  bool
}

// Key returns the columns by which a row can be found: the primary key's, or those of the identity index; nil if the
// table has neither.
func (t Table) Key() []string {
	for _, i := range t.Indexes {
		if i.Primary {
			return i.Columns
		}
	}
	if t.Identity.Kind == 'i' {
		for _, i := range t.Indexes {
			if i.Name == t.Identity.Index {
				return i.Columns
			}
		}
	}
	return nil
}

// CopyColumns are the names that COPY carries: all but the generated ones.
func (t Table) CopyColumns() []string {
	var names []string
	for _, c := range t.Columns {
		if !c.Generated {
			names = append(names, c.Name)
		}
	}
	return names
}

// NeedsTextCopy is true when a column forbids COPY BINARY, be it one that is not copied: COPY FROM looks up the binary input
// of every column of the table.
func (t Table) NeedsTextCopy() bool {
	for _, c := range t.Columns {
		if c.TextCopy {
			return true
		}
	}
	return false
}
