package ledger

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/failpoint"
	"timeferry/internal/pgkit"
)

// countersSQL adds how much was applied.
const countersSQL = `
ALTER TABLE timeferry.migration ADD COLUMN IF NOT EXISTS applied_transactions bigint NOT NULL DEFAULT 0, ADD COLUMN IF NOT EXISTS applied_changes bigint NOT NULL DEFAULT 0,
	ADD COLUMN IF NOT EXISTS resynced_epoch int NOT NULL DEFAULT 0, ADD COLUMN IF NOT EXISTS stream_source text NOT NULL DEFAULT '';
`

// UpgradeCounters brings a ledger that an earlier version made to what applying asks for. It looks before it alters.
func UpgradeCounters(ctx context.Context, conn *pgx.Conn) error {
	var upToDate bool
	err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'timeferry.migration'::regclass AND attname = 'resynced_epoch')`).Scan(&upToDate)
	if err != nil {
		return fmt.Errorf("look at the ledger: %w", err)
	}
	if upToDate {
		return nil
	}
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, countersSQL)
		return err
	})
}

// FlushedPosition is Applied for a position that is on the target's disk when it returns: commits of the applier are asynchronous.
func FlushedPosition(ctx context.Context, conn *pgx.Conn) (Position, error) {
	p, err := Applied(ctx, conn)
	if err != nil {
		return p, err
	}
	// A commit that waits for the disk takes everything before it there.
	if _, err := conn.Exec(ctx, "BEGIN; SET LOCAL synchronous_commit = local; UPDATE timeferry.migration SET applied_lsn = applied_lsn; COMMIT"); err != nil {
		return p, fmt.Errorf("flush the applied position: %w", err)
	}
	return p, nil
}

// StreamSource is what SetStreamSource kept last, or "": the receiver's note of which server the position is of, where there is no
// spool to keep it.
func StreamSource(ctx context.Context, q pgkit.Querier) (note string, err error) {
	if err := q.QueryRow(ctx, "SELECT stream_source FROM timeferry.migration").Scan(&note); err != nil {
		return "", fmt.Errorf("read the stream's source: %w", err)
	}
	return note, nil
}

// SetStreamSource is explained at StreamSource.
func SetStreamSource(ctx context.Context, q pgkit.Querier, note string) error {
	failpoint.At(failpoint.BeforeStreamSource)
	if _, err := q.Exec(ctx, "UPDATE timeferry.migration SET stream_source = $1", note); err != nil {
		return fmt.Errorf("keep the stream's source: %w", err)
	}
	failpoint.At(failpoint.AfterStreamSource)
	return nil
}

// Counters is how much was applied since the migration began, or since its last resync.
type Counters struct{ Transactions, Changes int64 }

// ReadCounters reads what SetAppliedSQL counts.
func ReadCounters(ctx context.Context, q pgkit.Querier) (c Counters, err error) {
	err = q.QueryRow(ctx, "SELECT applied_transactions, applied_changes FROM timeferry.migration").Scan(&c.Transactions, &c.Changes)
	if err != nil {
		return c, fmt.Errorf("read how much was applied: %w", err)
	}
	return c, nil
}
