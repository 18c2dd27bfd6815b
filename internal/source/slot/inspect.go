package slot

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/pgkit"
)

// State is what the source says of a slot. Without the slot, only Exists is meaningful.
type State struct {
	Exists    bool
	Active    bool
	ActivePID int // of the walsender or backend that uses it, 0 when none does
	Plugin    string
	Database  string
	// WALStatus is reserved, extended, unreserved or lost; empty before PostgreSQL 13.
	WALStatus string
	// Invalidation is why the server gave the slot up (from PostgreSQL 17), or empty.
	Invalidation string
	// ConfirmedFlush is 0 while the slot is still being created.
	ConfirmedFlush change.LSN
	RestartLSN     change.LSN
	// RetainedBytes of WAL are kept for the slot.
	RetainedBytes int64
	// SafeWALBytes can still be written before the slot is in danger; -1 when the server sets no limit.
	SafeWALBytes int64
}

// Lost is true when the server has given up the slot's WAL or the slot itself: no change can be read from it any more.
func (s State) Lost() bool { return s.Exists && (s.WALStatus == "lost" || s.Invalidation != "") }

// settling is true while another session creates the slot.
func (s State) settling() bool { return s.Exists && s.Active && s.ConfirmedFlush == 0 && !s.Lost() }

// stateSQL goes through JSON for columns that not every server version has.
const stateSQL = `
SELECT s.active, coalesce(s.active_pid, 0), coalesce(s.plugin, ''), coalesce(s.database, ''),
	coalesce(to_jsonb(s)->>'wal_status', ''), coalesce(to_jsonb(s)->>'invalidation_reason', ''),
	coalesce(s.confirmed_flush_lsn, '0/0')::text, coalesce(s.restart_lsn, '0/0')::text,
	coalesce(greatest(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, s.restart_lsn), 0), 0)::bigint,
	coalesce((to_jsonb(s)->>'safe_wal_size')::bigint, -1)
FROM pg_replication_slots s WHERE s.slot_name = $1`

// Inspect reads the slot's state. A slot that does not exist is no error.
func Inspect(ctx context.Context, q pgkit.Querier, name string) (State, error) {
	s := State{Exists: true}
	var confirmed, restart string
	err := q.QueryRow(ctx, stateSQL, name).Scan(&s.Active, &s.ActivePID, &s.Plugin, &s.Database, &s.WALStatus, &s.Invalidation,
		&confirmed, &restart, &s.RetainedBytes, &s.SafeWALBytes)
	if errors.Is(err, pgx.ErrNoRows) {
		return State{}, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("read slot %s: %w", name, err)
	}
	if s.ConfirmedFlush, err = change.ParseLSN(confirmed); err != nil {
		return State{}, fmt.Errorf("read slot %s: %w", name, err)
	}
	if s.RestartLSN, err = change.ParseLSN(restart); err != nil {
		return State{}, fmt.Errorf("read slot %s: %w", name, err)
	}
	return s, nil
}
