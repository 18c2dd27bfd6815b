package capture

import (
	"context"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
)

// gaugeEvery is how often the source is asked what a call takes.
const gaugeEvery = 100 * time.Millisecond

// gauge looks, beside a call that collects its result on the source, at how much of that lies in temporary files. What WAL expands to
// is not known before: a call that takes too much is cancelled. It may be used for one call at a time; close it.
type gauge struct {
	r     *Receiver
	blind bool // the source does not let us look; not while a call is watched
	conn  *pgconn.PgConn
}

// watch looks until ctx ends or coming says that the result is there. The channel then tells whether the call was cancelled.
func (g *gauge) watch(ctx context.Context, call *pgconn.PgConn, coming *atomic.Bool) <-chan bool {
	cancelled := make(chan bool, 1)
	if g.blind {
		cancelled <- false
		return cancelled
	}
	go func() { cancelled <- g.exceeded(ctx, call, coming) }()
	return cancelled
}

func (g *gauge) exceeded(ctx context.Context, call *pgconn.PgConn, coming *atomic.Bool) bool {
	for {
		if pgkit.Sleep(ctx, gaugeEvery) != nil || coming.Load() {
			return false
		}
		taken, err := g.ask(ctx, call.PID())
		switch {
		case ctx.Err() != nil:
			return false
		case err != nil:
			g.blind = true
			g.r.Log.LogAttrs(ctx, slog.LevelInfo, "the source does not say what it takes in temporary files: a backlog is taken in smaller calls",
				slog.String("slot", g.r.Slot), slog.Any("err", err))
			return false
		case taken <= 2*g.r.rule().peekBytes || coming.Load():
			continue
		}
		asking, done := context.WithTimeout(ctx, 2*time.Second)
		defer done()
		return call.CancelRequest(asking) == nil // else the call goes on, and is none the worse
	}
}

// ask reads the size of a session's temporary files, in all tablespaces. Members of pg_monitor may.
func (g *gauge) ask(ctx context.Context, pid uint32) (int64, error) {
	if g.conn == nil || g.conn.IsClosed() {
		conn, err := pgkit.Dial(ctx, g.r.Source, "receiver")
		if err != nil {
			return 0, err
		}
		g.conn = conn.PgConn()
	}
	results, err := g.conn.Exec(ctx, "SELECT coalesce(sum(f.size), 0)::bigint FROM pg_catalog.pg_tablespace t, pg_catalog.pg_ls_tmpdir(t.oid) f"+
		" WHERE t.spcname <> 'pg_global' AND f.name LIKE 'pgsql_tmp"+strconv.FormatUint(uint64(pid), 10)+".%'").ReadAll()
	if err != nil {
		return 0, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return 0, fault.New(fault.Bug, "read temporary files", g.r.Slot, "", "the query gave no row")
	}
	return strconv.ParseInt(string(results[0].Rows[0][0]), 10, 64)
}

func (g *gauge) close() {
	if g.conn != nil {
		closeConn(g.conn)
	}
}
