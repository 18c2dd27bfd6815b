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
	Locale   Locale
	// DatabaseBytes is pg_database_size, indexes included.
	DatabaseBytes int64
	// StatsAge is how long the server has counted updates and deletes; 0 when it does not say.
	StatsAge time.Duration
	// Managed is true on RDS and Aurora (a role rds_superuser exists).
	Managed bool
	// InRecovery is true on a read replica.
	InRecovery bool

	Superuser    bool
	CanReplicate bool // REPLICATION, or member of rds_replication
	CanCreate    bool // CREATE on the database: publications need it
	OwnsDatabase bool // member of the database's owner: the fence needs it
	// StatsHidden is true when the user does not see what the sessions of others do, nor their standbys.
	StatsHidden bool
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

	// Tables in scope. Those of which only the definition is carried over are in Empty instead. AllTables names every user table, and Partitions every partition with its root, in scope or not.
	Tables     []shape.Table
	Empty      []shape.Table
	AllTables  []ident.Table
	Partitions map[ident.Table]ident.Table
	// InheritanceParents have children by old-style inheritance.
	InheritanceParents []ident.Table
	ForeignKeys        []ForeignKey
	ForeignTables      []ident.Table // in scope by name
	Extensions         []string
	// ExtensionVersions are the versions of Extensions by name.
	ExtensionVersions map[string]string
	// Collations of the system's own that something in the database uses, the database's default aside.
	Collations []Collation
	// Notables are objects of the kinds that preflight has a word for, those of tables out of scope left out.
	Notables []Notable
	// Needs are the objects that cannot be made without a table out of scope, or without a partition.
	Needs []Need
	// QuotedNames counts the tables, views, sequences and columns whose names must be quoted in SQL, and gives a few.
	QuotedNames    int
	QuotedExamples []string
	// Roles that may be carried over: without memberships and settings.
	Roles []shape.Role
	// ForHypertables tells more of the tables that are to become hypertables.
	ForHypertables map[ident.Table]HypertableFacts
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
	Locale   Locale
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
	// ExtensionVersions are the installed versions by name, of those not installed the ones that CREATE EXTENSION would take.
	ExtensionVersions map[string]string
	// SuperuserExtensions are those that only a superuser may create, as far as PostgreSQL itself is asked.
	SuperuserExtensions []string
	// Collations are the names in pg_catalog that fit the database's encoding. Roles are all names of roles.
	Collations map[string]bool
	Roles      map[string]bool

	// Intervals are the lengths in seconds of the spec's intervals by their words, a month counted as 30 days; not a number
	// for what is no interval. Empty when nobody asked.
	Intervals map[string]float64

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

// Locale is what a database sorts and classifies characters by.
type Locale struct {
	Provider string // libc | icu | builtin
	Collate  string
	Ctype    string
	Name     string // of the providers icu and builtin
	// Recorded and Actual are the versions of the collation: when the database was made, and of the library now. They are
	// empty where there is none, and before PostgreSQL 15.
	Recorded, Actual string
}

// Collation in pg_catalog. Recorded and Actual are its versions, as in Locale.
type Collation struct {
	Name             string
	Recorded, Actual string
}

// Notable is an object that preflight has a word for. Table is the one that it belongs to, zero when there is none.
type Notable struct {
	Kind  NotableKind
	Table ident.Table
	Name  string
}

// String is the object's name as people write it.
func (n Notable) String() string {
	switch {
	case n.Table == ident.Table{}:
		return n.Name
	case n.Name == "":
		return n.Table.String()
	}
	return n.Table.String() + "." + n.Name
}

// NotableKind says what a Notable is.
type NotableKind string

// The kinds of notable objects.
const (
	NotableRule             NotableKind = "rule"
	NotableEventTrigger     NotableKind = "event trigger"
	NotableSecurityLabel    NotableKind = "security label"
	NotableRowSecurity      NotableKind = "row security"
	NotableExclusion        NotableKind = "exclusion constraint"
	NotableDeferrable       NotableKind = "deferrable constraint"
	NotableVirtualColumn    NotableKind = "virtual column"
	NotableMaterializedView NotableKind = "materialized view"
	NotablePublication      NotableKind = "publication"
	NotableSubscription     NotableKind = "subscription"
	NotableSuperuserObject  NotableKind = "superuser object"
	NotableTablespace       NotableKind = "tablespace"
	NotableUserMapping      NotableKind = "user mapping"
	NotableDatabaseSetting  NotableKind = "database setting"
	NotableTemporaryTable   NotableKind = "temporary table"
)

// Need is an object that depends on a table which will not be on the target under its name.
type Need struct {
	Kind, Identity string // as pg_identify_object words them
	// Needs is the table out of scope, or the partition.
	Needs ident.Table
	// Table is true when a table in scope cannot be made without it; otherwise the object is left out.
	Table bool
}
