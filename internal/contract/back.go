package contract

import (
	"strings"

	"timeferry/internal/change"
)

// backSuffix ends the name of what belongs to the way back; no migration may have a name that ends so.
const backSuffix = "-back"

// backExcludes are relations on the target that are nobody's data.
var backExcludes = []string{LedgerSchema + ".*", "_timescaledb_*.*", "timescaledb_*.*", "toolkit_experimental.*"}

// Back is the order for the way back: the same migration with its ends exchanged, under a name of its own, read by the given
// plugin. What makes or prepares something is not in it: everything is there already.
func (s Spec) Back(plugin string) Spec {
	b := s
	b.Name = s.Name + backSuffix
	b.Source = Source{RDS: s.Source.RDS, Endpoint: s.Target} // AWS is asked in the same region
	b.Target = s.Source.Endpoint
	b.Prepare, b.Hypertables, b.HypertableGate = Prepare{}, nil, false
	b.Tables.Exclude = append(append([]string{}, s.Tables.Exclude...), backExcludes...)
	b.Replication.Plugin, b.Replication.Buffer, b.Replication.DDL = plugin, BufferDisk, DDLStop
	b.Replication.Origin = "any" // whoever writes to the target
	// A table that takes inserts only on the way there must lose nothing on the way back.
	b.ReplicaIdentity.Fallback = "full"
	b.Cutover.Reverse = false
	if s.Cutover.Switch != nil {
		back := *s.Cutover.Switch
		back.Target, back.Source = back.Source, nil
		b.Cutover.Switch = &back
	}
	return b
}

// IsBack is true for an order that Back made.
func (s Spec) IsBack() bool { return strings.HasSuffix(s.Name, backSuffix) }

// Names are those that the migration gives things by: its own, and the way back's where it has one.
func (s Spec) Names() []string {
	if !s.Cutover.Reverse {
		return []string{s.Name}
	}
	return []string{s.Name, s.Name + backSuffix}
}

// Migration is the name of the migration that the order belongs to.
func (s Spec) Migration() string { return strings.TrimSuffix(s.Name, backSuffix) }

// BackPlan is how the way back is read: by which plugin, and which slot of the target.
type BackPlan struct {
	Plugin string `json:"plugin"`
	Slot   string `json:"slot"`
}

// BackStatus is the stream from the target back to the source, after the switch.
type BackStatus struct {
	Slot string `json:"slot"`
	// Since is a position in the target's WAL: what is committed after it goes back. It is there once the stream has begun.
	Since       change.LSN        `json:"since,omitzero"`
	Replication ReplicationStatus `json:"replication"`
}
