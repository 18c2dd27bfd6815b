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

// slotSQL is run on the receiving connection itself, so that what it says is of the server that will give the changes.
// wal_status came with 13. An ordinary connection also asks for the end of the WAL; the other knows it by IDENTIFY_SYSTEM.
const (
	slotSQL = `SELECT current_setting('server_version_num'),
	coalesce((SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'), '60000'),
	s.slot_name IS NOT NULL, coalesce(s.plugin, ''), coalesce(to_jsonb(s) ->> 'wal_status', ''), coalesce(s.confirmed_flush_lsn::text, '0/0'),
	coalesce(s.restart_lsn::text, '0/0'), coalesce(s.active_pid, 0) <> 0, pg_catalog.pg_postmaster_start_time()::text,
	(extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint,
	(SELECT coalesce(bool_or(pg_catalog.has_function_privilege(p.oid, 'EXECUTE')), false) FROM pg_catalog.pg_proc p
		WHERE p.proname = 'pg_log_standby_snapshot' AND p.pronamespace = 'pg_catalog'::regnamespace), `
	flushedSQL  = `CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_flush_lsn() END`
	fromSlotSQL = `
	FROM (VALUES (1)) one(n) LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = `
)

// slotState is slotSQL's row.
type slotState struct {
	serverVersion int
	senderTimeout time.Duration // 0: none
	exists        bool
	plugin        string
	walStatus     string
	confirmed     change.LSN
	restart       change.LSN // where decoding has to begin: 0 when not known
	active        bool
	started       string // the server's start: tells servers apart, and lives of a server
	now           time.Time
	snapshots     bool // we may ask for a record of the running transactions (pg_log_standby_snapshot)
	flushed       change.LSN
}

// way is one of the two ways to receive, ready to run until it ends.
type way func(ctx context.Context, onProgress func(Progress)) error

// connect opens the replication connection, recognises the source, checks the slot, and starts the stream; or chooses to
// take the backlog in bulk first.
func (r *Receiver) connect(ctx context.Context) (way, error) {
	conn, err := pgkit.DialReplication(ctx, r.Source, "receiver")
	if err != nil {
		return nil, err
	}
	state, start, err := r.prepare(ctx, conn)
	if err == nil && r.bulk(start, state) {
		of := server{started: state.started, version: state.serverVersion}
		return func(ctx context.Context, onProgress func(Progress)) error {
			return r.runDrain(ctx, of, conn, onProgress)
		}, nil
	}
	watch := pgkit.NewWatch(r.Source, r.Silence, r.Log)
	if err == nil {
		err = watch.Start(ctx, conn)
	}
	if err == nil {
		err = r.stream(ctx, conn, state, start)
	}
	if err != nil {
		watch.Close()
		closeConn(conn)
		return nil, err
	}
	return func(ctx context.Context, onProgress func(Progress)) error {
		s, err := newSession(ctx, r, conn, state, start)
		if err != nil {
			watch.Close()
			closeConn(conn)
			return err
		}
		s.watch = watch
		return s.run(ctx, onProgress)
	}, nil
}

// prepare finds out where to go on.
func (r *Receiver) prepare(ctx context.Context, conn *pgconn.PgConn) (state slotState, start change.LSN, err error) {
	flushed, err := r.recognise(ctx, conn)
	if err != nil {
		return state, 0, err
	}
	if state, err = readSlot(ctx, conn, r.Slot, false); err != nil {
		return state, 0, fmt.Errorf("read slot %s: %w", r.Slot, err)
	}
	state.flushed = flushed
	if r.ServerVersion != 0 {
		state.serverVersion = r.ServerVersion
	}
	if err := r.checkSlot(state); err != nil {
		return state, 0, err
	}
	if r.pluginName() == wal2jsonPlugin {
		if err := r.prepareJSON(ctx, conn); err != nil {
			return state, 0, err
		}
	}
	if err := r.Spool.StartAt(state.confirmed); err != nil { // only the first connection of an empty spool does something
		return state, 0, err
	}
	return state, max(r.Spool.Durable(), state.confirmed), nil
}

// stream starts the stream.
func (r *Receiver) stream(ctx context.Context, conn *pgconn.PgConn, state slotState, start change.LSN) error {
	args := startArgs(r.newPlugin(ctx, state.serverVersion).options(r.Spool.Dir() != ""))
	startCtx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := pglogrepl.StartReplication(startCtx, conn, ident.Quote(r.Slot), pglogrepl.LSN(start), pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication, PluginArgs: args})
	if err != nil {
		return fmt.Errorf("start replication: %w", r.explain(err, true))
	}
	return nil
}

// startArgs are a plugin's options as START_REPLICATION takes them.
func startArgs(options []string) []string {
	args := make([]string, 0, len(options)/2)
	for i := 0; i < len(options); i += 2 {
		args = append(args, ident.Quote(options[i])+" "+ident.Literal(options[i+1]))
	}
	return args
}

// checkSlot finds out in time what the stream would only fail on, or worse, go past.
func (r *Receiver) checkSlot(state slotState) error {
	durable := r.Spool.Durable()
	switch {
	case !state.exists:
		return r.slotLost(errors.New("there is no such slot"))
	case state.walStatus == "lost":
		return r.slotLost(errors.New("the source has removed WAL that it needs (max_slot_wal_keep_size)"))
	case state.plugin != r.pluginName():
		return fault.New(fault.Operator, "stream from slot", r.Slot, "", "its plugin is %q, want %s", state.plugin, r.pluginName())
	case durable != 0 && state.confirmed > durable:
		return fault.New(fault.Integrity, "stream from slot", r.Slot, "somebody else read from the slot, or the worker's disk was set back or is damaged at the spool's end: resync, or abort",
			"it is confirmed up to %s, and the spool ends at %s", state.confirmed, durable).WithCode(spool.CodeGap)
	}
	return nil
}

func (r *Receiver) slotLost(cause error) error {
	return fault.New(fault.Operator, "stream from slot", r.Slot, "changes are lost for good: resync makes a fresh slot and copy; or abort", "%w", cause).WithCode(CodeSlotLost)
}

func readSlot(ctx context.Context, conn *pgconn.PgConn, slot string, ordinary bool) (state slotState, err error) {
	flushed := "NULL"
	if ordinary {
		flushed = flushedSQL
	}
	results, err := conn.Exec(ctx, slotSQL+flushed+fromSlotSQL+ident.Literal(slot)).ReadAll()
	if err != nil {
		return state, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 12 {
		return state, fault.New(fault.Bug, "read slot", slot, "", "the query gave no row")
	}
	return parseSlot(results[0].Rows[0])
}

func parseSlot(row [][]byte) (state slotState, err error) {
	number := func(b []byte) (n int64) {
		if err == nil {
			n, err = strconv.ParseInt(string(b), 10, 64)
		}
		return n
	}
	position := func(b []byte) (lsn change.LSN) {
		if err == nil && b != nil {
			lsn, err = change.ParseLSN(string(b))
		}
		return lsn
	}
	state = slotState{serverVersion: int(number(row[0])), senderTimeout: time.Duration(number(row[1])) * time.Millisecond,
		exists: string(row[2]) == "t", plugin: string(row[3]), walStatus: string(row[4]), confirmed: position(row[5]), restart: position(row[6]),
		active: string(row[7]) == "t", started: string(row[8]), now: time.UnixMicro(number(row[9])).UTC(), snapshots: string(row[10]) == "t", flushed: position(row[11])}
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
		return r.noPublication(err)
	}
	return err
}

// missing is the error for a warning that a publication is not there: from 18 on the server passes over changes then, and says no
// more than that. nil for every other notice.
func (r *Receiver) missing(severity, code, message string) error {
	if severity != "WARNING" || code != "55000" {
		return nil
	}
	return r.noPublication(errors.New(message))
}

func (r *Receiver) noPublication(cause error) error {
	return fault.New(fault.Operator, "stream from slot", r.Slot, "make the publication again, then resume; or abort, then start again", "%w", cause).WithCode(CodeNoPublication)
}

// closeConn ends the connection politely, which frees the slot at once; a server that does not answer is left alone.
func closeConn(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // nothing depends on how the goodbye was taken
}
