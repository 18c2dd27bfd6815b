package capture

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/change"
	"timeferry/internal/pgkit"
)

const (
	// landmarkEvery is how often the source is made to say which transactions run, and landmarkRetry how long it is left alone where
	// that took too long.
	landmarkEvery = 500 * time.Millisecond
	landmarkRetry = 10 * time.Second
	// landmarkFrom is how much WAL may be read again without it.
	landmarkFrom = 8 << 20
	// landmarkWithin is in milliseconds.
	landmarkWithin = 1000
)

// landmarks keeps what every call in bulk reads again small. A call begins where the slot restarts, which is where the server last wrote
// down which transactions run; by itself it does that every 15 seconds. It may be asked for from 16 on, by those who are let; beginning
// a slot has it written down for everybody, and a temporary one leaves nothing behind, however it ends. It is for one goroutine; close it.
type landmarks struct {
	r       *Receiver
	ctx     context.Context
	hangUp  context.CancelFunc
	running sync.WaitGroup
	busy    atomic.Bool // whoever sets it owns what follows
	conn    *pgconn.PgConn
	next    time.Time
	refused bool
}

func newLandmarks(ctx context.Context, r *Receiver) *landmarks {
	l := &landmarks{r: r}
	l.ctx, l.hangUp = context.WithCancel(ctx)
	return l
}

// set has one written beside what we do, if the slot restarts so far back that it pays. It never fails: without one, more is read again.
func (l *landmarks) set(state slotState, from change.LSN) {
	again := state.restart.BytesBehind(from)
	if state.restart == 0 || again < max(landmarkFrom, from.BytesBehind(state.flushed)) || !l.busy.CompareAndSwap(false, true) {
		return
	}
	now := time.Now()
	if l.refused || now.Before(l.next) {
		l.busy.Store(false)
		return
	}
	l.next = now.Add(landmarkEvery)
	l.running.Go(func() {
		defer l.busy.Store(false)
		l.took(l.write(state))
	})
}

func (l *landmarks) write(state slotState) error {
	if l.conn == nil || l.conn.IsClosed() {
		conn, err := pgkit.Dial(l.ctx, l.r.Source, "receiver")
		if err != nil {
			return err
		}
		l.conn = conn.PgConn()
	}
	_, err := l.conn.Exec(l.ctx, landmarkSQL(state, l.conn.PID())).ReadAll()
	return err
}

func (l *landmarks) took(err error) {
	switch {
	case err == nil || l.ctx.Err() != nil:
	case sqlState(err) == "" || sqlState(err) == "57014": // the connection; or a transaction that keeps the slot's restart back anyway
		l.next = time.Now().Add(landmarkRetry)
	default:
		l.refused = true
		l.r.Log.LogAttrs(l.ctx, slog.LevelInfo, "the source reads more again for each call than it would have to", slog.String("slot", l.r.Slot), slog.Any("err", err))
	}
}

func (l *landmarks) close() {
	l.hangUp()
	l.running.Wait()
	if l.conn != nil {
		closeConn(l.conn)
	}
}

// landmarkSQL is one transaction, which also ends the timeout.
func landmarkSQL(state slotState, pid uint32) string {
	if state.snapshots {
		return "SELECT pg_catalog.pg_log_standby_snapshot()"
	}
	name := "'timeferry_landmark_" + strconv.FormatUint(uint64(pid), 10) + "'"
	return "SET LOCAL statement_timeout = " + strconv.Itoa(landmarkWithin) +
		"; SELECT pg_catalog.pg_create_logical_replication_slot(" + name + ", '" + pgoutputPlugin + "', true); SELECT pg_catalog.pg_drop_replication_slot(" + name + ")"
}
