package capture

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/change"
	"timeferry/internal/fault"
)

// Codes of a source that is not the one that was received from.
const (
	// CodeOtherSource: another database system answers, though its slot may have the same name.
	CodeOtherSource = "other-source"
	// CodeDiverged: the source's history lacks something that was received, as after a failover that lost it.
	CodeDiverged = "source-diverged"
)

// server is one life of one server.
type server struct {
	started string
	version int // server_version_num
}

// origin says whose positions the spool's are. An LSN means something within one system and along one line of history only.
type origin struct {
	System   string `json:"system"`
	Timeline int32  `json:"timeline"`
}

// recognise makes sure that the server is the one that the spool was received from, or has taken its place without a loss,
// and returns the end of its WAL. What it learns is kept with the spool before anything is received.
func (r *Receiver) recognise(ctx context.Context, conn *pgconn.PgConn) (flushed change.LSN, err error) {
	is, err := pglogrepl.IdentifySystem(ctx, conn)
	if err != nil {
		return 0, fmt.Errorf("identify the source: %w", err)
	}
	flushed = change.LSN(is.XLogPos)
	now := origin{System: is.SystemID, Timeline: is.Timeline}
	text, err := r.Spool.Source()
	if err != nil {
		return 0, err
	}
	if text != "" {
		var known origin
		if err := json.Unmarshal([]byte(text), &known); err != nil {
			return 0, fault.New(fault.Integrity, "recognise the source of", r.Slot, "", "the note in the spool: %w", err)
		}
		if err := r.compare(ctx, conn, known, now); err != nil {
			return 0, err
		}
	}
	if err := r.complete(ctx, conn, flushed); err != nil {
		return 0, err
	}
	note, err := json.Marshal(now)
	if err != nil || string(note) == text {
		return flushed, err
	}
	return flushed, r.Spool.SetSource(string(note))
}

// compare lets another timeline pass if it left the known one after everything that was received.
func (r *Receiver) compare(ctx context.Context, conn *pgconn.PgConn, known, now origin) error {
	if known.System != now.System {
		return r.notTheSource(CodeOtherSource, "the server is another system (%s) than the one that was received from (%s)", now.System, known.System)
	}
	if known.Timeline == now.Timeline {
		return nil
	}
	left, ok := change.LSN(0), false
	if now.Timeline > known.Timeline {
		history, err := pglogrepl.TimelineHistory(ctx, conn, now.Timeline)
		if err != nil {
			return fmt.Errorf("read the history of timeline %d: %w", now.Timeline, err)
		}
		if left, ok, err = leftAt(string(history.Content), known.Timeline); err != nil {
			return err
		}
	}
	durable := r.Spool.Durable()
	switch {
	case !ok:
		return r.notTheSource(CodeDiverged, "the server is on timeline %d, which does not come from timeline %d, which was received from", now.Timeline, known.Timeline)
	case durable > left:
		return r.notTheSource(CodeDiverged, "the server left timeline %d at %s, and changes up to %s were received from that", known.Timeline, left, durable)
	}
	return nil
}

// complete refuses a server whose WAL ends before what was received. One in recovery may get there yet.
func (r *Receiver) complete(ctx context.Context, conn *pgconn.PgConn, flushed change.LSN) error {
	durable := r.Spool.Durable()
	if durable <= flushed {
		return nil
	}
	results, err := conn.Exec(ctx, "SELECT pg_catalog.pg_is_in_recovery()").ReadAll()
	if err != nil {
		return fmt.Errorf("ask the source whether it recovers: %w", err)
	}
	if len(results) == 1 && len(results[0].Rows) == 1 && string(results[0].Rows[0][0]) == "t" {
		return fault.New(fault.NotReady, "receive from slot", r.Slot, "", "the source recovers, and is at %s, before %s", flushed, durable)
	}
	return r.notTheSource(CodeDiverged, "its WAL ends at %s, and changes up to %s were received", flushed, durable)
}

func (r *Receiver) notTheSource(code, format string, args ...any) error {
	return fault.New(fault.Integrity, "receive from slot", r.Slot,
		"connect to the server that the migration began with; if it is gone, what was received and what the new server has do not fit: abort, then start again",
		format, args...).WithCode(code)
}

// leftAt finds in a timeline's history where it left an earlier one: lines of "timeline, position, reason".
func leftAt(history string, timeline int32) (at change.LSN, ok bool, err error) {
	for line := range strings.Lines(history) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != fmt.Sprint(timeline) {
			continue
		}
		at, err = change.ParseLSN(fields[1])
		return at, err == nil, err
	}
	return 0, false, nil
}
