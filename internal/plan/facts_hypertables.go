package plan

import "timeferry/internal/ident"

// HypertableFacts is what preflight knows of one table that is to become a hypertable, beyond its shape. The zero value
// knows of nothing in the way.
type HypertableFacts struct {
	// Nulls says whether the time column has rows without a time, OutOfRange whether it has times that a hypertable refuses.
	Nulls, OutOfRange Finding
	// KeyUsers cannot be made on the target without a unique key exactly as it is.
	KeyUsers []KeyUser
	// Exclusions are its exclusion constraints.
	Exclusions []Exclusion
	// NoInherit are its check constraints that are NO INHERIT, Rules its rules, and TransitionTriggers its row triggers with
	// transition tables.
	NoInherit, Rules, TransitionTriggers []string
	RowSecurity                          bool
	// NotHashable is true when the space column's type has no hash function.
	NotHashable bool
	// PartitionOwn is what partitions have and the root has not.
	PartitionOwn []PartitionOwn
}

// Finding is the answer to a question about rows, which may take too long to ask.
type Finding string

// The answers. The zero value is "there are none".
const (
	FoundNone  Finding = ""
	FoundSome  Finding = "some"
	NotKnown   Finding = "not known"
	NotAllowed Finding = "not allowed" // the rows may not be read
)

// KeyUser is a foreign key, or a view that groups by a primary key.
type KeyUser struct {
	Index string // the key's index
	Kind  string // "foreign key" or "view"
	Name  string
	// From is the referring table, or the view.
	From ident.Table
}

// Exclusion constraint. Columns are its plain ones that exclude by equality.
type Exclusion struct {
	Name    string
	Columns []string
}

// PartitionOwn is an object of a partition alone.
type PartitionOwn struct {
	Partition ident.Table
	Kind      string // index, constraint, default, trigger, policy, rule
	Name      string
}
