package prepare_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"timeferry/internal/pgkit"
	"timeferry/internal/source/prepare"
	"timeferry/internal/testkit/pgtest"
)

// standby receives the server's WAL as a standby does, and says how far it has replayed it.
type standby struct {
	conn               *pgconn.PgConn
	received, replayed pglogrepl.LSN
}

func newStandby(t *testing.T, src *pgtest.Database) *standby {
	t.Helper()
	conn, err := pgkit.DialReplication(t.Context(), src.Endpoint, "standby of a test")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	system, err := pglogrepl.IdentifySystem(t.Context(), conn)
	require.NoError(t, err)
	conn.Frontend().SendQuery(&pgproto3.Query{String: fmt.Sprintf("START_REPLICATION PHYSICAL %s TIMELINE %d", system.XLogPos, system.Timeline)})
	require.NoError(t, conn.Frontend().Flush())
	for {
		message, err := conn.ReceiveMessage(t.Context())
		require.NoError(t, err)
		if _, begun := message.(*pgproto3.CopyBothResponse); begun {
			break
		}
	}
	return &standby{conn: conn, received: system.XLogPos}
}

// follow receives for a while. With replays it keeps up; otherwise what it has replayed stays where it was.
func (s *standby) follow(t *testing.T, so time.Duration, replays bool) {
	t.Helper()
	for end := time.Now().Add(so); time.Now().Before(end); {
		s.receive(t)
		if replays {
			s.replayed = s.received
		}
		require.NoError(t, pglogrepl.SendStandbyStatusUpdate(t.Context(), s.conn, pglogrepl.StandbyStatusUpdate{
			WALWritePosition: s.received, WALFlushPosition: s.received, WALApplyPosition: s.replayed}))
	}
}

func (s *standby) receive(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	message, err := s.conn.ReceiveMessage(ctx)
	if errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) {
		return
	}
	require.NoError(t, err)
	data, ok := message.(*pgproto3.CopyData)
	if !ok || data.Data[0] != pglogrepl.XLogDataByteID {
		return
	}
	wal, err := pglogrepl.ParseXLogData(data.Data[1:])
	require.NoError(t, err)
	s.received = max(s.received, wal.WALStart+pglogrepl.LSN(len(wal.WALData)))
}

// A standby that falls behind shows, from the oldest version to a new one; one that keeps up does not.
func TestPressureSeesAStandbyThatFallsBehind(t *testing.T) {
	for _, major := range []int{12, 17} {
		src := pgtest.OwnSourceOf(t, major, nil)
		replica := newStandby(t, src)
		watcher := src.Conn(t)
		write := func() {
			src.Exec(t, "CREATE TABLE IF NOT EXISTS written (v text); INSERT INTO written SELECT repeat('x', 100) FROM generate_series(1, 100)")
		}
		write()
		replica.follow(t, time.Second, true)
		p, err := prepare.ReadPressure(t.Context(), watcher)
		require.NoError(t, err)
		require.Less(t, p.ReplicaLag, time.Second, "it keeps up")
		write()
		replica.follow(t, 2*time.Second, false)
		p, err = prepare.ReadPressure(t.Context(), watcher)
		require.NoError(t, err)
		require.Greater(t, p.ReplicaLag, time.Second, "it has not replayed for two seconds")
	}
}
