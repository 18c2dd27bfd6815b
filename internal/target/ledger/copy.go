package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// pgxTime is a time that may be NULL.
type pgxTime = *time.Time

// Table is a table of the plan.
type Table struct {
	Table         ident.Table
	Bytes         int64
	EstimatedRows int64
	Hypertable    bool
	TextCopy      bool
	Columns       []string // to copy, by name, generated ones left out
	Parts         []Part
}

// Part is a stretch of one relation on the source that is copied in one go.
type Part struct {
	Table    ident.Table // on the target
	Number   int
	Source   ident.Table // the relation to read: the table itself or one leaf
	First    *int64      // first heap block; nil: from the start
	End      *int64      // the block after the last; nil: to the end
	Bytes    int64
	TextCopy bool
	Columns  []string
	// Alone is true when the table has only this part.
	Alone bool
	// Hypertable is true when the target is one.
	Hypertable bool
	// Epoch is the epoch that the table is being copied in, and Snapshot its snapshot.
	Epoch    int
	Snapshot string
}

// PlanTables records the tables in scope. A table that is there already stays as it is.
func PlanTables(ctx context.Context, conn *pgx.Conn, tables []Table) error {
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		for _, t := range tables {
			batch.Queue(`INSERT INTO timeferry.tables (schema_name, table_name, bytes, estimated_rows, hypertable, text_copy, columns)
				VALUES ($1, $2, $3, $4, $5, $6, coalesce($7::text[], '{}')) ON CONFLICT DO NOTHING`,
				t.Table.Schema, t.Table.Name, t.Bytes, t.EstimatedRows, t.Hypertable, t.TextCopy, t.Columns)
			for _, p := range t.Parts {
				batch.Queue(`INSERT INTO timeferry.parts (schema_name, table_name, part, source_schema, source_table, first_block, end_block, bytes)
					VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
					t.Table.Schema, t.Table.Name, p.Number, p.Source.Schema, p.Source.Name, p.First, p.End, p.Bytes)
			}
		}
		return tx.SendBatch(ctx, batch).Close()
	})
}

// BeginEpoch starts a new epoch with its snapshot: tables that are complete stay, all others are emptied by empty (called
// at most once, in the same transaction, with all of them) and will be copied under the new snapshot; their start LSN becomes
// the consistent point. It waits for parts that are being copied right now. The result is the epoch's number, from 1. Called
// again with the same point and snapshot while that epoch is the current one, it changes nothing.
func BeginEpoch(ctx context.Context, conn *pgx.Conn, consistentPoint change.LSN, snapshot string, empty func(pgx.Tx, []ident.Table) error) (epoch int, err error) {
	err = pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		// EXCLUSIVE conflicts with the ROW SHARE of NextPart's FOR UPDATE: it waits for running parts, and no new one starts.
		if _, err := tx.Exec(ctx, "LOCK TABLE timeferry.parts, timeferry.tables, timeferry.epochs IN EXCLUSIVE MODE"); err != nil {
			return err
		}
		var begun bool
		if epoch, begun, err = recordEpoch(ctx, tx, consistentPoint, snapshot); err != nil || begun {
			return err
		}
		// A worker that died between a table's last part and CompleteTable must not cost the table.
		if _, err := CompleteTables(ctx, tx); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, "SELECT schema_name, table_name FROM timeferry.tables WHERE completed_at IS NULL ORDER BY 1, 2")
		if err != nil {
			return err
		}
		unfinished, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ident.Table])
		if err != nil {
			return err
		}
		if len(unfinished) > 0 {
			if err := empty(tx, unfinished); err != nil {
				return fmt.Errorf("empty unfinished tables: %w", err)
			}
		}
		_, err = tx.Exec(ctx, `UPDATE timeferry.parts p SET done_at = NULL, epoch = NULL, copied_rows = NULL, copied_bytes = NULL, seconds = NULL
			FROM timeferry.tables t WHERE (t.schema_name, t.table_name) = (p.schema_name, p.table_name) AND t.completed_at IS NULL AND p.done_at IS NOT NULL`)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "UPDATE timeferry.tables SET epoch = $1, start_lsn = $2::text::pg_lsn WHERE completed_at IS NULL", epoch, consistentPoint.String())
		return err
	})
	return epoch, err
}

// recordEpoch returns begun true when the newest epoch is this one already.
func recordEpoch(ctx context.Context, tx pgx.Tx, consistentPoint change.LSN, snapshot string) (epoch int, begun bool, err error) {
	err = tx.QueryRow(ctx, `SELECT epoch FROM (SELECT * FROM timeferry.epochs ORDER BY epoch DESC LIMIT 1) newest
		WHERE consistent_point = $1::text::pg_lsn AND snapshot = $2`, consistentPoint.String(), snapshot).Scan(&epoch)
	if err == nil {
		return epoch, true, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return 0, false, fmt.Errorf("read epoch: %w", err)
	}
	err = tx.QueryRow(ctx, `INSERT INTO timeferry.epochs (epoch, consistent_point, snapshot)
		SELECT coalesce(max(epoch), 0) + 1, $1::text::pg_lsn, $2 FROM timeferry.epochs RETURNING epoch`, consistentPoint.String(), snapshot).Scan(&epoch)
	if err != nil {
		return 0, false, fmt.Errorf("record epoch: %w", err)
	}
	return epoch, false, nil
}

// CurrentSnapshot is the snapshot of the latest epoch, "" before the first.
func CurrentSnapshot(ctx context.Context, q pgkit.Querier) (string, error) {
	var snapshot string
	err := q.QueryRow(ctx, "SELECT snapshot FROM timeferry.epochs ORDER BY epoch DESC LIMIT 1").Scan(&snapshot)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return snapshot, err
}

// NextPart claims the largest part that nobody is copying, for the life of tx. ok is false when none is free. Its epoch
// and snapshot are the current ones.
func NextPart(ctx context.Context, tx pgx.Tx) (p Part, ok bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT p.schema_name, p.table_name, p.part, p.source_schema, p.source_table, p.first_block, p.end_block, p.bytes,
			t.text_copy, t.columns, t.hypertable, t.epoch, e.snapshot,
			NOT EXISTS (SELECT 1 FROM timeferry.parts o WHERE (o.schema_name, o.table_name) = (p.schema_name, p.table_name) AND o.part <> p.part)
		FROM timeferry.parts p JOIN timeferry.tables t USING (schema_name, table_name) JOIN timeferry.epochs e ON e.epoch = t.epoch
		WHERE p.done_at IS NULL ORDER BY p.bytes DESC, p.schema_name, p.table_name, p.part LIMIT 1 FOR UPDATE OF p SKIP LOCKED`).
		Scan(&p.Table.Schema, &p.Table.Name, &p.Number, &p.Source.Schema, &p.Source.Name, &p.First, &p.End, &p.Bytes,
			&p.TextCopy, &p.Columns, &p.Hypertable, &p.Epoch, &p.Snapshot, &p.Alone)
	if errors.Is(err, pgx.ErrNoRows) {
		return Part{}, false, nil
	}
	return p, err == nil, err
}

// MarkPart notes, in the transaction that copied it, that a part is done.
func MarkPart(ctx context.Context, tx pgx.Tx, p Part, rows, bytes int64, took time.Duration) error {
	_, err := tx.Exec(ctx, `UPDATE timeferry.parts SET done_at = clock_timestamp(), epoch = $4, copied_rows = $5, copied_bytes = $6, seconds = $7
		WHERE (schema_name, table_name, part) = ($1, $2, $3)`, p.Table.Schema, p.Table.Name, p.Number, p.Epoch, rows, bytes, took.Seconds())
	return err
}

// CompleteTable notes that a table is complete if all its parts are done. It returns true for the one caller that found it
// so first. Run it after the part's transaction: parts of the same table may end at the same moment.
func CompleteTable(ctx context.Context, q pgkit.Querier, t ident.Table) (bool, error) {
	tag, err := q.Exec(ctx, `UPDATE timeferry.tables t SET completed_at = clock_timestamp() WHERE (schema_name, table_name) = ($1, $2) AND completed_at IS NULL
		AND NOT EXISTS (SELECT 1 FROM timeferry.parts p WHERE (p.schema_name, p.table_name) = (t.schema_name, t.table_name) AND p.done_at IS NULL)`, t.Schema, t.Name)
	return tag.RowsAffected() == 1, err
}

// CompleteTables is CompleteTable for every table: it finds those that a worker left between the two steps, and tables
// without parts (partition roots without leaves). It returns how many it found.
func CompleteTables(ctx context.Context, q pgkit.Querier) (int, error) {
	tag, err := q.Exec(ctx, `UPDATE timeferry.tables t SET completed_at = clock_timestamp() WHERE completed_at IS NULL AND epoch IS NOT NULL
		AND NOT EXISTS (SELECT 1 FROM timeferry.parts p WHERE (p.schema_name, p.table_name) = (t.schema_name, t.table_name) AND p.done_at IS NULL)`)
	return int(tag.RowsAffected()), err
}

// MarkHypertables notes tables that became hypertables after the plan was made, by hand at the gate for them. It returns
// how many there were.
func MarkHypertables(ctx context.Context, q pgkit.Querier) (int, error) {
	var installed bool
	if err := q.QueryRow(ctx, "SELECT to_regclass('timescaledb_information.hypertables') IS NOT NULL").Scan(&installed); err != nil || !installed {
		return 0, err
	}
	tag, err := q.Exec(ctx, `UPDATE timeferry.tables t SET hypertable = true FROM timescaledb_information.hypertables h
		WHERE NOT t.hypertable AND (h.hypertable_schema, h.hypertable_name) = (t.schema_name::name, t.table_name::name)`)
	return int(tag.RowsAffected()), err
}

// Unfinished counts what is left to copy: parts that are not done, those being copied right now among them, and tables
// without such parts that are not marked complete yet.
func Unfinished(ctx context.Context, q pgkit.Querier) (left int, err error) {
	err = q.QueryRow(ctx, `SELECT (SELECT count(*) FROM timeferry.parts WHERE done_at IS NULL)
		+ (SELECT count(*) FROM timeferry.tables t WHERE completed_at IS NULL AND NOT EXISTS (SELECT 1 FROM timeferry.parts p
			WHERE (p.schema_name, p.table_name) = (t.schema_name, t.table_name) AND p.done_at IS NULL))`).Scan(&left)
	return left, err
}

// CopyProgress is how far the copy is.
type CopyProgress struct {
	Tables, TablesDone int
	Parts, PartsDone   int
	Bytes, BytesDone   int64 // the source's size of the parts
	CopiedBytes        int64 // through the wire
	CopiedRows         int64
}

// Progress sums up the copy.
func Progress(ctx context.Context, q pgkit.Querier) (CopyProgress, error) {
	var p CopyProgress
	err := q.QueryRow(ctx, `SELECT (SELECT count(*) FROM timeferry.tables), (SELECT count(*) FROM timeferry.tables WHERE completed_at IS NOT NULL),
		count(*), count(done_at), coalesce(sum(bytes), 0)::bigint, coalesce(sum(bytes) FILTER (WHERE done_at IS NOT NULL), 0)::bigint,
		coalesce(sum(copied_bytes), 0)::bigint, coalesce(sum(copied_rows), 0)::bigint FROM timeferry.parts`).
		Scan(&p.Tables, &p.TablesDone, &p.Parts, &p.PartsDone, &p.Bytes, &p.BytesDone, &p.CopiedBytes, &p.CopiedRows)
	return p, err
}

// StartLSNs gives, per table in scope, the position from which changes belong to it: a transaction counts if its commit
// LSN is not below.
func StartLSNs(ctx context.Context, q pgkit.Querier) (map[ident.Table]change.LSN, error) {
	rows, err := q.Query(ctx, "SELECT schema_name, table_name, start_lsn::text FROM timeferry.tables WHERE start_lsn IS NOT NULL")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	starts := map[ident.Table]change.LSN{}
	for rows.Next() {
		var t ident.Table
		var text string
		if err := rows.Scan(&t.Schema, &t.Name, &text); err != nil {
			return nil, err
		}
		if starts[t], err = change.ParseLSN(text); err != nil {
			return nil, err
		}
	}
	return starts, rows.Err()
}

// TablesInScope lists the planned tables in name order.
func TablesInScope(ctx context.Context, q pgkit.Querier) ([]Table, error) {
	rows, err := q.Query(ctx, "SELECT schema_name, table_name, bytes, estimated_rows, hypertable, text_copy, columns FROM timeferry.tables ORDER BY 1, 2")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Table, error) {
		var t Table
		err := row.Scan(&t.Table.Schema, &t.Table.Name, &t.Bytes, &t.EstimatedRows, &t.Hypertable, &t.TextCopy, &t.Columns)
		return t, err
	})
}

// Verification is the comparison of one table.
type Verification struct {
	Run                        string
	Table                      ident.Table
	Method                     string // checksum | count
	SourceRows, TargetRows     int64
	SourceDigest, TargetDigest string
	Equal                      bool
}

// RecordVerification keeps the result of one table's comparison; a second one of the same run replaces it.
func RecordVerification(ctx context.Context, q pgkit.Querier, v Verification) error {
	_, err := q.Exec(ctx, `INSERT INTO timeferry.verifications (run, schema_name, table_name, method, source_rows, target_rows, source_digest, target_digest, equal)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (run, schema_name, table_name) DO UPDATE SET method = excluded.method, source_rows = excluded.source_rows, target_rows = excluded.target_rows,
			source_digest = excluded.source_digest, target_digest = excluded.target_digest, equal = excluded.equal, at = now()`,
		v.Run, v.Table.Schema, v.Table.Name, v.Method, v.SourceRows, v.TargetRows, v.SourceDigest, v.TargetDigest, v.Equal)
	return err
}
