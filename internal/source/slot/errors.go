package slot

import (
	"context"
	"errors"
	"fmt"

	"timeferry/internal/fault"
)

// Codes of this room's faults.
const (
	// CodeSnapshotLost: the holder's session ended; a new epoch is needed.
	CodeSnapshotLost = "snapshot-lost"
	// CodeSlotLost: the slot is gone or its WAL is; only starting again helps.
	CodeSlotLost = "slot-lost"
	// CodeSlotTaken: a slot of that name exists, but it is not ours.
	CodeSlotTaken = "slot-taken"
	// CodeNoFreeSlot: the server has no room for another slot.
	CodeNoFreeSlot = "no-free-slot"
	// CodeNoPlugin: the server does not have the output plugin.
	CodeNoPlugin = "no-output-plugin"
	// CodePluginUnlisted: the server has the output plugin, and does not let slots have it.
	CodePluginUnlisted = "output-plugin-unlisted"
	// CodeSlotInUse: the slot's user does not go away.
	CodeSlotInUse = "slot-in-use"
)

// The SQLSTATEs that matter here.
const (
	stateDuplicateObject = "42710"
	stateNoPrivilege     = "42501"
	stateUndefinedObject = "42704"
	stateObjectInUse     = "55006"
	stateConfigLimit     = "53400"
)

func sqlState(err error) string {
	var s interface{ SQLState() string }
	if errors.As(err, &s) {
		return s.SQLState()
	}
	return ""
}

// explainCreate says why a slot could not be made. The caller's cancellation passes through.
func explainCreate(ctx context.Context, name string, err error) error {
	const op = "create slot"
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s %s: %w", op, name, ctx.Err())
	case sqlState(err) == stateDuplicateObject:
		return fault.New(fault.Transient, op, name, "", "another session made it at the same moment: %w", err)
	case sqlState(err) == stateConfigLimit:
		return fault.New(fault.Operator, op, name, "raise max_replication_slots, or drop a slot that nobody uses any more", "%w", err).WithCode(CodeNoFreeSlot)
	case sqlState(err) == stateNoPrivilege:
		return fault.New(fault.Operator, op, name, "grant the source user REPLICATION, on RDS the role rds_replication", "%w", err)
	case sqlState(err) == "58P01":
		return fault.New(fault.Operator, op, name, "install the output plugin on the source, or start again with replication.plugin: pgoutput", "%w", err).WithCode(CodeNoPlugin)
	case sqlState(err) == "55000":
		return fault.New(fault.Operator, op, name, "set wal_level to logical, on RDS rds.logical_replication to 1, and restart the source", "%w", err)
	}
	return &fault.Error{Class: fault.Classify(err), Op: op, Subject: name, Err: err}
}
