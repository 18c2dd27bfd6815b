package wal2json

import (
	"encoding/binary"
	"slices"
)

// Table is a published table as the catalogue has it.
type Table struct {
	OID      uint32
	Schema   string
	Name     string
	Identity byte // as in pg_class.relreplident
	Columns  []Column
	// Generated are the names of columns that are not published.
	Generated []string
	// InsertOnly: updates and deletes are not published.
	InsertOnly bool
	// Leaf: the changes come from a partition that is published under its root's name, which is what the rest says. Its own
	// TRUNCATE is not published.
	Leaf bool
}

// Column is one published column.
type Column struct {
	Name     string
	TypeOID  uint32
	Modifier int32
	// Type is the type's name with its modifier, as format_type gives it under an empty search_path. It is "" for types that take no
	// modifier: their OID says all, and their name may change.
	Type string
	Key  bool // part of the replica identity
	// Toastable: the value may be stored apart, and is left out of an update that did not touch it.
	Toastable bool
	NotNull   bool
}

// MayBeNaN is true for types whose NaN and infinities wal2json writes as null, unless it is told to quote numbers.
func (c Column) MayBeNaN() bool { return c.TypeOID == 700 || c.TypeOID == 701 || c.TypeOID == 1700 }

const byteaOID = 17

// index finds a column, beginning at the place where it is if nothing is left out.
func (t *Table) index(name []byte, guess int) int {
	if guess < len(t.Columns) && t.Columns[guess].Name == string(name) {
		return guess
	}
	return slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == string(name) })
}

func (t *Table) generated(name []byte) bool {
	return slices.ContainsFunc(t.Generated, func(g string) bool { return g == string(name) })
}

// alike is true when both have the same description.
func (t *Table) alike(o *Table) bool {
	return t.Schema == o.Schema && t.Name == o.Name && t.Identity == o.Identity && slices.Equal(t.Columns, o.Columns)
}

// appendRelation is pgoutput's description of the table.
func (t *Table) appendRelation(b []byte) []byte {
	b = append(b, 'R')
	b = binary.BigEndian.AppendUint32(b, t.OID)
	if t.Schema != "pg_catalog" { // the protocol's way to write that one is nothing
		b = append(b, t.Schema...)
	}
	b = append(append(append(b, 0), t.Name...), 0, t.Identity)
	b = binary.BigEndian.AppendUint16(b, uint16(len(t.Columns)))
	for _, c := range t.Columns {
		flags := byte(0)
		if c.Key || t.Identity == 'f' {
			flags = 1
		}
		b = append(append(append(b, flags), c.Name...), 0)
		b = binary.BigEndian.AppendUint32(b, c.TypeOID)
		b = binary.BigEndian.AppendUint32(b, uint32(c.Modifier))
	}
	return b
}
