package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/pgkit"
)

// verifySQL is the part of createSQL that belongs to comparing. Every statement may run again.
const verifySQL = `
CREATE TABLE IF NOT EXISTS timeferry.barrier (
	only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one), serial int NOT NULL, state text NOT NULL, cut pg_lsn NOT NULL,
	until timestamptz NOT NULL, reached_at timestamptz, taken int NOT NULL DEFAULT 0, taken_at timestamptz);
CREATE TABLE IF NOT EXISTS timeferry.tracked (
	schema_name text NOT NULL, table_name text NOT NULL, column_name text NOT NULL, kind text NOT NULL, PRIMARY KEY (schema_name, table_name));
CREATE TABLE IF NOT EXISTS timeferry.touched (
	schema_name text NOT NULL, table_name text NOT NULL, generation int NOT NULL, shift int NOT NULL, bucket bigint NOT NULL,
	value text NOT NULL, PRIMARY KEY (schema_name, table_name, generation, shift, bucket, value));
CREATE TABLE IF NOT EXISTS timeferry.chunks (
	schema_name text NOT NULL, table_name text NOT NULL, chunk int NOT NULL, low bigint, high bigint, bytes bigint NOT NULL,
	method text NOT NULL DEFAULT '', generation int NOT NULL DEFAULT 0, run text NOT NULL DEFAULT '', rows bigint NOT NULL DEFAULT 0,
	barrier_lsn pg_lsn, at timestamptz, PRIMARY KEY (schema_name, table_name, chunk));
CREATE TABLE IF NOT EXISTS timeferry.verification_runs (
	run text PRIMARY KEY, method text NOT NULL, barrier_lsn pg_lsn, begun_at timestamptz NOT NULL DEFAULT now(), ended_at timestamptz,
	equal boolean, tables int, rows bigint, bytes bigint, relied_tables int, unverified int);
CREATE TABLE IF NOT EXISTS timeferry.differing_rows (
	run text NOT NULL, schema_name text NOT NULL, table_name text NOT NULL, key_hash text NOT NULL, what text NOT NULL, columns text[] NOT NULL,
	key text, source_row jsonb, target_row jsonb, PRIMARY KEY (run, schema_name, table_name, key_hash));
`

// EnsureVerification makes what comparing needs in a ledger that an earlier version made. It looks before it makes.
func EnsureVerification(ctx context.Context, conn *pgx.Conn) error {
	return ensure(ctx, conn, "timeferry.differing_rows", verifySQL)
}

// States of a barrier. The comparison asks for it (holding), says where it is (at), and takes its snapshot once the apply has
// come there (reached → taken). Whoever waits too long calls it off (missed).
const (
	BarrierHolding = "holding" // the apply must not go beyond Cut, the barrier's position is not known yet
	BarrierAt      = "at"      // Cut is the barrier's position
	BarrierReached = "reached" // the apply stands there
	BarrierTaken   = "taken"
	BarrierMissed  = "missed"
)

// Barrier is a position in the stream at which both sides are to be looked at. Each has a serial number of its own. Zero:
// there was none yet.
type Barrier struct {
	Serial int
	State  string
	// Cut: no transaction whose commit LSN is not below it may be applied while the barrier is open.
	Cut change.LSN
	// Expired is true when nobody has renewed an open barrier in time: who asked for it is gone.
	Expired bool
	// Taken is the serial number of the last barrier that was taken. What is applied now is noted under it.
	Taken int
}

// Open is true while the apply must not go beyond Cut.
func (b Barrier) Open() bool {
	return b.State == BarrierHolding || b.State == BarrierAt || b.State == BarrierReached
}

// CurrentBarrier reads the barrier.
func CurrentBarrier(ctx context.Context, q pgkit.Querier) (Barrier, error) {
	var b Barrier
	var cut string
	err := q.QueryRow(ctx, "SELECT serial, state, cut::text, until < clock_timestamp(), taken FROM timeferry.barrier").Scan(&b.Serial, &b.State, &cut, &b.Expired, &b.Taken)
	if errors.Is(err, pgx.ErrNoRows) {
		return Barrier{}, nil
	}
	if err != nil {
		return Barrier{}, fmt.Errorf("read barrier: %w", err)
	}
	b.Cut, err = change.ParseLSN(cut)
	return b, err
}

// PositionSQL locks the position and reads what the applier must know before it applies anything: the position, the cut of an
// open barrier or NULL, and the serial number of the last barrier that was taken. It must run after what is to be applied was
// read from the spool: then all of that was committed on the source before a barrier that it does not see yet was asked for.
const PositionSQL = `SELECT m.applied_lsn::text, (SELECT b.cut::text FROM timeferry.barrier b WHERE b.state IN ('holding', 'at', 'reached')),
	(SELECT b.taken FROM timeferry.barrier b) FROM timeferry.migration m FOR UPDATE OF m`

// barrierLease is for how long an open barrier holds the apply when whoever asked for it is not heard of any more.
const barrierLease = 5 * time.Second

// AskBarrier opens a barrier, in the place of any other: from now on no transaction is applied that was not committed before
// cut on the source.
func AskBarrier(ctx context.Context, q pgkit.Querier, cut change.LSN) (serial int, err error) {
	err = q.QueryRow(ctx, `INSERT INTO timeferry.barrier AS b (serial, state, cut, until) VALUES (1, 'holding', $1::text::pg_lsn, clock_timestamp() + $2::interval)
		ON CONFLICT (only_one) DO UPDATE SET serial = b.serial + 1, state = 'holding', cut = excluded.cut, until = excluded.until, reached_at = NULL
		RETURNING serial`, cut.String(), barrierLease).Scan(&serial)
	if err != nil {
		return 0, fmt.Errorf("ask for a barrier: %w", err)
	}
	return serial, nil
}

// moveBarrier changes an open barrier from one state to the next. ok is false when it is not in that state (any more).
func moveBarrier(ctx context.Context, q pgkit.Querier, sql string, args ...any) (ok bool, err error) {
	tag, err := q.Exec(ctx, sql, args...)
	if err != nil {
		return false, fmt.Errorf("move barrier on: %w", err)
	}
	return tag.RowsAffected() == 1, nil
}

// RenewBarrier keeps an open barrier from expiring.
func RenewBarrier(ctx context.Context, q pgkit.Querier, serial int) (ok bool, err error) {
	return moveBarrier(ctx, q, `UPDATE timeferry.barrier SET until = clock_timestamp() + $2::interval WHERE serial = $1 AND state IN ('holding', 'at', 'reached')`,
		serial, barrierLease)
}

// PlaceBarrier says where the barrier is.
func PlaceBarrier(ctx context.Context, q pgkit.Querier, serial int, at change.LSN) (ok bool, err error) {
	return moveBarrier(ctx, q, `UPDATE timeferry.barrier SET state = 'at', cut = $2::text::pg_lsn, until = clock_timestamp() + $3::interval
		WHERE serial = $1 AND state = 'holding' AND cut <= $2::text::pg_lsn`, serial, at.String(), barrierLease)
}

// ReachBarrier is how the applier says that it has applied everything before the cut, and nothing else.
func ReachBarrier(ctx context.Context, q pgkit.Querier, serial int) (ok bool, err error) {
	return moveBarrier(ctx, q, `UPDATE timeferry.barrier SET state = 'reached', reached_at = clock_timestamp() WHERE serial = $1 AND state = 'at'`, serial)
}

// TakeBarrier ends the barrier after the snapshot of the target was taken: the apply goes on. When ok is false, the apply may
// have gone on before, and the snapshot is of no use.
func TakeBarrier(ctx context.Context, q pgkit.Querier, serial int) (ok bool, err error) {
	return moveBarrier(ctx, q, `UPDATE timeferry.barrier SET state = 'taken', taken = serial, taken_at = now() WHERE serial = $1 AND state = 'reached'`, serial)
}

// MissBarrier calls an open barrier off. expired: only when it was not renewed in time.
func MissBarrier(ctx context.Context, q pgkit.Querier, serial int, expired bool) (ok bool, err error) {
	return moveBarrier(ctx, q, `UPDATE timeferry.barrier SET state = 'missed' WHERE serial = $1 AND state IN ('holding', 'at', 'reached')
		AND (NOT $2 OR until < clock_timestamp())`, serial, expired)
}
