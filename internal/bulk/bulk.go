package bulk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// Options of a copy. Log may be nil.
type Options struct {
	Source, Target pgkit.Endpoint
	// ReplicaRole says that the target's user may set session_replication_role: no trigger fires, no foreign key is checked.
	ReplicaRole bool
	// ServerToast leaves it to the target how long values are compressed, see pgkit.FastToastSQL.
	ServerToast bool
	// Limit holds this stream back, by bytes on the wire, together with all others that have the same; nil does not.
	Limit *Limit
	// Between, if not nil, is called before each claim, the first one too, with nothing claimed and no transaction open; it
	// may take its time. ErrStop ends CopyParts without an error, any other error ends it with that one.
	Between func(context.Context) error
	// Worker is the name that the ledger notes beside the parts, for people.
	Worker string
	Log    *slog.Logger
}

// ErrStop is what Options.Between returns to end the stream: what it copied stays, the rest is left to other streams.
var ErrStop = errors.New("stop copying")

// Progress of one stream. Bytes are those on the wire, except where they are said to be of the plan. Inside a part, Rows is
// what has left the source.
type Progress struct {
	Part        ledger.Part // being copied, or the last that is done
	Rows, Bytes int64       // of this part
	DoneBytes   int64       // of the plan's Part.Bytes: a guess inside the part, never above it, and equal at its end
	// Open is what is copied but not committed, and so not in the ledger yet: of this part and of others in the same
	// transaction. OpenBytes are the plan's. Both are zero in the report that follows each commit.
	OpenRows, OpenBytes int64
	PartsDone           int64 // committed by this call of CopyParts; likewise the totals, what is open included
	TotalRows           int64
	TotalBytes          int64
}

// progressEvery is how often a part in work is reported.
const progressEvery = 500 * time.Millisecond

// CopyParts is one stream of the copy: it claims part after part and copies each in one target transaction, until no part
// is free. Other streams, in this process or any other, may run at the same time; what they are still copying is not
// waited for (see Remaining). It returns how many parts it copied. onProgress may be nil; its calls do not overlap.
// The fault CodeSnapshotLost means that a new epoch must begin before the next call; so does CodeTableRewritten, which comes when
// nothing is left but tables that were rewritten, altered or dropped on the source since the snapshot.
func CopyParts(ctx context.Context, o Options, onProgress func(Progress)) (done int, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if onProgress == nil {
		onProgress = func(Progress) {}
	}
	s, err := openStream(ctx, o, onProgress)
	if err != nil {
		return 0, err
	}
	defer func() { s.close(ctx) }()
	if err := ledger.EnsureAside(ctx, s.target); err != nil {
		return 0, fmt.Errorf("bring ledger up to date: %w", err)
	}
	if err := ledger.Upgrade(ctx, s.target); err != nil {
		return 0, fmt.Errorf("bring ledger up to date: %w", err)
	}
	if _, err := ledger.MarkHypertables(ctx, s.target); err != nil {
		return 0, fmt.Errorf("look for hypertables: %w", err)
	}
	for {
		copied, err := s.step(ctx)
		if errors.Is(err, ErrStop) {
			return int(s.progress.PartsDone), nil
		}
		if err != nil && s.aside != nil && ctx.Err() == nil {
			if err = s.setAside(ctx, err); err == nil {
				continue
			}
		}
		if err != nil {
			if ctx.Err() != nil { // whatever else was said about it, this is why
				err = fmt.Errorf("copy parts: %w", ctx.Err())
			}
			return int(s.progress.PartsDone), err
		}
		if !copied {
			break
		}
	}
	if _, err := ledger.CompleteTables(ctx, s.target); err != nil {
		return int(s.progress.PartsDone), fmt.Errorf("mark complete tables: %w", err)
	}
	aside, err := ledger.Aside(ctx, s.target)
	if err == nil && len(aside) > 0 {
		err = tablesAside(aside)
	}
	return int(s.progress.PartsDone), err
}

// setAside leaves a table that cannot be read under this snapshot to the next epoch, and goes on with other sessions.
func (s *stream) setAside(ctx context.Context, why error) error {
	part := *s.aside
	s.o.Log.WarnContext(ctx, "the table was rewritten, altered or dropped on the source since its snapshot; it is copied last, under another", "table", part.Table.String(), "err", why)
	fresh, err := openStream(ctx, s.o, s.onProgress)
	if err != nil {
		return errors.Join(why, err)
	}
	fresh.progress, fresh.shared = s.progress, s.shared
	fresh.progress.OpenRows, fresh.progress.OpenBytes = 0, 0
	s.close(ctx)
	*s = *fresh
	return ledger.SetAside(ctx, s.target, part.Table, part.Epoch)
}

func (s *stream) step(ctx context.Context) (copied bool, err error) {
	if s.o.Between != nil {
		if err := s.o.Between(ctx); err != nil {
			return false, err
		}
	}
	return s.copyNext(ctx)
}

// Remaining counts what is left to copy, parts that some stream is copying now included. CopyParts must be called again
// while it is not zero: a stream may have died with a part, or between a part and its table's mark.
func Remaining(ctx context.Context, q pgkit.Querier) (open int, err error) {
	return ledger.Unfinished(ctx, q)
}

// stream has one session on either side. They are used by one part at a time.
type stream struct {
	o              Options
	source, target *pgx.Conn
	feed           *feed         // of source
	scout          *pgx.Conn     // second session on the target, for makeChunks; nil until needed
	shared         ledger.Shared // the epoch's snapshot, as last read
	buffers        chan []byte
	onProgress     func(Progress)
	progress       Progress
	aside          *ledger.Part // that the last error was about, if its table is to be set aside
}

func openStream(ctx context.Context, o Options, onProgress func(Progress)) (*stream, error) {
	s := &stream{o: o, onProgress: onProgress, buffers: newBuffers()}
	var err error
	wrap := func(r io.Reader) io.Reader { s.feed = newFeed(r); return s.feed }
	if s.source, err = dialWith(ctx, o.Source, sourceSettings, wrap); err != nil {
		return nil, err
	}
	if s.target, err = s.dialTarget(ctx); err != nil {
		s.close(ctx)
		return nil, err
	}
	return s, nil
}

// The two sides must speak the same encoding whatever their databases have. Without row_security=off, rows that a policy
// hides would silently be missing; with it, reading such a table fails.
const (
	sourceSettings = "SET client_encoding = 'UTF8'; SET row_security = off"
	// The source's snapshot may go when all is copied: what is committed must be durable.
	targetSettings      = sourceSettings + "; SET synchronous_commit = on"
	replicaRoleSettings = targetSettings + "; SET session_replication_role = replica"
)

func (s *stream) dialTarget(ctx context.Context) (*pgx.Conn, error) {
	settings := targetSettings
	if s.o.ReplicaRole {
		settings = replicaRoleSettings
	}
	if !s.o.ServerToast {
		settings += "; " + pgkit.FastToastSQL
	}
	return dialWith(ctx, s.o.Target, settings, nil)
}

func dialWith(ctx context.Context, e pgkit.Endpoint, settings string, wrap func(io.Reader) io.Reader) (*pgx.Conn, error) {
	conn, err := pgkit.DialThrough(ctx, e, "copy", wrap)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, settings); err != nil {
		closeQuietly(ctx, conn)
		return nil, fmt.Errorf("prepare session on %s: %w", e, err)
	}
	return conn, nil
}

func (s *stream) close(ctx context.Context) {
	for _, conn := range []*pgx.Conn{s.scout, s.target, s.source} {
		if conn != nil {
			closeQuietly(ctx, conn)
		}
	}
}

// closeQuietly ends a session whose work is committed or to be rolled back, so that its error says nothing.
func closeQuietly(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
