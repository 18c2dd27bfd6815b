package bulk

import (
	"bytes"
	"context"
	"fmt"
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

const (
	// sampleRows are read from as many blocks, evenly spread over the part.
	sampleRows = 1024
	// sampleBytes bounds the sample where rows are big.
	sampleBytes = 4 << 20
)

// makeChunks does nothing on the target that the copy depends on: what fails there is logged, and if the cause lasts the
// copy meets it again and reports it. What fails on the source has spoiled the transaction that the copy reads in.
func (s *stream) makeChunks(ctx context.Context, part ledger.Part) error {
	sample, err := s.readSample(ctx, part)
	if err != nil {
		return failed(part, "sample", err)
	}
	if len(sample) == 0 {
		return nil
	}
	if err := s.insertAndDelete(ctx, part, sample); err != nil && ctx.Err() == nil {
		s.o.Log.DebugContext(ctx, "chunks not created ahead", "table", part.Table.String(), "part", part.Number, "err", shown(err).Error())
	}
	return nil
}

// readSample returns the sample in COPY's form; nil for an empty part.
func (s *stream) readSample(ctx context.Context, part ledger.Part) ([]byte, error) {
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
	var sample bytes.Buffer
	_, err := s.source.PgConn().CopyTo(ctx, &sample, sampleSQL(part, tids.String()[1:]))
	return sample.Bytes(), err
}

func sampleSQL(part ledger.Part, tids string) string {
	return "COPY (SELECT " + ident.Columns(part.Columns) + " FROM ONLY " + part.Source.Quote() + " WHERE ctid = ANY ('{" + tids +
		"}'::tid[])) TO STDOUT (FORMAT " + format(part) + ")"
}

// sampleTable is temporary: no other session sees it.
const sampleTable = "timeferry_sample"

// insertAndDelete leaves nothing of the sample but the chunks it needed.
func (s *stream) insertAndDelete(ctx context.Context, part ledger.Part, sample []byte) error {
	if s.scout == nil || s.scout.IsClosed() {
		var err error
		if s.scout, err = s.dialTarget(ctx); err != nil {
			return err
		}
	}
	return pgx.BeginFunc(ctx, s.scout, func(tx pgx.Tx) error {
		columns, table := ident.Columns(part.Columns), part.Table.Quote()
		// A part that creates a chunk the sample missed keeps the lock for long: better no chunks than to wait for it.
		_, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '2s'; CREATE TEMP TABLE "+sampleTable+" ON COMMIT DROP AS SELECT "+columns+" FROM "+table+" WITH NO DATA")
		if err != nil {
			return err
		}
		if _, err := tx.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(sample), copyInSQL(sampleTable, part, false)); err != nil {
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
