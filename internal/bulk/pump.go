package bulk

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/target/ledger"
)

// pump carries the part's rows from the source's transaction into tx, and returns how many the target took. If one side
// fails the other is stopped at once; the error is that of the side that failed first.
func (s *stream) pump(ctx context.Context, tx pgx.Tx, part ledger.Part, freeze bool, m *meter) (rows int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := newPipe(s.buffers)
	in := &intake{p: p, m: m}
	if s.o.Limit != nil {
		in.slow = func(bytes int) error { return s.o.Limit.wait(ctx, bytes) }
	}
	sourceDone := make(chan error, 1)
	var sent pgconn.CommandTag
	go func() {
		var err error
		s.feed.rows = in
		sent, err = s.source.PgConn().CopyTo(ctx, noRows{}, copyOutSQL(part))
		s.feed.rows = nil
		p.closeWrite(err)
		sourceDone <- err
	}()
	tag, targetErr := tx.Conn().PgConn().CopyFrom(ctx, p, copyInSQL(part.Table.Quote(), part.Columns, part, freeze))
	p.closeRead()
	if targetErr != nil {
		cancel() // the source may be silent, and so not notice the closed pipe
	}
	sourceErr := <-sourceDone
	switch {
	case p.brokenBySource():
		if isGone(sourceErr) {
			s.aside = &part
		}
		return 0, copyFailed(part, "source", sourceErr)
	case targetErr != nil:
		return 0, copyFailed(part, "target", targetErr)
	case sourceErr != nil:
		return 0, copyFailed(part, "source", sourceErr)
	}
	if tag.RowsAffected() != sent.RowsAffected() {
		return 0, rowsMissing(part, sent.RowsAffected(), tag.RowsAffected())
	}
	return tag.RowsAffected(), nil
}
