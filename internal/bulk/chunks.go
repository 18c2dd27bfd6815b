package bulk

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// A transaction that creates a chunk keeps the hypertable locked against every other creation of chunks until it ends
// (TimescaleDB takes SHARE UPDATE EXCLUSIVE on the root). Parts are long transactions, so two parts of one hypertable
// would run one after the other. makeChunks therefore creates the part's chunks beforehand, in a short transaction: it
// inserts a sample of the part's own rows and deletes them before it commits, so that only the chunks stay. A chunk that the
// sample misses is created by the part itself.
//
// The sample is held in memory, and a row may have 200 MB. So only columns that the target cannot do without are read, and
// rows that are wide in those are left out.

const (
	// sampleRows are read from as many blocks, evenly spread over the part.
	sampleRows = 1024
	// sampleBytes bounds the sample where rows are big.
	sampleBytes = 4 << 20
	// sampleRowBytes is the most that a row of the sample has in the heap: compressed, and so far more at the most, but not
	// without bound.
	sampleRowBytes = 8 << 10
)

// makeChunks does nothing on the target that the copy depends on: what fails there is logged, and if the cause lasts the
// copy meets it again and reports it. What fails on the source has spoiled the transaction that the copy reads in.
func (s *stream) makeChunks(ctx context.Context, part ledger.Part) error {
	columns, err := s.sampledColumns(ctx, part)
	if err == nil {
		var sample []byte
		if sample, err = s.readSample(ctx, part, columns); err != nil {
			return s.failed(part, "sample", err)
		}
		if len(sample) == 0 {
			return nil
		}
		err = s.insertAndDelete(ctx, part, columns, sample)
	}
	if err != nil && ctx.Err() == nil {
		s.o.Log.DebugContext(ctx, "chunks not created ahead", "table", part.Table.String(), "part", part.Number, "err", shown(err).Error())
	}
	return nil
}

// sampledSQL finds the columns that choose a row's chunk, and those that may refuse NULL in the place of a value: by
// themselves, by their domain, by a check, or by a generated column that is made of them, whichever it is.
const sampledSQL = `SELECT a.attname::text FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
	JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND (a.attnotnull OR y.typtype = 'd'
	OR EXISTS (SELECT FROM timescaledb_information.dimensions d
		WHERE (d.hypertable_schema, d.hypertable_name, d.column_name) = (n.nspname, c.relname, a.attname))
	OR EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c' AND a.attnum = ANY (k.conkey))
	OR EXISTS (SELECT FROM pg_attribute g WHERE g.attrelid = c.oid AND NOT g.attisdropped AND g.attgenerated <> ''))`

// sampledColumns are those of the part's columns that a row of the sample needs, in the part's order.
func (s *stream) sampledColumns(ctx context.Context, part ledger.Part) (columns []string, err error) {
	if s.scout == nil || s.scout.IsClosed() {
		if s.scout, err = s.dialTarget(ctx); err != nil {
			return nil, err
		}
	}
	rows, err := s.scout.Query(ctx, sampledSQL, part.Table.Quote())
	if err != nil {
		return nil, err
	}
	needed, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	for _, c := range part.Columns {
		if slices.Contains(needed, c) {
			columns = append(columns, c)
		}
	}
	return columns, nil
}

// readSample returns the sample in COPY's form; nil for an empty part.
func (s *stream) readSample(ctx context.Context, part ledger.Part, columns []string) ([]byte, error) {
	first, end := int64(0), int64(0)
	if part.First != nil {
		first = *part.First
	}
	if part.End != nil {
		end = *part.End
	} else if err := s.source.QueryRow(ctx, "SELECT pg_relation_size(to_regclass($1)) / current_setting('block_size')::int", part.Source.Quote()).Scan(&end); err != nil {
		return nil, err
	}
	blocks := end - first
	if blocks <= 0 {
		return nil, nil
	}
	count := min(sampleRows, max(1, sampleBytes/max(1, part.Bytes/blocks)))
	var tids strings.Builder
	for i := range count {
		// Row 1 of each block may be dead or missing; the sample needs no particular row, only enough of them.
		fmt.Fprintf(&tids, `,"(%d,%d)"`, first+blocks*i/count, 1+i%3)
	}
	var sample sampleBuffer
	_, err := s.source.PgConn().CopyTo(ctx, &sample, sampleSQL(part, columns, tids.String()[1:]))
	return sample.Bytes(), err
}

// sampleBuffer takes row by row, and leaves out what is too much; not the first, which brings the head of the format. The
// end of the format is not needed.
type sampleBuffer struct{ bytes.Buffer }

func (b *sampleBuffer) Write(row []byte) (int, error) {
	if b.Len() > 0 && b.Len()+len(row) > sampleBytes {
		return len(row), nil
	}
	return b.Buffer.Write(row)
}

func sampleSQL(part ledger.Part, columns []string, tids string) string {
	size := "0"
	for _, c := range columns {
		size += " + coalesce(pg_column_size(" + ident.Quote(c) + "), 0)" // it looks at no more than is in the heap
	}
	return fmt.Sprintf("COPY (SELECT %s FROM ONLY %s WHERE ctid = ANY ('{%s}'::tid[]) AND %s <= %d) TO STDOUT (FORMAT %s)",
		ident.Columns(columns), part.Source.Quote(), tids, size, sampleRowBytes, format(part))
}

// sampleTable is temporary: no other session sees it.
const sampleTable = "timeferry_sample"

// insertAndDelete leaves nothing of the sample but the chunks it needed. Columns that are not sampled become NULL, whatever
// their default: a sequence must not move.
func (s *stream) insertAndDelete(ctx context.Context, part ledger.Part, sampled []string, sample []byte) error {
	return pgx.BeginFunc(ctx, s.scout, func(tx pgx.Tx) error {
		columns, table := ident.Columns(part.Columns), part.Table.Quote()
		// A part that creates a chunk the sample missed keeps the lock for long: better no chunks than to wait for it.
		_, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '2s'; CREATE TEMP TABLE "+sampleTable+" ON COMMIT DROP AS SELECT "+columns+" FROM "+table+" WITH NO DATA")
		if err != nil {
			return err
		}
		if _, err := tx.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(sample), copyInSQL(sampleTable, sampled, part, false)); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, "WITH inserted AS (INSERT INTO "+table+" ("+columns+") OVERRIDING SYSTEM VALUE SELECT "+columns+" FROM "+sampleTable+
			" RETURNING tableoid, ctid) SELECT tableoid::regclass::text, array_agg(ctid)::text FROM inserted GROUP BY 1")
		if err != nil {
			return err
		}
		deletes := &pgx.Batch{}
		var chunk, tids string
		if _, err := pgx.ForEachRow(rows, []any{&chunk, &tids}, func() error {
			deletes.Queue("DELETE FROM ONLY " + chunk + " WHERE ctid = ANY (" + ident.Literal(tids) + "::tid[])")
			return nil
		}); err != nil {
			return err
		}
		return tx.SendBatch(ctx, deletes).Close()
	})
}
