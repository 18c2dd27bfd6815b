package contract

import (
	"encoding/json"
	"time"

	"timeferry/internal/change"
)

// Inputs and results of the activities. Every input that needs the databases is the Spec itself: after Inspect its source
// names host and port, and its password reference is one that any worker can resolve.

// Inspection is what RDS says about the source.
type Inspection struct {
	Instance        string   `json:"instance"`
	Status          string   `json:"status"`
	Engine          string   `json:"engine"`
	EngineVersion   string   `json:"engineVersion"`
	Host            string   `json:"host"`
	Port            int      `json:"port"`
	ParameterGroup  string   `json:"parameterGroup"`
	ApplyStatus     string   `json:"applyStatus"`
	VPC             string   `json:"vpc,omitempty"`
	SecurityGroups  []string `json:"securityGroups,omitempty"`
	MasterUser      string   `json:"masterUser"`
	MasterSecretARN string   `json:"masterSecretArn,omitempty"`
	Pending         []string `json:"pending,omitempty"`
}

// PreflightInput asks for the checks. CanReboot says that wal_level may still be changed by a reboot, and Changes what else
// it will bring.
type PreflightInput struct {
	Spec      Spec              `json:"spec"`
	CanReboot bool              `json:"canReboot"`
	Changes   []ParameterChange `json:"changes,omitempty"`
}

// PreflightResult is what the checks found.
type PreflightResult struct {
	Problems      []Problem `json:"problems"`
	SourceVersion string    `json:"sourceVersion"`
	TargetVersion string    `json:"targetVersion"`
	WALLevel      string    `json:"walLevel"`
	Tables        int       `json:"tables"`
	Bytes         int64     `json:"bytes"`
	// Activity is what a reboot would interrupt, in words.
	Activity string `json:"activity,omitempty"`
	// MostStreams is how many streams of the copy the connections of both servers have room for; 0: not known.
	MostStreams int `json:"mostStreams,omitempty"`
	// TargetConnections are those that streams and index builds share; zero: not known.
	TargetConnections Connections `json:"targetConnections,omitzero"`
}

// Connections of a server, for streams of the copy, which take PerStream each, and index builds, which take one.
type Connections struct {
	Room      int `json:"room"`
	PerStream int `json:"perStream"`
}

// MostIndexJobs is how many index builds there is room for beside so many streams, at least 1; 0: not known.
func (c Connections) MostIndexJobs(streams int) int {
	if c.Room == 0 {
		return 0
	}
	return max(c.Room-c.PerStream*streams, 1)
}

// ParameterPlan is what has to be done to the instance's parameters.
type ParameterPlan struct {
	Group       string            `json:"group"`
	Previous    string            `json:"previous"`
	Changes     []ParameterChange `json:"changes,omitempty"`
	NeedsAttach bool              `json:"needsAttach"`
	NeedsReboot bool              `json:"needsReboot"`
	// Problems is what is worth knowing about the plan.
	Problems []Problem `json:"problems,omitempty"`
}

// ParameterInput carries the plan to the activities that carry it out.
type ParameterInput struct {
	Spec Spec          `json:"spec"`
	Plan ParameterPlan `json:"plan"`
}

// RebootInput asks for a reboot. A reboot that has not been asked for by NotAfter is not asked for any more.
type RebootInput struct {
	Spec
	NotAfter *time.Time `json:"notAfter,omitempty"`
}

// VerifyInput asks whether the source can replicate; Changes are the parameters that must be in force by now.
type VerifyInput struct {
	Spec
	Changes []ParameterChange `json:"changes,omitempty"`
}

// RebootWindow is the next time, or the present one, in which prepare.window is open.
type RebootWindow struct {
	Open   bool      `json:"open"`
	Opens  time.Time `json:"opens"`
	Closes time.Time `json:"closes"`
}

// IngressRule lets the worker in. Ours: it was made for this migration, and is revoked at its end.
type IngressRule struct {
	ID   string `json:"id"`
	CIDR string `json:"cidr"`
	Ours bool   `json:"ours"`
}

// IngressInput asks to revoke a rule: RuleID, or where that was never learned, what carries the migration's name.
type IngressInput struct {
	Spec
	RuleID string `json:"ruleId,omitempty"`
}

// SnapshotHeld is the payload of SignalSnapshot.
type SnapshotHeld struct {
	Epoch           int        `json:"epoch"`
	Slot            string     `json:"slot"`
	ConsistentPoint change.LSN `json:"consistentPoint"`
	HostID          string     `json:"hostId,omitempty"` // the worker that holds it
}

// HoldInput asks for a snapshot of an epoch later than After: an earlier one that other sessions still hold is of no use.
type HoldInput struct {
	Spec
	After int `json:"after,omitempty"`
}

// SecondWorker is the payload of SignalSecondWorker.
type SecondWorker struct {
	HostID string `json:"hostId"`
}

// HostClaim names the worker that will own the spool.
type HostClaim struct {
	HostID string `json:"hostId"`
}

// RolesResult is what became of the roles.
type RolesResult struct {
	Created         []string  `json:"created"`
	WithoutPassword []string  `json:"withoutPassword"`
	Problems        []Problem `json:"problems"`
}

// LagInput asks to watch the stream.
type LagInput struct {
	Spec Spec `json:"spec"`
	// UntilInSync ends the watch when the lag is at most cutover.maxLag; Seconds ends it in any case.
	UntilInSync bool  `json:"untilInSync"`
	Seconds     int64 `json:"seconds"`
	// NewTablesEvery is after how many seconds, again and again, the source's new tables are looked for; 0: never. Others than
	// NewTables, the fingerprint of those that are known, end the watch.
	NewTablesEvery int64  `json:"newTablesEvery,omitempty"`
	NewTables      string `json:"newTables,omitempty"`
}

// FenceResult says what the fence did.
type FenceResult struct {
	Ended  int      `json:"ended"`
	Spared []string `json:"spared,omitempty"` // sessions that only a superuser could end
}

// DrainInput asks to wait until everything up to LSN is applied and durable on the target.
type DrainInput struct {
	Spec Spec       `json:"spec"`
	LSN  change.LSN `json:"lsn"`
}

// CompareInput asks for a comparison; Run names it in the ledger.
type CompareInput struct {
	Spec   Spec   `json:"spec"`
	Run    string `json:"run"`
	Method string `json:"method"`
}

// SchemaInput asks for a comparison of the schemas. BeforeCutover: what is made at the cutover only is not missed yet.
type SchemaInput struct {
	Spec
	BeforeCutover bool `json:"beforeCutover"`
}

// VerifySchemaInput is the input of the workflow VerifySchemaType.
type VerifySchemaInput struct {
	Spec          json.RawMessage `json:"spec"`
	BeforeCutover bool            `json:"beforeCutover"`
}

// UndoInput asks to undo what the migration did.
type UndoInput struct {
	Spec       Spec `json:"spec"`
	KeepTarget bool `json:"keepTarget"`
}

// UndoResult lists what could not be undone, and why.
type UndoResult struct {
	Left []string `json:"left"`
}

// Beat is what a long activity tells with its heartbeats. Only the fields that it knows are set.
type Beat struct {
	Message     string             `json:"message,omitempty"`
	Copy        *CopyStatus        `json:"copy,omitempty"`
	Replication *ReplicationStatus `json:"replication,omitempty"`
	Indexes     *IndexStatus       `json:"indexes,omitempty"`
	Verify      *VerifyProgress    `json:"verify,omitempty"`
}
