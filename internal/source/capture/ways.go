package capture

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/change"
	"timeferry/internal/pgkit"
)

func (r *Receiver) rule() backlogRule {
	if r.limits != nil {
		return *r.limits
	}
	return usualRule
}

// bulk tells whether to take the backlog in bulk before the stream begins.
func (r *Receiver) bulk(start change.LSN, state slotState) bool {
	return !r.noBulk && r.rule().worth(start, state)
}

// withoutBulk notes that the source refuses the SQL interface to us, and lets the stream do all. It returns nil then.
func (r *Receiver) withoutBulk(ctx context.Context, err error) error {
	switch sqlState(err) {
	case "42501", "42883", "0A000", "53400", "53100": // no privilege, no such function, not offered here, temp_file_limit, disk full
		r.noBulk = true
		r.Log.LogAttrs(ctx, slog.LevelWarn, "the backlog cannot be taken in bulk, it is streamed", slog.String("slot", r.Slot), slog.Any("err", err))
		return nil
	}
	return err
}

// lookout asks the source now and then, beside the stream, how far that is behind: the stream's own messages do not say
// where the WAL ends, only where they come from.
type lookout struct {
	r        *Receiver
	received atomic.Uint64 // the end of the last whole transaction, as the stream has it
	pays     atomic.Bool   // at the last look the backlog was better taken in bulk
	wake     func()
	idle     func() bool // nothing has come since the last call

	conn      *pgconn.PgConn
	landmarks *landmarks
	far       int     // looks in a row that found the stream far behind
	stream    pace    // of received
	fastest   float64 // that the stream was in those looks
}

// watch looks until ctx ends. Its connection is kept while changes come.
func (l *lookout) watch(ctx context.Context) {
	l.landmarks = newLandmarks(ctx, l.r)
	defer l.landmarks.close()
	defer l.hangUp()
	for {
		if pgkit.Sleep(ctx, l.r.rule().askEvery) != nil {
			return
		}
		if l.idle() {
			l.hangUp()
			l.saw(false)
			continue
		}
		state, err := l.ask(ctx)
		if err != nil {
			l.hangUp() // the stream finds out for itself what ails the source
			continue
		}
		received := change.LSN(l.received.Load())
		l.stream.look(time.Now(), received, l.r.rule().askEvery/2)
		if received.BytesBehind(state.flushed) > l.r.rule().drainTo { // it may soon be left
			l.landmarks.set(state, received)
		}
		l.saw(l.r.rule().worth(received, state))
	}
}

// arrived notes how far the stream is. A great transaction that came whole makes the looks void that were taken under way.
func (l *lookout) arrived(at change.LSN, great bool) {
	l.received.Store(uint64(at))
	if great {
		l.pays.Store(false)
	}
}

// saw counts a look. The stream is left when it was far behind twice in a row, and is so still: what it gets over by itself is not worth
// a change.
func (l *lookout) saw(far bool) {
	if l.far++; !far {
		l.far, l.fastest = 0, 0
	}
	l.fastest = max(l.fastest, l.stream.rate)
	if l.pays.Store(l.far >= 2); l.far >= 2 {
		l.wake()
	}
}

// streamed is what the stream brought that is left, in bytes of WAL a second; 0 when it was not left for being too slow.
func (l *lookout) streamed() float64 {
	if !l.pays.Load() {
		return 0
	}
	return l.fastest
}

func (l *lookout) ask(ctx context.Context) (slotState, error) {
	if l.conn == nil {
		conn, err := pgkit.Dial(ctx, l.r.Source, "receiver")
		if err != nil {
			return slotState{}, err
		}
		l.conn = conn.PgConn()
	}
	return readSlot(ctx, l.conn, l.r.Slot, true)
}

func (l *lookout) hangUp() {
	if l.conn != nil {
		closeConn(l.conn)
		l.conn = nil
	}
}

func sqlState(err error) string {
	var s interface{ SQLState() string }
	if errors.As(err, &s) {
		return s.SQLState()
	}
	return ""
}
