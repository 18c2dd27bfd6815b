package ledger

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/pgkit"
)

// BeginBack makes lsn the position from which the way back brings changes, unless it has one already: only the first counts,
// since the application may have written after it. Nothing is copied on the way back: all tables count from there. It returns
// the position in force. conn is on the source, which is the way back's target.
func BeginBack(ctx context.Context, conn *pgx.Conn, lsn change.LSN) (change.LSN, error) {
	var text string
	err := pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "UPDATE timeferry.migration SET applied_lsn = $1::text::pg_lsn WHERE applied_lsn IS NULL", lsn.String())
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE timeferry.tables SET start_lsn = $1::text::pg_lsn, completed_at = now() WHERE start_lsn IS NULL", lsn.String()); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT coalesce((SELECT min(start_lsn) FROM timeferry.tables), applied_lsn)::text FROM timeferry.migration").Scan(&text)
	})
	if err != nil {
		return 0, fmt.Errorf("begin the way back: %w", err)
	}
	return change.ParseLSN(text)
}
