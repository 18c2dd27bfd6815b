package slot

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
)

// terminateGrace is how long a terminated walsender may take to let go of its slot.
const terminateGrace = 15 * time.Second

// Drop removes the slot; one that does not exist is no error. While the slot is in use it waits up to wait for its user to
// go away, then ends that session.
func Drop(ctx context.Context, conn *pgx.Conn, name string, wait time.Duration) error {
	begun := time.Now()
	for {
		dropped, err := tryDrop(ctx, conn, name)
		if err != nil || dropped {
			return err
		}
		waited := time.Since(begun)
		if waited >= wait+terminateGrace {
			return fault.New(fault.Transient, "drop slot", name, "stop what reads from it", "its user does not go away").WithCode(CodeSlotInUse)
		}
		if waited >= wait {
			if err := endUser(ctx, conn, name); err != nil {
				return err
			}
		}
		if err := pgkit.Sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// tryDrop returns false when the slot is in use.
func tryDrop(ctx context.Context, conn *pgx.Conn, name string) (dropped bool, err error) {
	s, err := Inspect(ctx, conn, name)
	switch {
	case err != nil:
		return false, err
	case !s.Exists:
		return true, nil
	case s.Active:
		return false, nil
	}
	_, err = conn.Exec(ctx, "SELECT pg_drop_replication_slot($1)", name)
	switch sqlState(err) {
	case stateObjectInUse:
		return false, nil
	case stateUndefinedObject:
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("drop slot %s: %w", name, err)
	}
	return true, nil
}

func endUser(ctx context.Context, conn *pgx.Conn, name string) error {
	_, err := conn.Exec(ctx, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL", name)
	if sqlState(err) == "42501" {
		return fault.New(fault.Operator, "end the user of slot", name, "stop what reads from the slot, or grant pg_signal_backend", "%w", err).WithCode(CodeSlotInUse)
	}
	if err != nil {
		return fmt.Errorf("end the user of slot %s: %w", name, err)
	}
	return nil
}
