package capture

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/spool"
)

// Codes of the errors that callers tell apart.
const (
	// CodeSlotLost: the slot is gone, or the source has removed WAL that it needs.
	CodeSlotLost = "slot-lost"
	// CodeNoPublication: the publication is gone.
	CodeNoPublication = "publication-missing"
)

// slotSQL is run on the replication connection itself, so that what it says is of the server that will stream.
// wal_status came with 13.
const slotSQL = `SELECT current_setting('server_version_num'),
	coalesce((SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'), '60000'),
	s.slot_name IS NOT NULL, coalesce(s.plugin, ''), coalesce(to_jsonb(s) ->> 'wal_status', ''), coalesce(s.confirmed_flush_lsn::text, '0/0')
	FROM (VALUES (1)) one(n) LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = `

// slotState is slotSQL's row.
type slotState struct {
	serverVersion int
	senderTimeout time.Duration // 0: none
	exists        bool
	plugin        string
	walStatus     string
	confirmed     change.LSN
}

// connect opens the replication connection, checks the slot, and starts the stream.
func (r *Receiver) connect(ctx context.Context) (*session, error) {
	conn, err := pgkit.DialReplication(ctx, r.Source, "receiver")
	if err != nil {
		return nil, err
	}
	state, start, err := r.start(ctx, conn)
	if err != nil {
		closeConn(conn)
		return nil, err
	}
	return newSession(r, conn, state, start), nil
}

func (r *Receiver) start(ctx context.Context, conn *pgconn.PgConn) (slotState, change.LSN, error) {
	state, err := readSlot(ctx, conn, r.Slot)
	if err != nil {
		return state, 0, fmt.Errorf("read slot %s: %w", r.Slot, err)
	}
	if r.ServerVersion != 0 {
		state.serverVersion = r.ServerVersion
	}
	if err := r.checkSlot(state); err != nil {
		return state, 0, err
	}
	if err := r.Spool.StartAt(state.confirmed); err != nil { // only the first connection of an empty spool does something
		return state, 0, err
	}
	start := max(r.Spool.Durable(), state.confirmed)
	args := []string{"proto_version '1'", "publication_names " + ident.Literal(ident.Columns(r.Publications))}
	if state.serverVersion >= 140000 {
		args = append(args, "messages 'true'")
	}
	startCtx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err = pglogrepl.StartReplication(startCtx, conn, ident.Quote(r.Slot), pglogrepl.LSN(start), pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication, PluginArgs: args})
	if err != nil {
		return state, 0, fmt.Errorf("start replication: %w", r.explain(err, true))
	}
	return state, start, nil
}

// checkSlot finds out in time what the stream would only fail on, or worse, go past.
func (r *Receiver) checkSlot(state slotState) error {
	durable := r.Spool.Durable()
	switch {
	case !state.exists:
		return r.slotLost(errors.New("there is no such slot"))
	case state.walStatus == "lost":
		return r.slotLost(errors.New("the source has removed WAL that it needs (max_slot_wal_keep_size)"))
	case state.plugin != "pgoutput":
		return fault.New(fault.Operator, "stream from slot", r.Slot, "", "its plugin is %q, want pgoutput", state.plugin)
	case durable != 0 && state.confirmed > durable:
		return fault.New(fault.Integrity, "stream from slot", r.Slot, "somebody else read from the slot, or the worker's disk was set back: abort, then start again",
			"it is confirmed up to %s, and the spool ends at %s", state.confirmed, durable).WithCode(spool.CodeGap)
	}
	return nil
}

func (r *Receiver) slotLost(cause error) error {
	return fault.New(fault.Operator, "stream from slot", r.Slot, "changes are lost for good: abort, then start again", "%w", cause).WithCode(CodeSlotLost)
}

func readSlot(ctx context.Context, conn *pgconn.PgConn, slot string) (state slotState, err error) {
	results, err := conn.Exec(ctx, slotSQL+ident.Literal(slot)).ReadAll()
	if err != nil {
		return state, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 6 {
		return state, fault.New(fault.Bug, "read slot", slot, "", "the query gave no row")
	}
	row := results[0].Rows[0]
	var timeoutMillis int64
	state.serverVersion, err = strconv.Atoi(string(row[0]))
	if err == nil {
		timeoutMillis, err = strconv.ParseInt(string(row[1]), 10, 64)
	}
	if err == nil {
		state.confirmed, err = change.ParseLSN(string(row[5]))
	}
	state.senderTimeout = time.Duration(timeoutMillis) * time.Millisecond
	state.exists, state.plugin, state.walStatus = string(row[2]) == "t", string(row[3]), string(row[4])
	return state, err
}

// explain gives the stream's errors from the server their meaning.
func (r *Receiver) explain(err error, starting bool) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch {
	case pg.Code == "42704" && starting, // the slot does not exist
		pg.Code == "58P01": // a WAL segment is gone; servers before 13 say no more
		return r.slotLost(err)
	case pg.Code == "42704":
		return fault.New(fault.Operator, "stream from slot", r.Slot, "make the publication again, then resume; or abort, then start again", "%w", err).WithCode(CodeNoPublication)
	}
	return err
}

// closeConn ends the connection politely, which frees the slot at once; a server that does not answer is left alone.
func closeConn(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // nothing depends on how the goodbye was taken
}
