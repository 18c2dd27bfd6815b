package contract

import (
	"time"

	"timeferry/internal/change"
)

// Severity of a problem.
type Severity string

const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Fatal   Severity = "error" // stops the migration before anything is changed
)

// Problem is one finding, of preflight or later: what is wrong with which object, and what to do.
type Problem struct {
	Severity Severity `json:"severity"`
	Code     string   `json:"code"`
	Object   string   `json:"object"`
	Message  string   `json:"message"`
	Remedy   string   `json:"remedy,omitempty"`
}

// Status is the answer to the query "status".
type Status struct {
	Name        string            `json:"name"`
	Phase       Phase             `json:"phase"`
	Paused      bool              `json:"paused,omitempty"`
	Awaiting    []string          `json:"awaiting"` // signals that would let it go on
	Message     string            `json:"message"`
	Problems    []Problem         `json:"problems"`
	Source      SourceStatus      `json:"source"`
	Copy        CopyStatus        `json:"copy"`
	Replication ReplicationStatus `json:"replication"`
	Cutover     CutoverStatus     `json:"cutover"`
	Back        *BackStatus       `json:"back,omitempty"`     // with cutover.reverse, once the switch is prepared
	Rollback    *CutoverStatus    `json:"rollback,omitempty"` // the last one that was tried
	Phases      []PhaseTime       `json:"phases"`
	Decisions   []Decision        `json:"decisions,omitempty"`
	// SchemaChanges are the source's DDL that was carried over.
	SchemaChanges []SchemaChange `json:"schemaChanges,omitempty"`
	Verify        *VerifyStatus  `json:"verify,omitempty"`
}

// SourceStatus is what was found out about and done to the source server.
type SourceStatus struct {
	Host           string            `json:"host,omitempty"`
	Port           int               `json:"port,omitempty"`
	Version        string            `json:"version,omitempty"`
	Instance       string            `json:"instance,omitempty"`
	InstanceStatus string            `json:"instanceStatus,omitempty"`
	ParameterGroup string            `json:"parameterGroup,omitempty"`
	PreviousGroup  string            `json:"previousGroup,omitempty"`
	Changes        []ParameterChange `json:"changes,omitempty"`
	Rebooted       bool              `json:"rebooted,omitempty"`
	IngressRule    string            `json:"ingressRule,omitempty"` // of prepare.securityGroup, while it is open for this migration
	Slot           string            `json:"slot,omitempty"`
	Publication    string            `json:"publication,omitempty"`
}

// ParameterChange is one parameter's old and new value in the parameter group.
type ParameterChange struct {
	Name string `json:"name"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

// CopyStatus is how far the initial copy is. ETA is seconds left at the present rate, 0 when unknown.
type CopyStatus struct {
	Tables     int   `json:"tables"`
	TablesDone int   `json:"tablesDone"`
	Parts      int   `json:"parts"`
	PartsDone  int   `json:"partsDone"`
	Bytes      int64 `json:"bytes"`
	BytesDone  int64 `json:"bytesDone"`
	Rows       int64 `json:"rows"`
	ETASeconds int64 `json:"eta,omitempty"`
	Epoch      int   `json:"epoch,omitempty"`
	// Indexes and constraints that are built beside the copy, each table's as soon as it is complete.
	Indexes     int `json:"indexes,omitempty"`
	IndexesDone int `json:"indexesDone,omitempty"`
	// OpenBytes and OpenRows are copied but not committed yet; BytesDone and Rows include them.
	OpenBytes int64 `json:"openBytes,omitempty"`
	OpenRows  int64 `json:"openRows,omitempty"`
	// Rate is the bytes of one second at present.
	Rate int64 `json:"rate,omitempty"`
	// Waiting says why streams wait between parts: what keeps the source too busy.
	Waiting string `json:"waiting,omitempty"`
	// Running are the parts under way, and Largest the tables with the most bytes. Only running streams know them.
	Running []PartProgress  `json:"running,omitempty"`
	Largest []TableProgress `json:"largest,omitempty"`
	// Building are the indexes being built. Only the activity that builds them knows.
	Building []IndexBuild `json:"building,omitempty"`
}

// PartProgress is a part that a stream copies right now. Bytes counts towards Planned, the part's size on the source.
type PartProgress struct {
	Table      string `json:"table"`
	Part       int    `json:"part"`
	Stream     int    `json:"stream,omitempty"`
	Rows       int64  `json:"rows"`
	Bytes      int64  `json:"bytes"`
	Planned    int64  `json:"planned"`
	Rate       int64  `json:"rate,omitempty"`
	ETASeconds int64  `json:"eta,omitempty"`
}

// TableProgress is how far one table is. A heartbeat tells of its parts that are done; whoever reads those of all streams adds the
// parts under way, the bytes of one second at present, and the seconds that the rest takes at that.
type TableProgress struct {
	Table     string `json:"table"`
	Parts     int    `json:"parts"`
	PartsDone int    `json:"partsDone"`
	Bytes     int64  `json:"bytes"`
	BytesDone int64  `json:"bytesDone"`
	Rows      int64  `json:"rows"`

	Rate       int64 `json:"rate,omitempty"`
	ETASeconds int64 `json:"eta,omitempty"`
}

// IndexStatus is how far the building of indexes is, and what is being built, largest table first.
type IndexStatus struct {
	Indexes     int          `json:"indexes"`
	IndexesDone int          `json:"indexesDone"`
	Building    []IndexBuild `json:"building,omitempty"`
}

// IndexBuild is an index or constraint that is being built. Percent is 0 where the server does not tell.
type IndexBuild struct {
	Name    string  `json:"name"` // "INDEX public.orders_day"
	Table   string  `json:"table"`
	Percent float64 `json:"percent,omitempty"`
}

// ReplicationStatus is where the change stream is.
type ReplicationStatus struct {
	ReceivedLSN  change.LSN `json:"receivedLSN"`
	AppliedLSN   change.LSN `json:"appliedLSN"`
	SpooledBytes int64      `json:"spooledBytes"` // on the worker's disk, transactions under way included
	LagBytes     int64      `json:"lagBytes"`
	LagSeconds   float64    `json:"lagSeconds"`
	InSync       bool       `json:"inSync"`
	Transactions int64      `json:"transactions,omitempty"`
	Changes      int64      `json:"changes,omitempty"`
	StreamStatus
}

// CutoverStatus is what the switch did, step by step.
type CutoverStatus struct {
	Fenced     bool       `json:"fenced"`
	MarkerLSN  change.LSN `json:"markerLSN,omitzero"`
	Steps      []StepTime `json:"steps,omitempty"`
	DowntimeMS int64      `json:"downtimeMs,omitempty"`
	Sequences  int        `json:"sequences,omitempty"`
	Verified   string     `json:"verified,omitempty"` // checksum | count | none, once done
	// Ended are the sessions that the fence ended, Spared those that only a superuser could end.
	Ended  []SessionGroup `json:"ended,omitempty"`
	Spared []string       `json:"spared,omitempty"`
	// Switch says what cutover.switch did, SwitchPrevious where the application was before.
	Switch         string `json:"switch,omitempty"`
	SwitchPrevious string `json:"switchPrevious,omitempty"`
}

// StepTime is how long a step took, and how long after the cutover's beginning it began, in milliseconds. Steps may overlap.
type StepTime struct {
	Step string `json:"step"`
	MS   int64  `json:"ms"`
	AtMS int64  `json:"atMs,omitempty"`
}

// PhaseTime is when a phase was entered and how long it lasted, in milliseconds (0 while it lasts).
type PhaseTime struct {
	Phase   Phase     `json:"phase"`
	Entered time.Time `json:"entered"`
	MS      int64     `json:"ms"`
}

// Decision is a signal or update by a person, with when it came.
type Decision struct {
	Signal string    `json:"signal"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Detail string    `json:"detail,omitempty"` // what was asked for, where the signal alone does not say
	At     time.Time `json:"at"`
}

// Note is the optional payload of every signal and update.
type Note struct {
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	// KeepTarget is for abort: leave on the target what the migration made there.
	KeepTarget bool `json:"keepTarget,omitempty"`
	// Copy and IndexJobs are for set-concurrency: how many streams copy, how many indexes are built at once; 0 leaves it.
	Copy      int `json:"copy,omitempty"`
	IndexJobs int `json:"indexJobs,omitempty"`
	// Tables (patterns; none: all), Full and ShowValues are for verify, see BarrierInput.
	Tables     []string `json:"tables,omitempty"`
	Full       bool     `json:"full,omitempty"`
	ShowValues bool     `json:"showValues,omitempty"`
}

// Report is the workflow's result.
type Report struct {
	Name                 string            `json:"name"`
	Outcome              Phase             `json:"outcome"` // completed | aborted | rolled-back
	Started              time.Time         `json:"started"`
	Ended                time.Time         `json:"ended"`
	Phases               []PhaseTime       `json:"phases"`
	Source               SourceStatus      `json:"source"`
	Copy                 CopyStatus        `json:"copy"`
	CopySeconds          float64           `json:"copySeconds"`
	Replication          ReplicationStatus `json:"replication"`
	Cutover              CutoverStatus     `json:"cutover"`
	Back                 *BackStatus       `json:"back,omitempty"`
	Rollback             *CutoverStatus    `json:"rollback,omitempty"`
	Verification         Verification      `json:"verification"`
	Verifications        []Verification    `json:"verifications,omitempty"` // at barriers, the last ones
	Schema               *SchemaComparison `json:"schema,omitempty"`
	Identities           []IdentityChoice  `json:"identities"`
	Hypertables          []string          `json:"hypertables"`
	RolesCreated         []string          `json:"rolesCreated"`
	RolesWithoutPassword []string          `json:"rolesWithoutPassword"`
	Problems             []Problem         `json:"problems"`
	Decisions            []Decision        `json:"decisions"`
	Left                 []string          `json:"left"` // what stays on purpose, and how to undo it
	SchemaChanges        []SchemaChange    `json:"schemaChanges,omitempty"`
	Target               *TargetStatus     `json:"target,omitempty"`
	Options              []OptionChoice    `json:"options,omitempty"`      // that are not the defaults
	CopiedTables         *CopiedTables     `json:"copiedTables,omitempty"` // nil: the copy was not completed
	Lag                  []LagSample       `json:"lag,omitempty"`          // oldest first
	// History has every problem, the open ones of Problems too. Those that ended longest ago are forgotten first.
	History []ProblemTime `json:"history,omitempty"`
	// Leftovers is the last look for what should be gone; nil: there was none.
	Leftovers *Leftovers `json:"leftovers,omitempty"`
}

// SchemaComparison is how the schemas of both sides compare. The lists are cut short, the counts are not.
type SchemaComparison struct {
	Objects     int                `json:"objects"`    // of the source, that were compared
	Unexpected  int                `json:"unexpected"` // differences that nobody planned
	AsPlanned   int                `json:"asPlanned"`  // such as partitions that became one hypertable
	Differences []SchemaDifference `json:"differences,omitempty"`
	Planned     []SchemaDifference `json:"planned,omitempty"`
}

// SchemaDifference is one property of one object that is not the same on both sides.
type SchemaDifference struct {
	Kind     string `json:"kind"`
	Object   string `json:"object"`
	Property string `json:"property"`
	Source   string `json:"source"`
	Target   string `json:"target"`
	Why      string `json:"why,omitempty"`
}

// IdentityChoice is one table's replica identity during the migration.
type IdentityChoice struct {
	Table    string `json:"table"`
	Identity string `json:"identity"` // "primary key", "index NAME", "full", "none"
	Changed  bool   `json:"changed"`
	Reason   string `json:"reason"`
}
