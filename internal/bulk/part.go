package bulk

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/target/ledger"
)

// A transaction costs some ten round trips and a flush on the target, more than a small part's rows. So small parts are
// copied many in one, at most 16 MiB together: whoever dies loses no more than that, and no stream waits long for a last one.
const (
	smallBytes = 256 << 10
	batchParts = 64
)

// copyNext copies one part, or a batch of small ones: claim, rows and marks are one transaction on the target. It returns
// false when none is free. After an error, the stream is of no more use.
func (s *stream) copyNext(ctx context.Context) (copied bool, err error) {
	tx, err := s.target.Begin(ctx)
	if err != nil {
		return false, fmt.Errorf("begin copy transaction: %w", err)
	}
	defer func() {
		if !copied {
			s.rollback(ctx, tx)
		}
	}()
	parts, err := ledger.NextParts(ctx, tx, smallBytes, batchParts)
	if err != nil {
		return false, fmt.Errorf("claim part: %w", err)
	}
	if len(parts) == 0 {
		return false, nil
	}
	done, err := s.copyClaimed(ctx, tx, parts)
	if err != nil {
		return false, err
	}
	if err := ledger.MarkParts(ctx, tx, done); err != nil {
		return false, failed(parts[0], "mark", err)
	}
	if err := tx.Commit(ctx); err != nil {
		return false, failed(parts[0], "commit", err)
	}
	if _, err := ledger.CompleteParts(ctx, s.target, done); err != nil {
		return true, failed(parts[0], "complete", err)
	}
	s.committed(len(done))
	return true, nil
}

// copyClaimed copies parts of one epoch under its snapshot.
func (s *stream) copyClaimed(ctx context.Context, tx pgx.Tx, parts []ledger.Part) ([]ledger.Copied, error) {
	if err := s.beginSource(ctx, parts); err != nil {
		return nil, err
	}
	if err := s.lockFiles(ctx, parts); err != nil {
		return nil, err
	}
	done := make([]ledger.Copied, 0, len(parts))
	for _, part := range parts {
		c, err := s.copyPart(ctx, tx, part)
		if err != nil {
			return nil, err
		}
		done = append(done, c)
	}
	if _, err := s.source.Exec(ctx, "COMMIT"); err != nil {
		return nil, failed(parts[0], "end reading", err)
	}
	return done, nil
}

// copyPart carries the rows of one part.
func (s *stream) copyPart(ctx context.Context, tx pgx.Tx, part ledger.Part) (ledger.Copied, error) {
	begun := time.Now()
	if part.Hypertable {
		if err := s.makeChunks(ctx, part); err != nil {
			return ledger.Copied{}, err
		}
	}
	freeze, err := freezable(ctx, tx, part)
	if err != nil {
		return ledger.Copied{}, failed(part, "prepare", err)
	}
	m := s.startMeter(part)
	rows, err := s.pump(ctx, tx, part, freeze, m)
	m.stop()
	if err != nil {
		return ledger.Copied{}, err
	}
	c := ledger.Copied{Part: part, CopiedRows: rows, CopiedBytes: m.bytes.Load(), Took: time.Since(begun), Worker: s.o.Worker}
	s.progress = s.progress.with(part, rows, c.CopiedBytes, part.Bytes)
	s.o.Log.DebugContext(ctx, "part copied", "table", part.Table.String(), "part", part.Number, "rows", rows, "bytes", c.CopiedBytes, "elapsed", c.Took)
	return c, nil
}

// rollback frees the claim at once where the session still lives, so that the part is free when CopyParts returns; a broken
// or cancelled session is rolled back by the server.
func (s *stream) rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = tx.Rollback(ctx)
}

// beginSource opens a transaction that sees what the parts' epoch shows.
func (s *stream) beginSource(ctx context.Context, parts []ledger.Part) error {
	if err := s.importSnapshot(ctx, parts[0]); err != nil {
		return err
	}
	if settings := planSettings(parts); settings != "" {
		if _, err := s.source.Exec(ctx, settings); err != nil {
			return failed(parts[0], "begin reading", err)
		}
	}
	return nil
}
