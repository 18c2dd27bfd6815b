package cutover

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
)

// Marker writes a message with content into the source's WAL, in a transaction of its own, and returns a position: once
// the apply stands there or beyond, all that was committed before the call is applied.
//
// The position is the end of the message's record. Transactions committed before the call have their commit records
// before it. The marker's own commit record comes after it, so that the apply reaches the position with the marker's
// transaction, whether it counts by a commit's beginning or end, even if nothing is written any more; the end of the WAL
// after the commit might never be reached, because records that belong to no transaction may lie in between. Called
// again it writes another marker with a later position.
func Marker(ctx context.Context, source *pgx.Conn, content string) (change.LSN, error) {
	var text string
	err := pgx.BeginTxFunc(ctx, source, pgx.TxOptions{AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		// Only what is flushed is sent to the slot. A commit that waits for its flush flushes all before it too.
		if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = on"); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT pg_logical_emit_message(true, $1, $2)::text", contract.MarkerPrefix, content).Scan(&text)
	})
	if err != nil {
		return 0, &fault.Error{Class: fault.Classify(err), Op: "write the marker into the source's WAL", Err: err}
	}
	lsn, err := change.ParseLSN(text)
	if err != nil {
		return 0, fmt.Errorf("read the marker's position: %w", err)
	}
	return lsn, nil
}
