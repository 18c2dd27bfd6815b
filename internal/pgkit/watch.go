package pgkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Watch looks after a connection that waits for its server. Where packets vanish, both ends may wait for each other for ever: TCP
// keepalives tell it only when the host does not answer, not when something between does (a proxy, a load balancer, a NAT that
// forgot us), and a long silence may as well be a long statement. So after a silence a second connection asks the server what the
// first one's session does. If it waits for us while we wait for it, twice in a row and for the same thing, then what was sent is
// lost: the session is ended, so that its locks and its slot become free, and the connection closed.
//
// Its methods are safe for concurrent use. Start it once, and Close it before or after the connection.
type Watch struct {
	endpoint Endpoint
	silence  time.Duration
	log      *slog.Logger

	heard   atomic.Int64 // when something came, or waiting began; Unix nanoseconds
	waiting atomic.Bool

	conn    net.Conn
	session sessionID
	stop    chan struct{}
	stopped sync.Once
	done    chan struct{}
}

// DefaultSilence is how long nothing may come until the server is asked, as long as our TCP keepalives take.
const DefaultSilence = time.Minute

// sessionID names a session of the server for good: process IDs are used again.
type sessionID struct {
	pid   int32
	begun string
}

// NewWatch makes a watch for a connection to e that looks after silence (0: DefaultSilence). log may be nil.
func NewWatch(e Endpoint, silence time.Duration, log *slog.Logger) *Watch {
	if silence <= 0 {
		silence = DefaultSilence
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Watch{endpoint: e, silence: silence, log: log, stop: make(chan struct{}), done: make(chan struct{})}
}

// DialWatched is Dial with w looking after the connection, from its login on. Close w, too.
func DialWatched(ctx context.Context, e Endpoint, purpose string, w *Watch) (*pgx.Conn, error) {
	conn, err := dial(ctx, e, purpose, func(in io.Reader, out io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(heardReader{in, w}, heardWriter{out, w})
	}, nil)
	if err != nil {
		return nil, err
	}
	if err := w.Start(ctx, conn.PgConn()); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx)) // the first error is the one that matters
		return nil, err
	}
	return conn, nil
}

type heardReader struct {
	io.Reader
	w *Watch
}

func (h heardReader) Read(b []byte) (int, error) {
	n, err := h.Reader.Read(b)
	if n > 0 {
		h.w.Heard()
	}
	return n, err
}

// heardWriter takes what the network takes from us for a sign of life: much may be on its way over a narrow one.
type heardWriter struct {
	io.Writer
	w *Watch
}

func (h heardWriter) Write(b []byte) (int, error) {
	n, err := h.Writer.Write(b)
	if n > 0 {
		h.w.Heard()
	}
	return n, err
}

// Heard notes that something came from the server.
func (w *Watch) Heard() { w.heard.Store(time.Now().UnixNano()) }

// Wait begins waiting for the server; call what it returns at the end of it. Silence outside of it is nothing to look into.
func (w *Watch) Wait() (end func()) {
	w.Heard()
	w.waiting.Store(true)
	return func() { w.waiting.Store(false) }
}

// Pause is for what keeps us, not the server, busy in the middle of waiting for it; call what it returns at the end.
func (w *Watch) Pause() (end func()) {
	was := w.waiting.Swap(false)
	return func() {
		w.Heard()
		w.waiting.Store(was)
	}
}

const (
	whoAmISQL = `SELECT pid::text, backend_start::text FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()`
	// waitsSQL tells what a session waits for its client with; empty while it works. Walsenders are never idle by their state.
	waitsSQL = `SELECT CASE WHEN state LIKE 'idle%' OR wait_event_type = 'Client' OR wait_event = 'WalSenderMain'
			THEN concat_ws(' ', state, wait_event, state_change, query_start) ELSE '' END
		FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND backend_start = $2::text::timestamptz`
	endSQL = `SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND backend_start = $2::text::timestamptz`
)

// Start asks who the session is, over its own connection, and begins to watch.
func (w *Watch) Start(ctx context.Context, conn *pgconn.PgConn) error {
	begun, cancel := beginning(ctx, w.endpoint)
	defer cancel()
	results, err := conn.Exec(begun, whoAmISQL).ReadAll()
	if err != nil {
		return fmt.Errorf("ask %s for the session: %w", w.endpoint, err)
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return fmt.Errorf("ask %s for the session: it has none", w.endpoint)
	}
	row := results[0].Rows[0]
	if _, err := fmt.Sscan(string(row[0]), &w.session.pid); err != nil {
		return fmt.Errorf("ask %s for the session: %w", w.endpoint, err)
	}
	w.session.begun, w.conn = string(row[1]), conn.Conn()
	go w.run()
	return nil
}

// Close ends the watch, not the connection.
func (w *Watch) Close() {
	w.stopped.Do(func() { close(w.stop) })
	if w.conn != nil {
		<-w.done
	}
}

func (w *Watch) run() {
	defer close(w.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-w.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	suspicion, underWay := "", 0
	for Sleep(ctx, w.silence/4) == nil {
		before := underWay
		underWay = unsent(w.conn)
		moving := underWay < before // over a narrow line; what only grows is not taken any more
		if moving || !w.waiting.Load() || time.Since(time.Unix(0, w.heard.Load())) < w.silence {
			suspicion = ""
			continue
		}
		found, err := w.look(ctx)
		switch {
		case err != nil: // nothing is known: TCP will tell when all of the network is gone
			w.log.DebugContext(ctx, "look into a silent session", "err", err)
			suspicion = ""
		case found == "" || found != suspicion:
			suspicion = found
		default:
			w.end(ctx, found)
			return
		}
	}
}

// look says what the session waits for us with, "" if it works.
func (w *Watch) look(ctx context.Context) (waits string, err error) {
	err = w.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		err := conn.QueryRow(ctx, waitsSQL, w.session.pid, w.session.begun).Scan(&waits)
		if errors.Is(err, pgx.ErrNoRows) {
			waits, err = "gone", nil
		}
		return err
	})
	return waits, err
}

// end closes the connection, whose reader sees that, and then the session.
func (w *Watch) end(ctx context.Context, found string) {
	w.log.WarnContext(ctx, "the connection is silent while its session waits for us: ended", "endpoint", w.endpoint.String(), "session", found)
	err := w.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, endSQL, w.session.pid, w.session.begun)
		return err
	})
	if err != nil { // the server's own keepalives end it later
		w.log.WarnContext(ctx, "end a silent session", "err", err)
	}
	_ = w.conn.Close() // an error says that it is closed
}

// ask does something over a second connection, soon or not at all.
func (w *Watch) ask(ctx context.Context, do func(context.Context, *pgx.Conn) error) error {
	const limit = 15 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("looking into a silent session took longer than %s", limit))
	defer cancel()
	conn, err := Dial(ctx, w.endpoint, "watch")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // only asked
	return do(ctx, conn)
}
