package ledger

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// ResyncedEpoch is the last epoch that a resync has made void, 0 when there was none. A slot of a later one must be there; before
// it, the slot may be made anew.
func ResyncedEpoch(ctx context.Context, q pgkit.Querier) (epoch int, err error) {
	if err := q.QueryRow(ctx, "SELECT resynced_epoch FROM timeferry.migration").Scan(&epoch); err != nil {
		return 0, fmt.Errorf("read the last resync: %w", err)
	}
	return epoch, nil
}

// StartOver makes everything of the epochs up to after void: the rows that came with them, which empty removes (called at most once,
// in the same transaction, with all tables of the plan), their marks, and the position of the stream. The tables of the
// plan stay; their parts are those of planned, other tables among which are left out. It returns false, and changes nothing,
// when a later epoch has begun: somebody was here before. Called again before that, it does the same again.
func StartOver(ctx context.Context, conn *pgx.Conn, after int, planned []Table, empty func(pgx.Tx, []ident.Table) error) (done bool, err error) {
	err = pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		// As in beginEpoch: it waits for parts that are being copied, and no new one starts.
		if _, err := tx.Exec(ctx, "LOCK TABLE timeferry.parts, timeferry.tables, timeferry.epochs IN EXCLUSIVE MODE"); err != nil {
			return err
		}
		newest, err := CurrentEpoch(ctx, tx)
		if err != nil || newest > after {
			return err
		}
		done = true
		tables, err := forgetCopy(ctx, tx)
		if err != nil {
			return err
		}
		if err := empty(tx, tables); err != nil {
			return fmt.Errorf("empty the tables: %w", err)
		}
		if err := planAgain(ctx, tx, tables, planned); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, verifySQL+lanesSQL+forgetVerdictsSQL+"DELETE FROM timeferry.lanes"); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, forgetStreamSQL, after)
		return err
	})
	return done && err == nil, err
}

// forgetCopy makes every table of the plan one that nothing was copied of.
func forgetCopy(ctx context.Context, tx pgx.Tx) ([]ident.Table, error) {
	rows, err := tx.Query(ctx, `UPDATE timeferry.tables SET epoch = NULL, start_lsn = NULL, completed_at = NULL, analyzed_at = NULL RETURNING schema_name, table_name`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[ident.Table])
}

// planAgain replaces the parts: partitions have come and gone, and tables have grown, since the plan was made.
func planAgain(ctx context.Context, tx pgx.Tx, tables []ident.Table, planned []Table) error {
	known := map[ident.Table]bool{}
	for _, t := range tables {
		known[t] = true
	}
	batch := &pgx.Batch{}
	batch.Queue("DELETE FROM timeferry.parts")
	for _, t := range planned {
		if !known[t.Table] {
			continue
		}
		queueReplanned(batch, t)
	}
	batch.Queue("ANALYZE timeferry.tables, timeferry.parts")
	return tx.SendBatch(ctx, batch).Close()
}

// forgetVerdictsSQL: what was found equal was found so of other rows.
const forgetVerdictsSQL = `DELETE FROM timeferry.chunks; DELETE FROM timeferry.touched; DELETE FROM timeferry.tracked;
	UPDATE timeferry.barrier SET state = 'missed' WHERE state IN ('holding', 'at', 'reached');`

// forgetStreamSQL: materialized views are filled again once the stream has caught up.
const forgetStreamSQL = `
WITH voided AS (UPDATE timeferry.migration SET applied_lsn = NULL, applied_commit_time = NULL, applied_transactions = 0, applied_changes = 0, resynced_epoch = $1,
		stream_source = ''),
	unheld AS (DELETE FROM timeferry.snapshots)
DELETE FROM timeferry.restored r USING timeferry.entries e WHERE e.id = r.entry AND e.kind = 'MATERIALIZED VIEW DATA'`
