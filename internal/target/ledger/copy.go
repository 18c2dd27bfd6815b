package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/contract"
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
	Table  ident.Table // on the target
	Number int
	Source ident.Table // the relation to read: the table itself or one leaf
	First  *int64      // first heap block; nil: from the start
	End    *int64      // the block after the last; nil: to the end
	// KeyColumn, unless empty, is what the part is cut by instead of blocks: rows from FirstKey on and below EndKey, in the
	// column's text form; nil: no such bound.
	KeyColumn        string
	FirstKey, EndKey *string
	Bytes            int64
	EstimatedRows    int64 // its share of the table's by bytes; zero when that is not known
	TextCopy         bool
	Columns          []string
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
			queueTable(batch, t)
		}
		batch.Queue("ANALYZE timeferry.tables, timeferry.parts") // the first claims come before any autovacuum
		return tx.SendBatch(ctx, batch).Close()
	})
}

func queueTable(batch *pgx.Batch, t Table) {
	batch.Queue(`INSERT INTO timeferry.tables (schema_name, table_name, bytes, estimated_rows, hypertable, text_copy, columns)
		VALUES ($1, $2, $3, $4, $5, $6, coalesce($7::text[], '{}')) ON CONFLICT DO NOTHING`,
		t.Table.Schema, t.Table.Name, t.Bytes, t.EstimatedRows, t.Hypertable, t.TextCopy, t.Columns)
	for _, p := range t.Parts {
		queuePart(batch, t.Table, p)
	}
}

func queuePart(batch *pgx.Batch, t ident.Table, p Part) {
	batch.Queue(`INSERT INTO timeferry.parts (schema_name, table_name, part, source_schema, source_table, first_block, end_block, bytes, key_column, first_key, end_key)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING`,
		t.Schema, t.Name, p.Number, p.Source.Schema, p.Source.Name, p.First, p.End, p.Bytes, p.KeyColumn, p.FirstKey, p.EndKey)
}

// BeginEpoch starts a new epoch with its snapshot: tables that are complete stay, all others are emptied by empty (called
// at most once, in the same transaction, with all of them) and will be copied under the new snapshot; their start LSN becomes
// the consistent point. It waits for parts that are being copied right now. The result is the epoch's number, from 1. Called
// again with the same point and snapshot while that epoch is the current one, it changes nothing.
func BeginEpoch(ctx context.Context, conn *pgx.Conn, consistentPoint change.LSN, snapshot string, empty func(pgx.Tx, []ident.Table) error) (epoch int, err error) {
	return BeginHeldEpoch(ctx, conn, consistentPoint, Held{Snapshot: snapshot}, empty)
}

func beginEpoch(ctx context.Context, tx pgx.Tx, consistentPoint change.LSN, snapshot string, empty func(pgx.Tx, []ident.Table) error) (epoch int, err error) {
	// EXCLUSIVE conflicts with the ROW SHARE of NextParts' FOR UPDATE: it waits for running parts, and no new one starts.
	if _, err := tx.Exec(ctx, "LOCK TABLE timeferry.parts, timeferry.tables, timeferry.epochs IN EXCLUSIVE MODE"); err != nil {
		return 0, err
	}
	var begun bool
	if epoch, begun, err = recordEpoch(ctx, tx, consistentPoint, snapshot); err != nil || begun {
		return epoch, err
	}
	// A worker that died between a table's last part and CompleteParts must not cost the table.
	if _, err := CompleteTables(ctx, tx); err != nil {
		return 0, err
	}
	rows, err := tx.Query(ctx, "SELECT schema_name, table_name FROM timeferry.tables WHERE completed_at IS NULL ORDER BY 1, 2")
	if err != nil {
		return 0, err
	}
	unfinished, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ident.Table])
	if err != nil {
		return 0, err
	}
	if len(unfinished) > 0 {
		if err := empty(tx, unfinished); err != nil {
			return 0, fmt.Errorf("empty unfinished tables: %w", err)
		}
	}
	_, err = tx.Exec(ctx, `UPDATE timeferry.parts p SET done_at = NULL, epoch = NULL, copied_rows = NULL, copied_bytes = NULL, seconds = NULL, worker = NULL
		FROM timeferry.tables t WHERE (t.schema_name, t.table_name) = (p.schema_name, p.table_name) AND t.completed_at IS NULL AND p.done_at IS NOT NULL`)
	if err != nil {
		return 0, err
	}
	_, err = tx.Exec(ctx, "UPDATE timeferry.tables SET epoch = $1, start_lsn = $2::text::pg_lsn WHERE completed_at IS NULL", epoch, consistentPoint.String())
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

// The claim looks at the parts alone, in the order of their index: joined to their tables, all open parts might be sorted for
// each claim. The limits stand in the text, since a plan for any limit would be one for many rows.
const (
	openSQL = `WITH claimed AS MATERIALIZED (SELECT p.* FROM timeferry.parts p
		WHERE p.done_at IS NULL AND (SELECT t.epoch FROM timeferry.tables t WHERE (t.schema_name, t.table_name) = (p.schema_name, p.table_name)
			AND NOT EXISTS (SELECT FROM timeferry.set_aside a WHERE (a.schema_name, a.table_name, a.epoch) = (t.schema_name, t.table_name, t.epoch))) IS NOT NULL`
	smallSQL = ` AND p.bytes <= $1 AND (p.schema_name, p.table_name, p.part) <> ($2, $3, $4)
		AND NOT (SELECT t.hypertable FROM timeferry.tables t WHERE (t.schema_name, t.table_name) = (p.schema_name, p.table_name))`
	claimSQL = ` ORDER BY p.bytes DESC, p.schema_name, p.table_name, p.part LIMIT %d FOR UPDATE SKIP LOCKED)
	SELECT p.schema_name, p.table_name, p.part, p.source_schema, p.source_table, p.first_block, p.end_block, p.key_column, p.first_key, p.end_key, p.bytes,
		CASE WHEN t.estimated_rows > 0 AND t.bytes > 0 THEN (t.estimated_rows::float8 * p.bytes / t.bytes)::bigint ELSE 0 END,
		t.text_copy, t.columns, t.hypertable, t.epoch, e.snapshot,
		(SELECT count(*) FROM (SELECT FROM timeferry.parts o WHERE (o.schema_name, o.table_name) = (p.schema_name, p.table_name) LIMIT 2) two) = 1
	FROM claimed p JOIN timeferry.tables t USING (schema_name, table_name) JOIN timeferry.epochs e ON e.epoch = t.epoch
	ORDER BY p.bytes DESC, p.schema_name, p.table_name, p.part`
)

// NextParts claims the largest part that nobody is copying, for the life of tx; none when none is free. If it has at most
// smallBytes and its table is no hypertable, more of that kind are claimed with it, the largest first, up to limit parts
// in all. Their epoch and snapshot are the current ones.
func NextParts(ctx context.Context, tx pgx.Tx, smallBytes int64, limit int) ([]Part, error) {
	parts, err := claim(ctx, tx, openSQL+fmt.Sprintf(claimSQL, 1))
	if err != nil || len(parts) == 0 || parts[0].Bytes > smallBytes || parts[0].Hypertable || limit <= 1 {
		return parts, err
	}
	// Two transactions that make chunks of two hypertables each could wait for one another.
	more, err := claim(ctx, tx, openSQL+smallSQL+fmt.Sprintf(claimSQL, limit-1), smallBytes, parts[0].Table.Schema, parts[0].Table.Name, parts[0].Number)
	return append(parts, more...), err
}

func claim(ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]Part, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Part, error) {
		var p Part
		err := row.Scan(&p.Table.Schema, &p.Table.Name, &p.Number, &p.Source.Schema, &p.Source.Name, &p.First, &p.End, &p.KeyColumn, &p.FirstKey, &p.EndKey,
			&p.Bytes, &p.EstimatedRows, &p.TextCopy, &p.Columns, &p.Hypertable, &p.Epoch, &p.Snapshot, &p.Alone)
		return p, err
	})
}

// Copied is a part with what came of it.
type Copied struct {
	Part
	CopiedRows, CopiedBytes int64
	Took                    time.Duration
	Worker                  string // that copied it, for people
}

// MarkParts notes, in the transaction that copied them, that parts are done.
func MarkParts(ctx context.Context, tx pgx.Tx, parts []Copied) error {
	batch := &pgx.Batch{}
	for _, p := range parts {
		batch.Queue(`UPDATE timeferry.parts SET done_at = clock_timestamp(), epoch = $4, copied_rows = $5, copied_bytes = $6, seconds = $7, worker = $8
			WHERE (schema_name, table_name, part) = ($1, $2, $3)`, p.Table.Schema, p.Table.Name, p.Number, p.Epoch, p.CopiedRows, p.CopiedBytes, p.Took.Seconds(), p.Worker)
	}
	return tx.SendBatch(ctx, batch).Close()
}

// CompleteParts notes which of the parts' tables are complete: all their parts are done. It returns those that this caller
// was the first to find so. Run it after the parts' transaction: parts of the same table may end at the same moment.
func CompleteParts(ctx context.Context, q pgkit.Querier, parts []Copied) ([]ident.Table, error) {
	var schemas, names []string
	for _, p := range parts {
		schemas, names = append(schemas, p.Table.Schema), append(names, p.Table.Name)
	}
	rows, err := q.Query(ctx, `UPDATE timeferry.tables t SET completed_at = clock_timestamp() FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) u (s, n)) done
		WHERE (t.schema_name, t.table_name) = (done.s, done.n) AND t.completed_at IS NULL
		AND NOT EXISTS (SELECT 1 FROM timeferry.parts p WHERE (p.schema_name, p.table_name) = (t.schema_name, t.table_name) AND p.done_at IS NULL)
		RETURNING t.schema_name, t.table_name`, schemas, names)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[ident.Table])
}

// CompleteTables is CompleteParts for every table: it finds those that a worker left between the two steps, and tables
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
	Epoch              int // the newest
}

// Progress sums up the copy.
func Progress(ctx context.Context, q pgkit.Querier) (CopyProgress, error) {
	var p CopyProgress
	err := q.QueryRow(ctx, `SELECT (SELECT count(*) FROM timeferry.tables), (SELECT count(*) FROM timeferry.tables WHERE completed_at IS NOT NULL),
		count(*), count(done_at), coalesce(sum(bytes), 0)::bigint, coalesce(sum(bytes) FILTER (WHERE done_at IS NOT NULL), 0)::bigint,
		coalesce(sum(copied_bytes), 0)::bigint, coalesce(sum(copied_rows), 0)::bigint,
		(SELECT coalesce(max(epoch), 0) FROM timeferry.epochs) FROM timeferry.parts`).
		Scan(&p.Tables, &p.TablesDone, &p.Parts, &p.PartsDone, &p.Bytes, &p.BytesDone, &p.CopiedBytes, &p.CopiedRows, &p.Epoch)
	return p, err
}

// copiedSQL: parts of one table may have been copied side by side, and in several epochs only the last copy of a part counts.
const copiedSQL = `SELECT schema_name, table_name, parts, rows, bytes, began, ended, seconds, count(*) OVER (), sum(rows) OVER (), sum(bytes) OVER () FROM (
	SELECT schema_name, table_name, count(*) AS parts, coalesce(sum(copied_rows), 0)::bigint AS rows, coalesce(sum(copied_bytes), 0)::bigint AS bytes,
		min(done_at - seconds * interval '1 second') AS began, max(done_at) AS ended, coalesce(sum(seconds), 0) AS seconds
	FROM timeferry.parts WHERE done_at IS NOT NULL GROUP BY 1, 2) t ORDER BY bytes DESC, 1, 2 LIMIT $1`

// CopiedTables tells how tables were copied, those with the most bytes first; the rest is summed up after the first most.
func CopiedTables(ctx context.Context, q pgkit.Querier, most int) (contract.CopiedTables, error) {
	out := contract.CopiedTables{Largest: []contract.TableCopy{}}
	rows, err := q.Query(ctx, copiedSQL, most)
	if err != nil {
		return out, err
	}
	var t ident.Table
	var c contract.TableCopy
	var tables int
	var allRows, allBytes int64
	_, err = pgx.ForEachRow(rows, []any{&t.Schema, &t.Name, &c.Parts, &c.Rows, &c.Bytes, &c.Began, &c.Ended, &c.StreamSeconds, &tables, &allRows, &allBytes}, func() error {
		c.Table, c.Began, c.Ended = t.String(), c.Began.UTC(), c.Ended.UTC()
		out.Largest = append(out.Largest, c)
		return nil
	})
	out.Others, out.OthersRows, out.OthersBytes = tables-len(out.Largest), allRows, allBytes
	for _, c := range out.Largest {
		out.OthersRows, out.OthersBytes = out.OthersRows-c.Rows, out.OthersBytes-c.Bytes
	}
	return out, err
}

// StartLSNs gives, per table in scope, the position from which changes belong to it: a transaction counts if its commit
// LSN is not below. Tables that join have none yet: as long as they are not complete, a change of theirs must stop the stream.
func StartLSNs(ctx context.Context, q pgkit.Querier) (map[ident.Table]change.LSN, error) {
	rows, err := q.Query(ctx, "SELECT schema_name, table_name, start_lsn::text FROM timeferry.tables t WHERE start_lsn IS NOT NULL AND "+settledSQL)
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

// settledSQL leaves out tables t that join; an earlier version's ledger has none.
const settledSQL = "to_jsonb(t) ->> 'joining' IS NULL"

// TablesInScope lists the planned tables in name order, without those that join.
func TablesInScope(ctx context.Context, q pgkit.Querier) ([]Table, error) {
	rows, err := q.Query(ctx, "SELECT schema_name, table_name, bytes, estimated_rows, hypertable, text_copy, columns FROM timeferry.tables t WHERE "+settledSQL+" ORDER BY 1, 2")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Table, error) {
		var t Table
		err := row.Scan(&t.Table.Schema, &t.Table.Name, &t.Bytes, &t.EstimatedRows, &t.Hypertable, &t.TextCopy, &t.Columns)
		return t, err
	})
}

// PlannedTables are those in scope and those that join.
func PlannedTables(ctx context.Context, q pgkit.Querier) (map[ident.Table]bool, error) {
	rows, err := q.Query(ctx, "SELECT schema_name, table_name FROM timeferry.tables")
	if err != nil {
		return nil, err
	}
	planned := map[ident.Table]bool{}
	var t ident.Table
	_, err = pgx.ForEachRow(rows, []any{&t.Schema, &t.Name}, func() error {
		planned[t] = true
		return nil
	})
	return planned, err
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
