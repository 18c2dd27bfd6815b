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
	Phases      []PhaseTime       `json:"phases"`
	Decisions   []Decision        `json:"decisions,omitempty"`
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
}

// ReplicationStatus is where the change stream is.
type ReplicationStatus struct {
	ReceivedLSN  change.LSN `json:"receivedLSN"`
	AppliedLSN   change.LSN `json:"appliedLSN"`
	SpooledBytes int64      `json:"spooledBytes"`
	LagBytes     int64      `json:"lagBytes"`
	LagSeconds   float64    `json:"lagSeconds"`
	InSync       bool       `json:"inSync"`
	Transactions int64      `json:"transactions,omitempty"`
	Changes      int64      `json:"changes,omitempty"`
}

// CutoverStatus is what the switch did, step by step.
type CutoverStatus struct {
	Fenced     bool       `json:"fenced"`
	MarkerLSN  change.LSN `json:"markerLSN,omitzero"`
	Steps      []StepTime `json:"steps,omitempty"`
	DowntimeMS int64      `json:"downtimeMs,omitempty"`
	Sequences  int        `json:"sequences,omitempty"`
	Verified   string     `json:"verified,omitempty"` // checksum | count | none, once done
}

// StepTime is how long a step took, in milliseconds.
type StepTime struct {
	Step string `json:"step"`
	MS   int64  `json:"ms"`
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
	At     time.Time `json:"at"`
}

// Note is the optional payload of every signal and update.
type Note struct {
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	// KeepTarget is for abort: leave on the target what the migration made there.
	KeepTarget bool `json:"keepTarget,omitempty"`
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
	Verification         Verification      `json:"verification"`
	Schema               *SchemaComparison `json:"schema,omitempty"`
	Identities           []IdentityChoice  `json:"identities"`
	Hypertables          []string          `json:"hypertables"`
	RolesCreated         []string          `json:"rolesCreated"`
	RolesWithoutPassword []string          `json:"rolesWithoutPassword"`
	Problems             []Problem         `json:"problems"`
	Decisions            []Decision        `json:"decisions"`
	Left                 []string          `json:"left"` // what stays on purpose, and how to undo it
}

// Verification is the comparison of both sides.
type Verification struct {
	Method      string            `json:"method"`
	Tables      int               `json:"tables"`
	Rows        int64             `json:"rows"`
	Equal       bool              `json:"equal"`
	Seconds     float64           `json:"seconds"`
	Differences []TableDifference `json:"differences,omitempty"`
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

// TableDifference is a table that is not the same on both sides.
type TableDifference struct {
	Table      string `json:"table"`
	SourceRows int64  `json:"sourceRows"`
	TargetRows int64  `json:"targetRows"`
	Message    string `json:"message"`
}

// IdentityChoice is one table's replica identity during the migration.
type IdentityChoice struct {
	Table    string `json:"table"`
	Identity string `json:"identity"` // "primary key", "index NAME", "full", "none"
	Changed  bool   `json:"changed"`
	Reason   string `json:"reason"`
}
