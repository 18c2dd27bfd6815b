package capture

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/spool"
)

const (
	// tickEvery is how often the reading goroutine looks up from the connection at the least.
	tickEvery = 100 * time.Millisecond
	// progressEvery bounds the Progress records, and how often the server is asked where it stands. It sends keepalives by
	// itself only after half of wal_sender_timeout.
	progressEvery = 500 * time.Millisecond
	reportEvery   = time.Second
	statusEvery   = 10 * time.Second
	gatherFor     = time.Millisecond
)

// session is one connection that streams. Its goroutine owns the connection: it reads messages into chunks for the
// writer, and sends all statuses, because a pgconn serves one goroutine. Others get its attention through the flag and
// the read deadline.
type session struct {
	*intake
	conn       *pgconn.PgConn
	watch      *pgkit.Watch // of the connection, while we read from it
	onProgress func(Progress)
	attention  atomic.Bool
	came       bool // something, since we looked up

	pending change.LSN // progress that was heard of, not yet put into a chunk
	under   *inProgress
	noRoom  string // why the transactions under way wait, or ""
	behind  *lookout
	busy    atomic.Bool // something has come since the lookout asked
	idle    idleness
	// asides are short errands over connections of their own; they end with the session.
	asides   sync.WaitGroup
	asideCtx context.Context

	handedAt time.Time // when the writer got its last chunk
	armed    bool      // the read deadline stands at the next hand-over

	statusEvery                         time.Duration
	replyWanted                         bool
	sentDurable                         change.LSN
	sentAt, askedAt, progressAt, toldAt time.Time
}

func newSession(ctx context.Context, r *Receiver, conn *pgconn.PgConn, state slotState, start change.LSN) (*session, error) {
	s := &session{conn: conn, statusEvery: statusEvery}
	if state.senderTimeout > 0 {
		s.statusEvery = min(statusEvery, state.senderTimeout/3)
	}
	var err error
	if s.under, err = newInProgress(r.Spool.Dir()); err != nil {
		return nil, err
	}
	s.under.patiently, s.under.beside = s.patiently, r.Spool.Beside
	s.intake = newIntake(r, r.newPlugin(ctx, state.serverVersion), start, s.wake)
	return s, nil
}

// wake makes the reading goroutine look up. The flag is set before the deadline, and looked at after the deadline was
// taken back, so no call is lost.
func (s *session) wake() {
	s.attention.Store(true)
	// An error means that the connection is closed, which the reader finds out by itself.
	_ = s.conn.Conn().SetReadDeadline(time.Unix(1, 0))
}

// run streams until ctx ends, the connection or the spool fails, or the backlog is better taken in bulk (errSwitch). It
// leaves whole transactions in the spool only, as far as that did not fail.
func (s *session) run(ctx context.Context, onProgress func(Progress)) error {
	s.onProgress = onProgress
	defer closeConn(s.conn)
	defer s.watch.Close()
	release := context.AfterFunc(ctx, s.wake)
	defer release()
	defer func() { s.r.streamed = s.behind.streamed() }() // once nobody looks any more
	ticking := make(chan struct{})
	defer close(ticking)
	asides, stop := context.WithCancel(ctx)
	defer s.asides.Wait()
	defer stop()
	s.asideCtx = asides
	if s.behind = s.lookout(); !s.r.noBulk {
		s.asides.Go(func() { s.behind.watch(asides) })
	}
	go s.tick(ticking)
	go s.writer.run()
	err := s.receive(ctx)
	failed := errors.Join(s.writer.finish(s.chunk), s.under.close())
	if failed != nil {
		return failed
	}
	if ctx.Err() == nil {
		return s.r.explain(err, false)
	}
	s.r.progress.DurableLSN = s.r.Spool.Durable()
	if !errors.Is(err, ctx.Err()) { // the connection is gone, too
		return ctx.Err()
	}
	if err := s.sendStatus(time.Now(), false); err != nil { // the slot stays where it was, which is safe
		return ctx.Err()
	}
	s.onProgress(s.r.progress)
	return ctx.Err()
}

func (s *session) tick(done chan struct{}) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			s.wake()
		}
	}
}

// receive is the loop over messages.
func (s *session) receive(ctx context.Context) error {
	frontend := s.conn.Frontend()
	defer s.watch.Wait()()
	s.attention.Store(true)
	for {
		if frontend.ReadBufferLen() == 0 && !s.inTx && len(s.chunk.records) > 0 {
			if err := s.handOverInTime(); err != nil {
				return err
			}
		}
		if s.attention.Load() || s.replyWanted {
			if err := s.lookUp(ctx); err != nil {
				return err
			}
			continue
		}
		if len(s.chunk.data) >= chunkBytes {
			if err := s.waitForWriter(ctx); err != nil {
				return err
			}
			continue
		}
		// A context that can end would start a goroutine for every message; wake does its work.
		msg, err := s.conn.ReceiveMessage(context.Background())
		if err != nil {
			if isTimeout(err) {
				s.attention.Store(true)
				continue
			}
			return fault.New(fault.Transient, "receive from slot", s.r.Slot, "", "%w", err)
		}
		s.came = true
		if err := s.message(msg); err != nil {
			return err
		}
		if !s.inTx && s.under.idle() && s.behind.pays.Load() {
			return errSwitch
		}
	}
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || (errors.As(err, &network) && network.Timeout())
}

func (s *session) lookout() *lookout {
	l := &lookout{r: s.r, wake: s.wake, idle: func() bool { return !s.busy.Swap(false) }}
	l.arrived(s.end, false)
	return l
}

// lookUp does what is due besides reading.
func (s *session) lookUp(ctx context.Context) error {
	s.attention.Store(false)
	s.armed = false
	if s.came {
		s.came = false
		s.watch.Heard()
	}
	if err := s.conn.Conn().SetReadDeadline(time.Time{}); err != nil {
		return fault.New(fault.Transient, "receive from slot", s.r.Slot, "", "%w", err)
	}
	return s.upkeep(ctx)
}

// upkeep hands over what waits, notes progress, and tells the server and our caller what they want to know.
func (s *session) upkeep(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.writer.failed() {
		return errWriterFailed
	}
	now := time.Now()
	s.behind.arrived(s.end, false)
	s.noteProgress(now, false)
	s.handOver()
	s.stir(now)
	ask := now.Sub(s.askedAt) >= progressEvery
	p := &s.r.progress
	p.DurableLSN, p.ReceivedLSN = s.r.Spool.Durable(), max(s.end, p.ReceivedLSN)
	if ask || s.replyWanted || p.DurableLSN > s.sentDurable || now.Sub(s.sentAt) >= s.statusEvery {
		if err := s.sendStatus(now, ask); err != nil {
			return fault.New(fault.Transient, "send status for slot", s.r.Slot, "", "%w", err)
		}
	}
	if paused := cmp.Or(s.noRoom, s.writer.pausedBy()); paused != p.Paused || now.Sub(s.toldAt) >= reportEvery {
		p.Paused, s.toldAt = paused, now
		s.onProgress(*p)
	}
	return nil
}

// patiently repeats do while the disk is full, and keeps the server and our caller content meanwhile, as waitForWriter does: room
// comes from what the writer has being applied and removed. It belongs to the reading goroutine.
func (s *session) patiently(do func() error) error {
	err := do()
	if err == nil || !spool.HasCode(err, spool.CodeFull) {
		return err
	}
	defer s.watch.Pause()() // what the server says meanwhile is read later
	defer func() { s.noRoom = "" }()
	for {
		s.noRoom = pausedBy(err)
		if err := s.upkeep(s.asideCtx); err != nil {
			return err
		}
		if err := pgkit.Sleep(s.asideCtx, roomPause); err != nil {
			return err
		}
		if err = do(); err == nil || !spool.HasCode(err, spool.CodeFull) {
			return err
		}
	}
}

// errSwitch ends a stream whose backlog is to be taken in bulk.
var errSwitch = errors.New("the backlog is taken in bulk")

// errWriterFailed ends receive; the writer's finish has the error itself.
var errWriterFailed = errors.New("the spool takes no more")

// handOverInTime hands over whole transactions: at once when they are few, every gatherFor when many come, because waking
// the writer costs more than writing. A part of a transaction may wait for its rest: nobody could see it.
func (s *session) handOverInTime() error {
	now := time.Now()
	var deadline time.Time
	switch due := s.handedAt.Add(gatherFor); {
	case !now.Before(due):
		s.handOver()
		if !s.armed {
			return nil
		}
		s.armed = false
	case s.armed:
		return nil
	default:
		deadline, s.armed = due, true
	}
	// Should this undo wake's deadline: its flag is looked at next.
	if err := s.conn.Conn().SetReadDeadline(deadline); err != nil {
		return fault.New(fault.Transient, "receive from slot", s.r.Slot, "", "%w", err)
	}
	return nil
}

// handOver gives the chunk to the writer if there is something in it and the writer has room for it.
func (s *session) handOver() {
	if len(s.chunk.records) == 0 {
		return
	}
	select {
	case s.writer.in <- s.chunk:
		s.chunk, s.handedAt = s.writer.empty(), time.Now()
	default:
	}
}

// waitForWriter blocks until the writer takes the chunk, and keeps the server and our caller content meanwhile.
func (s *session) waitForWriter(ctx context.Context) error {
	defer s.watch.Pause()() // what the server says meanwhile is read later
	timer := time.NewTimer(tickEvery)
	defer timer.Stop()
	for {
		select {
		case s.writer.in <- s.chunk:
			s.chunk = s.writer.empty()
			return nil
		case <-timer.C:
			timer.Reset(tickEvery)
			before := s.chunk
			if err := s.upkeep(ctx); err != nil || s.chunk != before {
				return err
			}
		}
	}
}
