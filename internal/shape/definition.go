package shape

import "timeferry/internal/ident"

// Definition is what one server's catalogue says about a table at one moment, as far as the change stream depends on it. It is
// kept in the ledger, so its JSON form is read by later versions.
type Definition struct {
	Table ident.Table `json:"table"`
	OID   uint32      `json:"oid"`
	// Identity is the replica identity: 'd', 'n', 'f' or 'i'. Findable is true when updated rows can be told by it.
	Identity byte `json:"identity"`
	Findable bool `json:"findable"`
	// Numbers is the highest number that a column was ever given, dropped ones among them; 0: not known.
	Numbers int `json:"numbers"`
	// Files name the storage of the table, or of a root's leaves: a statement that rewrites rows gives a new one.
	Files   []string        `json:"files,omitempty"`
	Columns []DefinedColumn `json:"columns"`
	// Rules are the constraints and unique indexes that may refuse a row.
	Rules []Rule `json:"rules,omitempty"`
	// Leaves of a partition tree; empty for a plain table.
	Leaves []DefinedLeaf `json:"leaves,omitempty"`
}

// DefinedLeaf is a partition with rows. Bounds is the condition that its rows fulfil, with every name qualified.
type DefinedLeaf struct {
	Table  ident.Table `json:"table"`
	Bounds string      `json:"bounds"`
}

// Rule refuses rows: a constraint, or with Index a unique index that no constraint owns.
type Rule struct {
	Name  string `json:"name"`
	Index bool   `json:"index,omitempty"`
}

// HasRule finds a rule by name.
func (d *Definition) HasRule(name string) (Rule, bool) {
	for _, r := range d.Rules {
		if r.Name == name {
			return r, true
		}
	}
	return Rule{}, false
}

// DefinedColumn is a column that is not dropped, in the order of the numbers. Types are named with their schema where it is not
// pg_catalog.
type DefinedColumn struct {
	Name     string `json:"name"`
	Number   int    `json:"number"` // pg_attribute's; 0: not known
	TypeOID  uint32 `json:"typeOID"`
	Modifier int32  `json:"modifier"`
	Type     string `json:"type"`     // with modifier
	BaseType string `json:"baseType"` // without
	// Collation is quoted and qualified; "" for the type's own.
	Collation string `json:"collation,omitempty"`
	NotNull   bool   `json:"notNull,omitempty"`
	Default   string `json:"default,omitempty"` // an expression
	// Missing is the value, in its text form, of rows that were there before the column; nil: they have a NULL, or a value
	// of their own.
	Missing *string `json:"missing,omitempty"`
	// Generated is what follows GENERATED ALWAYS AS, "(a * 2) STORED"; Identity what follows GENERATED: "ALWAYS AS IDENTITY".
	Generated string `json:"generated,omitempty"`
	Identity  string `json:"identity,omitempty"`
}

// Column finds a column by name; nil if there is none.
func (d *Definition) Column(name string) *DefinedColumn {
	for i := range d.Columns {
		if d.Columns[i].Name == name {
			return &d.Columns[i]
		}
	}
	return nil
}

// Numbered finds a column by its number; nil if there is none.
func (d *Definition) Numbered(number int) *DefinedColumn {
	for i := range d.Columns {
		if number > 0 && d.Columns[i].Number == number {
			return &d.Columns[i]
		}
	}
	return nil
}

// TypeRef is a type with its modifier, as one server numbers it.
type TypeRef struct {
	OID      uint32
	Modifier int32
}

// TypeName is how a type is written: with modifier, and without.
type TypeName struct{ Full, Base string }

// Enum is an enum type with its labels in order.
type Enum struct {
	ident.Table
	Labels []string
}
