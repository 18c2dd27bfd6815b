package plan

import (
	"time"

	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// SourceFacts is what preflight knows of the source. source/prepare reads it; the zero value knows nothing.
type SourceFacts struct {
	Version  int // server_version_num, 150018 for 15.18
	User     string
	Database string
	Encoding string
	// DatabaseBytes is pg_database_size, indexes included.
	DatabaseBytes int64
	// Managed is true on RDS and Aurora (a role rds_superuser exists).
	Managed bool
	// InRecovery is true on a read replica.
	InRecovery bool

	Superuser    bool
	CanReplicate bool // REPLICATION, or member of rds_replication
	CanCreate    bool // CREATE on the database: publications need it
	OwnsDatabase bool // member of the database's owner: the fence needs it
	// NotOwned are the tables and partitions in scope whose owner the user is not a member of.
	NotOwned []ident.Table
	// Unreadable are those that the user may not SELECT from.
	Unreadable []ident.Table
	// RowSecurity are those whose row security policies would hide rows from the user.
	RowSecurity []ident.Table

	// Settings holds the server's settings by name, as SHOW words them. A name that the server does not know is missing.
	Settings       map[string]string
	SlotsUsed      int
	SendersUsed    int
	MaxConnections int
	Connections    int

	// Tables in scope. AllTables names every user table, and Partitions every partition with its root, in scope or not.
	Tables     []shape.Table
	AllTables  []ident.Table
	Partitions map[ident.Table]ident.Table
	// InheritanceParents have children by old-style inheritance.
	InheritanceParents []ident.Table
	ForeignKeys        []ForeignKey
	ForeignTables      []ident.Table // in scope by name
	Extensions         []string
	// Hypertables are those of a TimescaleDB on the source.
	Hypertables  []ident.Table
	LargeObjects int64
	Sequences    []SequenceUse

	PreparedTransactions []Transaction
	LongTransactions     []Transaction
}

// TargetFacts is what preflight knows of the target. target/survey reads it; the zero value knows nothing.
type TargetFacts struct {
	Version  int
	User     string
	Database string
	Encoding string
	// DatabaseBytes is pg_database_size. How much room is left cannot be asked of PostgreSQL.
	DatabaseBytes int64
	InRecovery    bool

	// TimescaleDB is the version of the extension in this database, "" when it is not created.
	TimescaleDB string
	// License is timescaledb.license: "timescale" or "apache".
	License string
	// Available and Installed name extensions.
	Available []string
	Installed []string

	Superuser             bool
	CanCreate             bool // CREATE on the database
	CanCreateRole         bool
	CanSetReplicationRole bool

	Settings       map[string]string
	MaxConnections int
	Connections    int

	// Existing are the relations that bear a name the migration wants.
	Existing []ExistingTable
	// LedgerOwner is the migration that the bookkeeping on the target belongs to, "" when there is none.
	LedgerOwner string
}

// ForeignKey from one table to another.
type ForeignKey struct {
	Name     string
	From, To ident.Table
}

// SequenceUse is how far a sequence has come.
type SequenceUse struct {
	ident.Table
	LastValue int64
	// End is the value at which it stops: the maximum, or the minimum of a descending one. Start is where it began.
	Start, End int64
}

// Transaction that is open. PID is 0 for a prepared one, which GID names.
type Transaction struct {
	PID         int
	GID         string
	User        string
	Application string
	Age         time.Duration
}

// ExistingTable is a relation on the target.
type ExistingTable struct {
	ident.Table
	Kind    string // pg_class.relkind
	HasRows bool
	// Ours is true when the ledger says that LedgerOwner's migration made it.
	Ours bool
}
