package bulk

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/target/ledger"
)

// copyNext copies one part: claim, rows and mark are one transaction on the target. It returns false when none is free.
// After an error, the stream is of no more use.
func (s *stream) copyNext(ctx context.Context) (copied bool, err error) {
	begun := time.Now()
	tx, err := s.target.Begin(ctx)
	if err != nil {
		return false, fmt.Errorf("begin copy transaction: %w", err)
	}
	defer func() {
		if !copied {
			s.rollback(ctx, tx)
		}
	}()
	part, ok, err := ledger.NextPart(ctx, tx)
	if err != nil {
		return false, fmt.Errorf("claim part: %w", err)
	}
	if !ok {
		return false, nil
	}
	if err := s.beginSource(ctx, part); err != nil {
		return false, err
	}
	if part.Hypertable {
		if err := s.makeChunks(ctx, part); err != nil {
			return false, err
		}
	}
	freeze, err := freezable(ctx, tx, part)
	if err != nil {
		return false, failed(part, "prepare", err)
	}
	m := s.startMeter(part)
	rows, err := s.pump(ctx, tx, part, freeze, m)
	m.stop()
	if err != nil {
		return false, err
	}
	if _, err := s.source.Exec(ctx, "COMMIT"); err != nil {
		return false, failed(part, "end reading", err)
	}
	if err := ledger.MarkPart(ctx, tx, part, rows, m.bytes.Load(), time.Since(begun)); err != nil {
		return false, failed(part, "mark", err)
	}
	if err := tx.Commit(ctx); err != nil {
		return false, failed(part, "commit", err)
	}
	if _, err := ledger.CompleteTable(ctx, s.target, part.Table); err != nil {
		return true, failed(part, "complete", err)
	}
	s.finished(m, rows)
	s.o.Log.DebugContext(ctx, "part copied", "table", part.Table.String(), "part", part.Number, "rows", rows, "bytes", m.bytes.Load(), "elapsed", time.Since(begun))
	return true, nil
}

// rollback frees the claim at once where the session still lives, so that the part is free when CopyParts returns; a broken
// or cancelled session is rolled back by the server.
func (s *stream) rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = tx.Rollback(ctx)
}

// beginSource opens a transaction with the epoch's snapshot and locks the relation, so that its file stays what it is.
func (s *stream) beginSource(ctx context.Context, part ledger.Part) error {
	if err := s.source.PgConn().Exec(ctx, beginSourceSQL(part.Snapshot)).Close(); err != nil {
		if snapshotGone(err) {
			return snapshotLost(part, err)
		}
		return failed(part, "begin reading", err)
	}
	if part.First == nil && part.End == nil {
		return nil // a whole heap is right whatever file it is in
	}
	if _, err := s.source.Exec(ctx, "LOCK TABLE ONLY "+part.Source.Quote()+" IN ACCESS SHARE MODE"); err != nil {
		return failed(part, "lock", err)
	}
	return s.checkFile(ctx, part)
}

// rewrittenSQL: in this transaction pg_class shows the file that the table had at the snapshot, the function the one it
// has now.
const rewrittenSQL = `SELECT c.relfilenode <> pg_relation_filenode(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = $1 AND c.relname = $2`

// checkFile makes sure that rows still are in the blocks where they were: VACUUM FULL, CLUSTER and pg_repack move rows,
// so that one block range would miss what another has copied already, or copy it twice. TRUNCATE is harmless: the
// snapshot shows nothing any more, and the stream brings the TRUNCATE.
func (s *stream) checkFile(ctx context.Context, part ledger.Part) error {
	var rewritten bool
	if err := s.source.QueryRow(ctx, rewrittenSQL, part.Source.Schema, part.Source.Name).Scan(&rewritten); err != nil {
		return failed(part, "look at", err)
	}
	if !rewritten {
		return nil
	}
	var rows bool
	if err := s.source.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM ONLY "+part.Source.Quote()+")").Scan(&rows); err != nil {
		return failed(part, "look at", err)
	}
	if rows {
		return tableRewritten(part)
	}
	return nil
}
