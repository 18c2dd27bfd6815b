package capture

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// confirmWithin bounds a confirmation, which is no work for the server.
const confirmWithin = 30 * time.Second

// confirmer lets the slot forget what is durable by a stream that ends as it begins: the server takes what it is told before it looks
// for something to send, so it reads no WAL, where pg_replication_slot_advance reads once more everything from where the slot restarts.
// A connection serves once: servers do not begin a second logical stream after the end of one. It is for one goroutine; close it.
type confirmer struct {
	r      *Receiver
	of     server
	start  string              // the command that begins the stream
	next   chan *pgconn.PgConn // gives the connection that was dialled ahead, or nil if that failed
	hangUp context.CancelFunc  // ends the dialling
}

// newConfirmer begins with conn, an idle replication connection to the server that it is for. options are the plugin's.
func newConfirmer(r *Receiver, of server, conn *pgconn.PgConn, options []string) *confirmer {
	next := make(chan *pgconn.PgConn, 1)
	next <- conn
	start := "START_REPLICATION SLOT " + ident.Quote(r.Slot) + " LOGICAL 0/0 (" + strings.Join(startArgs(options), ", ") + ")"
	return &confirmer{r: r, of: of, start: start, next: next, hangUp: func() {}}
}

// prepare dials ahead, while the server is busy with something else.
func (c *confirmer) prepare(ctx context.Context) {
	if c.next != nil {
		return
	}
	next := make(chan *pgconn.PgConn, 1)
	ctx, c.hangUp = context.WithCancel(ctx)
	c.next = next
	go func() {
		conn, _ := c.dial(ctx) // whoever wants it dials again, and finds out why
		next <- conn
	}()
}

// connection is the one that was dialled ahead, or a new one.
func (c *confirmer) connection(ctx context.Context) (*pgconn.PgConn, error) {
	if c.next != nil {
		select {
		case conn := <-c.next:
			c.next = nil
			if conn != nil {
				return conn, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return c.dial(ctx)
}

// dial refuses another server than the one that gave the changes: to one that has taken its place the position may mean something else.
func (c *confirmer) dial(ctx context.Context) (*pgconn.PgConn, error) {
	conn, err := pgkit.DialReplication(ctx, c.r.Source, "receiver")
	if err != nil {
		return nil, err
	}
	state, err := readSlot(ctx, conn, c.r.Slot, false)
	if err == nil {
		err = c.r.sameServer(state, c.of)
	}
	if err != nil {
		closeConn(conn)
		return nil, err
	}
	return conn, nil
}

// confirm lets the slot forget what is before to, which must be durable. The slot is free when it returns nil.
func (c *confirmer) confirm(ctx context.Context, to change.LSN) error {
	ctx, done := context.WithTimeout(ctx, confirmWithin)
	defer done()
	conn, err := c.connection(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	frontend := conn.Frontend()
	frontend.SendQuery(&pgproto3.Query{String: c.start})
	frontend.Send(&pgproto3.CopyData{Data: encodeStatus(to, to, time.Now(), false)[copyHeader:]})
	frontend.Send(&pgproto3.CopyDone{})
	if err := frontend.Flush(); err != nil {
		return c.failed(err)
	}
	return c.answer(ctx, conn)
}

func (c *confirmer) answer(ctx context.Context, conn *pgconn.PgConn) (err error) {
	ended := false // by our word, which came after the position
	for {
		msg, broken := conn.ReceiveMessage(ctx)
		if broken != nil {
			return c.failed(broken)
		}
		switch msg := msg.(type) {
		case *pgproto3.ErrorResponse:
			err = pgconn.ErrorResponseToPgError(msg)
		case *pgproto3.ReadyForQuery:
			if err == nil && !ended {
				return c.failed(errors.New("the server ended the stream by itself"))
			}
			return err
		case *pgproto3.CopyDone:
			ended = true
		case *pgproto3.CopyBothResponse, *pgproto3.CommandComplete, *pgproto3.CopyData, *pgproto3.NoticeResponse, *pgproto3.ParameterStatus:
		default:
			return fault.New(fault.Bug, "confirm slot", c.r.Slot, "", "the server answered with %T", msg)
		}
	}
}

func (c *confirmer) failed(err error) error {
	return fault.New(fault.Transient, "confirm slot", c.r.Slot, "", "%w", err)
}

// close lets go of what was dialled ahead.
func (c *confirmer) close() {
	c.hangUp()
	if c.next == nil {
		return
	}
	if conn := <-c.next; conn != nil {
		closeConn(conn)
	}
}
