package contract

import (
	"time"

	"timeferry/internal/change"
)

// Codes of what a look at the source's schema finds.
const (
	CodeNewTable      = "new-table"
	CodeSchemaAhead   = "schema-ahead"   // a table's definition changed, and the stream has not come to it or never tells
	CodeTableDropped  = "table-dropped"  // on the source
	CodeTableRenamed  = "table-renamed"  // on the source
	CodePartitionGone = "partition-gone" // detached or dropped on the source
	CodeIdentityLost  = "identity-lost"  // the application's UPDATE and DELETE fail
	CodeEnumAhead     = "enum-ahead"     // a label that the target lacks
	CodeTableJoins    = "table-joins"    // a new table that is being carried over
	// CodeJoinAgain: a new table has changed while it was being carried over, which begins again.
	CodeJoinAgain = "table-changed-while-joining"
)

// SchemaChange is DDL of the source that replication.ddl: follow has carried over to the target.
type SchemaChange struct {
	Table     string     `json:"table"`
	What      string     `json:"what"`      // in words
	Statement string     `json:"statement"` // that was run on the target
	LSN       change.LSN `json:"lsn,omitzero"`
	At        time.Time  `json:"at"`
}

// SchemaWatchInput asks for a look at the source's schema. Followed is how many of the changes that were carried over are known.
type SchemaWatchInput struct {
	Spec
	Followed int `json:"followed,omitempty"`
}

// SchemaWatch is what a look at the source's schema found. The lists are cut short.
type SchemaWatch struct {
	// NewTables are named only; Joining are those that can be carried over.
	NewTables []string `json:"newTables,omitempty"`
	Joining   []string `json:"joining,omitempty"`
	// Fingerprint stands for both, uncut; "" where there are none.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Problems tell of what the stream has not come to yet, and of what it never tells.
	Problems []Problem `json:"problems,omitempty"`
	// Followed is what was carried over since, oldest first.
	Followed []SchemaChange `json:"followed,omitempty"`
}

// JoinResult is what became of new tables. Tables is how many join, Copy what is to be copied with theirs.
type JoinResult struct {
	Tables int        `json:"tables"`
	Copy   CopyStatus `json:"copy"`
}
