package capture

import (
	"log/slog"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
)

const (
	// idleMarker is how long nothing may come before a marker is written.
	idleMarker = time.Minute
	// markerBytes is how much WAL the source must have written meanwhile: on a server at rest there is nothing to let go.
	markerBytes = 1 << 20
	// MarkerPrefix is the prefix of the messages that are written to an idle database.
	MarkerPrefix = contract.MarkerPrefix + "-idle"
)

// idleness is when and where the stream came to rest.
type idleness struct {
	transactions int64
	since        time.Time
	at           change.LSN
}

// stir writes a marker to a database in which nothing has happened for a while, on a server that is at work: the commit
// comes through the slot, and lets it go on, whatever the server makes of keepalives. At most one in IdleMarker.
func (s *session) stir(now time.Time) {
	i, p := &s.idle, &s.r.progress
	every := s.r.IdleMarker
	if every <= 0 {
		every = idleMarker
	}
	if i.since.IsZero() || p.Transactions != i.transactions || s.inTx {
		i.since, i.transactions, i.at = now, p.Transactions, p.ServerEnd
		return
	}
	if s.r.noMarker.Load() || now.Sub(i.since) < every || i.at.BytesBehind(p.ServerEnd) < markerBytes {
		return
	}
	i.since, i.at = now, p.ServerEnd
	s.asides.Go(s.writeMarker)
}

func (s *session) writeMarker() {
	conn, err := pgkit.Dial(s.asideCtx, s.r.Source, "receiver")
	if err == nil {
		defer closeConn(conn.PgConn())
		_, err = conn.Exec(s.asideCtx, "SELECT pg_catalog.pg_logical_emit_message(true, $1, '')", MarkerPrefix)
	}
	switch {
	case err == nil || s.asideCtx.Err() != nil:
		return
	case sqlState(err) == "42501" || sqlState(err) == "25006" || sqlState(err) == "55000": // no privilege, read only, in recovery
		s.r.noMarker.Store(true)
	}
	s.r.Log.LogAttrs(s.asideCtx, slog.LevelWarn, "no marker was written", slog.String("slot", s.r.Slot), slog.Any("err", err))
}
