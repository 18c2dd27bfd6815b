package contract

import (
	"fmt"

	"timeferry/internal/change"
)

// How received changes are kept, ReplicationOption.Buffer, and whether they are compressed there, ReplicationOption.Compress.
const (
	BufferDisk   = "disk"
	BufferSource = "source"

	CompressNone = "none"
	CompressZstd = "zstd"
)

// MaxLanes bounds ReplicationOption.Lanes.
const MaxLanes = 16

// validate holds against each other what belongs together.
func (o ReplicationOption) validate() error {
	if o.Buffer == BufferSource && o.Compress != CompressNone {
		return badSpec("replication.compress", "leave it out, or buffer on disk", "it is for buffer: disk; with buffer: source nothing is kept on the worker")
	}
	if o.Lanes < 0 || o.Lanes > MaxLanes {
		return badSpec("replication.lanes", fmt.Sprintf("choose 1 to %d", MaxLanes), "%d is out of range", o.Lanes)
	}
	return nil
}

// StreamStatus is what people ask of a running stream. Rates are those of the last seconds.
type StreamStatus struct {
	// SpooledLSN is up to where changes are safe: on the worker's disk, or with buffer: source on the target's.
	SpooledLSN change.LSN `json:"spooledLSN,omitzero"`
	// The spool's segments, and where and when the oldest was begun: what is in it is not on the target yet.
	SpoolSegments      int        `json:"spoolSegments,omitempty"`
	SpoolFirstLSN      change.LSN `json:"spoolFirstLSN,omitzero"`
	SpoolOldestSeconds float64    `json:"spoolOldestSeconds,omitempty"`

	TransactionsPerSecond float64 `json:"transactionsPerSecond,omitempty"`
	ChangesPerSecond      float64 `json:"changesPerSecond,omitempty"`
	// Busiest are the tables with the most changes applied, at most MaxBusiest.
	Busiest []TableChanges `json:"busiest,omitempty"`

	// AppliedPerSecond and WrittenPerSecond are bytes of WAL: how fast the target follows, and how fast the source goes on.
	AppliedPerSecond int64 `json:"appliedPerSecond,omitempty"`
	WrittenPerSecond int64 `json:"writtenPerSecond,omitempty"`
	// CatchUpSeconds is how long it takes at these rates until the target is level; 0: it is, or it is not known. -1: the target
	// falls behind.
	CatchUpSeconds int64 `json:"catchUpSeconds,omitempty"`

	Slot *SlotStatus `json:"slot,omitempty"`
}

// MaxBusiest bounds StreamStatus.Busiest.
const MaxBusiest = 10

// TableChanges is what was applied to one table since the applier started: its changes, and the transactions that held them.
type TableChanges struct {
	Table                 string  `json:"table"`
	Changes               int64   `json:"changes"`
	ChangesPerSecond      float64 `json:"changesPerSecond,omitempty"`
	Transactions          int64   `json:"transactions,omitempty"`
	TransactionsPerSecond float64 `json:"transactionsPerSecond,omitempty"`
}

// SlotStatus is what the source keeps for the slot, and what may keep it from letting go.
type SlotStatus struct {
	// WALStatus is reserved, extended, unreserved or lost; empty before PostgreSQL 13.
	WALStatus string `json:"walStatus,omitempty"`
	// SafeWALBytes can still be written before the slot is in danger; -1: the source sets no limit.
	SafeWALBytes int64 `json:"safeWALBytes"`
	// RetainedBytes of WAL are kept for the slot.
	RetainedBytes int64 `json:"retainedBytes"`
	// Longest is the longest open transaction of the source; nil: none with an ID or a snapshot.
	Longest *OpenTransaction `json:"longest,omitempty"`
}

// OpenTransaction is a transaction on the source. What it runs is not told.
type OpenTransaction struct {
	PID         int     `json:"pid"` // 0 for a prepared transaction
	User        string  `json:"user,omitempty"`
	Application string  `json:"application,omitempty"` // a prepared transaction's identifier
	State       string  `json:"state,omitempty"`
	Seconds     float64 `json:"seconds"`
}

// SlotWatch asks to watch the slot until what there is to say differs from Known, codes of problems in order.
type SlotWatch struct {
	Spec
	Known []string `json:"known,omitempty"`
}

// SlotAlarms is what a watch found.
type SlotAlarms struct {
	Problems []Problem `json:"problems"`
}

// Codes of the slot's alarms.
const (
	// CodeSlotEndangered: the source will soon remove WAL that the slot needs.
	CodeSlotEndangered = "slot-endangered"
	// CodeSlotLost: it has, or the slot is gone.
	CodeSlotLost = "slot-lost"
	// CodeLongTransaction: an open transaction keeps the slot from going on.
	CodeLongTransaction = "long-transaction"
	// CodeSlotUnwatched: the slot cannot be looked at.
	CodeSlotUnwatched = "slot-unwatched"
)

// SlotObject is what alarms are about. Problems of steps that use the slot name it as SlotName does.
func SlotObject(name string) string { return "slot " + SlotName(name) }

// ResyncInput asks to undo what a new slot and copy replace. After is the epoch at the time of the order: a later one is not touched.
type ResyncInput struct {
	Spec
	After int `json:"after"`
}
