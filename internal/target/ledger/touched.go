package ledger

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/compare"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// Tracked is the column by whose values it is noted what of a table was touched; none: only that the table was.
type Tracked struct {
	Column string
	Kind   compare.Kind
}

// TrackedColumns are those of all tables that were ever to be compared.
func TrackedColumns(ctx context.Context, q pgkit.Querier) (map[ident.Table]Tracked, error) {
	rows, err := q.Query(ctx, "SELECT schema_name, table_name, column_name, kind FROM timeferry.tracked")
	if err != nil {
		return nil, fmt.Errorf("read tracked columns: %w", err)
	}
	all := map[ident.Table]Tracked{}
	var name ident.Table
	var t Tracked
	_, err = pgx.ForEachRow(rows, []any{&name.Schema, &name.Name, &t.Column, &t.Kind}, func() error {
		all[name] = t
		return nil
	})
	return all, err
}

// TouchSQL notes touched buckets of tables, in the transaction that touches them: $1 schemas, $2 tables, $3 shifts, $4 numbers,
// $5 values, $6 the barrier that was taken last.
const TouchSQL = `INSERT INTO timeferry.touched (schema_name, table_name, shift, bucket, value, generation)
	SELECT s, n, shift, bucket, value, $6::int FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::text[]) u (s, n, shift, bucket, value)
	ON CONFLICT DO NOTHING`

// Chunk is a stretch of a table that is compared by itself.
type Chunk struct {
	Table  ident.Table
	Number int
	Range  compare.Range // of the tracked column; without one, everything
	Bytes  int64         // about, on the source
	Method string        // by which it was found equal last
	// Generation is the serial number of the barrier at which it was found equal last, 0: never, or it was not equal since.
	Generation int
	Unequal    bool // it differed when it was compared last
	Run        string
	Rows       int64
	Barrier    change.LSN
}

// PlanChunks records how a table is cut and tracked. One that is planned already stays as it is while its column stays.
func PlanChunks(ctx context.Context, conn *pgx.Conn, table ident.Table, tracked Tracked, chunks []Chunk) error {
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `INSERT INTO timeferry.tracked AS t (schema_name, table_name, column_name, kind) VALUES ($1, $2, $3, $4)
			ON CONFLICT (schema_name, table_name) DO UPDATE SET column_name = excluded.column_name, kind = excluded.kind
			WHERE (t.column_name, t.kind) IS DISTINCT FROM (excluded.column_name, excluded.kind)`, table.Schema, table.Name, tracked.Column, string(tracked.Kind))
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		batch := &pgx.Batch{}
		batch.Queue("DELETE FROM timeferry.chunks WHERE (schema_name, table_name) = ($1, $2)", table.Schema, table.Name)
		for _, c := range chunks {
			batch.Queue("INSERT INTO timeferry.chunks (schema_name, table_name, chunk, low, high, bytes) VALUES ($1, $2, $3, $4, $5, $6)",
				table.Schema, table.Name, c.Number, bound(c.Range.Low, c.Range.NoLow), bound(c.Range.High, c.Range.NoHigh), c.Bytes)
		}
		return tx.SendBatch(ctx, batch).Close()
	})
}

func bound(at int64, none bool) *int64 {
	if none {
		return nil
	}
	return &at
}

// Chunks lists all chunks by their tables.
func Chunks(ctx context.Context, q pgkit.Querier) (map[ident.Table][]Chunk, error) {
	rows, err := q.Query(ctx, `SELECT schema_name, table_name, chunk, low, high, bytes, method, generation, generation = 0 AND at IS NOT NULL, run, rows, coalesce(barrier_lsn, '0/0')::text
		FROM timeferry.chunks ORDER BY 1, 2, 3`)
	if err != nil {
		return nil, fmt.Errorf("read chunks: %w", err)
	}
	all := map[ident.Table][]Chunk{}
	var c Chunk
	var low, high *int64
	var barrier string
	_, err = pgx.ForEachRow(rows, []any{&c.Table.Schema, &c.Table.Name, &c.Number, &low, &high, &c.Bytes, &c.Method, &c.Generation, &c.Unequal, &c.Run, &c.Rows, &barrier}, func() error {
		c.Range = compare.Everything()
		if low != nil {
			c.Range.Low, c.Range.NoLow = *low, false
		}
		if high != nil {
			c.Range.High, c.Range.NoHigh = *high, false
		}
		var err error
		c.Barrier, err = change.ParseLSN(barrier)
		all[c.Table] = append(all[c.Table], c)
		return err
	})
	return all, err
}

// RecordChunk notes that the chunk was found equal at a barrier, or with a Generation of 0 that it was not. Rows below 0 leaves
// their number.
func RecordChunk(ctx context.Context, q pgkit.Querier, c Chunk) error {
	_, err := q.Exec(ctx, `UPDATE timeferry.chunks SET method = $4, generation = $5, run = $6, rows = CASE WHEN $7::bigint < 0 THEN rows ELSE $7 END,
		barrier_lsn = $8::text::pg_lsn, at = now() WHERE (schema_name, table_name, chunk) = ($1, $2, $3)`,
		c.Table.Schema, c.Table.Name, c.Number, c.Method, c.Generation, c.Run, c.Rows, c.Barrier.String())
	if err != nil {
		return fmt.Errorf("record chunk: %w", err)
	}
	return nil
}

// Touch is a bucket of a table that was touched after the barrier called Generation.
type Touch struct {
	Generation int
	Bucket     compare.Bucket
}

// Touches lists what was touched of each table.
func Touches(ctx context.Context, q pgkit.Querier) (map[ident.Table][]Touch, error) {
	rows, err := q.Query(ctx, "SELECT schema_name, table_name, generation, shift, bucket, value FROM timeferry.touched")
	if err != nil {
		return nil, fmt.Errorf("read what was touched: %w", err)
	}
	all := map[ident.Table][]Touch{}
	var name ident.Table
	var t Touch
	_, err = pgx.ForEachRow(rows, []any{&name.Schema, &name.Name, &t.Generation, &t.Bucket.Shift, &t.Bucket.Number, &t.Bucket.Value}, func() error {
		all[name] = append(all[name], t)
		return nil
	})
	return all, err
}

// ForgetTouches forgets what was touched before the barriers at which all of a table's chunks were found equal.
func ForgetTouches(ctx context.Context, q pgkit.Querier) error {
	_, err := q.Exec(ctx, `DELETE FROM timeferry.touched t USING (SELECT schema_name, table_name, min(generation) AS generation FROM timeferry.chunks GROUP BY 1, 2) c
		WHERE (c.schema_name, c.table_name) = (t.schema_name, t.table_name) AND t.generation < c.generation`)
	if err != nil {
		return fmt.Errorf("forget what was compared: %w", err)
	}
	return nil
}

// AdvanceChunks notes that nothing was applied to the chunks between the barrier at which they were found equal and a later one.
func AdvanceChunks(ctx context.Context, q pgkit.Querier, chunks []Chunk, generation int) error {
	var schemas, names []string
	var numbers []int
	for _, c := range chunks {
		schemas, names, numbers = append(schemas, c.Table.Schema), append(names, c.Table.Name), append(numbers, c.Number)
	}
	_, err := q.Exec(ctx, `UPDATE timeferry.chunks c SET generation = $4 FROM unnest($1::text[], $2::text[], $3::int[]) u (s, n, chunk)
		WHERE (c.schema_name, c.table_name, c.chunk) = (u.s, u.n, u.chunk) AND c.generation BETWEEN 1 AND $4`, schemas, names, numbers, generation)
	if err != nil {
		return fmt.Errorf("record chunks that nothing touched: %w", err)
	}
	return nil
}
