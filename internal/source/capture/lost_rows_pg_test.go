package capture_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/source/capture"
	"timeferry/internal/spool"
	"timeferry/internal/testkit/pgtest"
)

// The cases in which tools of this kind are known to lose rows, in each of the ways to receive.

// inBothWays runs a case with a receiver that only streams, and with one that takes every rest in bulk.
func inBothWays(t *testing.T, name string, run func(t *testing.T, s *stream, receiver func(*spool.Spool) *capture.Receiver)) {
	t.Helper()
	t.Run("stream", func(t *testing.T) {
		s := newStream(t, pgtest.Source(t), name+"_stream")
		run(t, s, func(sp *spool.Spool) *capture.Receiver {
			r := s.receiver(sp)
			r.OnlyStream()
			return r
		})
	})
	t.Run("bulk", func(t *testing.T) {
		s := newStream(t, pgtest.Source(t), name+"_bulk")
		run(t, s, func(sp *spool.Spool) *capture.Receiver {
			r := s.receiver(sp)
			r.SetBacklogLimits(1, 1, 256<<10, 64<<10, 1<<30)
			return r
		})
	})
}

// inserted lists the bodies of the rows that the spool has, in their order.
func inserted(t *testing.T, sp *spool.Spool) (bodies []string) {
	t.Helper()
	for _, e := range eventsOf(t, sp) {
		if strings.HasPrefix(e, "I ") {
			_, rest, _ := strings.Cut(e, "body=")
			body, _, _ := strings.Cut(rest, "]")
			bodies = append(bodies, body)
		}
	}
	return bodies
}

// Rows of one COPY may share an LSN: each is a change of its own.
func TestOneCopyOfFourRows(t *testing.T) {
	inBothWays(t, "copy", func(t *testing.T, s *stream, receiver func(*spool.Spool) *capture.Receiver) {
		n, err := s.src.Conn(t).CopyFrom(context.Background(), pgx.Identifier{"events"}, []string{"worker", "seq", "body"},
			pgx.CopyFromRows([][]any{{1, 1, "a"}, {1, 2, "b"}, {1, 3, "c"}, {1, 4, "d"}}))
		require.NoError(t, err)
		require.EqualValues(t, 4, n)
		sp := s.open(t, spool.Options{})
		run := start(t, receiver(sp))
		s.awaitAll(t, sp)
		run.stop(t)
		require.Equal(t, []string{"a", "b", "c", "d"}, inserted(t, sp))
		require.Equal(t, 1, s.requireSame(t, sp))
	})
}

// Transactions that begin in one order and commit in another arrive in the order of their commits, and all of them.
func TestBeginAndCommitInDifferentOrders(t *testing.T) {
	inBothWays(t, "orders", func(t *testing.T, s *stream, receiver func(*spool.Spool) *capture.Receiver) {
		ctx := context.Background()
		sp := s.open(t, spool.Options{})
		run := start(t, receiver(sp))
		const n = 5
		var open []*pgx.Conn
		for i := range n {
			conn := s.src.Conn(t)
			_, err := conn.Exec(ctx, fmt.Sprintf(`BEGIN; INSERT INTO events VALUES (%d, 1, 'tx %d')`, i, i), pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err)
			open = append(open, conn)
			if i%2 == 0 { // the position goes on while they are open
				s.src.Exec(t, `INSERT INTO unpublished VALUES (1)`)
				s.awaitAll(t, sp)
			}
		}
		var want []string
		for _, i := range []int{3, 0, 4, 2, 1} {
			_, err := open[i].Exec(ctx, `COMMIT`)
			require.NoError(t, err)
			want = append(want, fmt.Sprintf("tx %d", i))
		}
		s.awaitAll(t, sp)
		run.stop(t)
		require.Equal(t, want, inserted(t, sp))
		require.Equal(t, n, s.requireSame(t, sp))
	})
}

// While commits wait for room on the disk, the server's keepalives go on past them. The slot must not.
func TestKeepalivePastUnappliedCommits(t *testing.T) {
	inBothWays(t, "keepalive", func(t *testing.T, s *stream, receiver func(*spool.Spool) *capture.Receiver) {
		sp := s.open(t, spool.Options{Limit: 1 << 20})
		for i := range 30 {
			s.src.Exec(t, `INSERT INTO events SELECT $1, i, repeat('x', 1000) FROM generate_series(1, 100) i`, i)
		}
		last := s.currentLSN(t)
		run := start(t, receiver(sp))
		await(t, "paused", func() bool { return run.progress().Paused != "" })
		for range 5 {
			s.src.Exec(t, `INSERT INTO unpublished SELECT generate_series(1, 10000)`)
			require.Less(t, s.confirmed(t), last, "the last commits are not durable")
			require.LessOrEqual(t, s.confirmed(t), sp.Durable())
		}
		require.Less(t, sp.Durable(), last)
		reader, err := sp.NewReader(0)
		require.NoError(t, err)
		require.Equal(t, 30, s.readAndPrune(t, sp, reader, 30))
		require.NoError(t, reader.Close())
		await(t, "confirmed", func() bool { return s.confirmed(t) >= last })
		run.stop(t)
	})
}

// The receiver is stopped at a position that a transaction, which began before, commits after.
func TestEndReachedWhileCommitsAreOpen(t *testing.T) {
	inBothWays(t, "open", func(t *testing.T, s *stream, receiver func(*spool.Spool) *capture.Receiver) {
		ctx := context.Background()
		conn := s.src.Conn(t)
		_, err := conn.Exec(ctx, `BEGIN; INSERT INTO events VALUES (1, 1, 'open')`, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
		s.src.Exec(t, `INSERT INTO events VALUES (2, 1, 'committed'); INSERT INTO unpublished VALUES (1)`)
		sp := s.open(t, spool.Options{})
		run := start(t, receiver(sp))
		s.awaitAll(t, sp)
		end := sp.Durable()
		run.stop(t)
		require.Equal(t, []string{"committed"}, inserted(t, sp))
		_, err = conn.Exec(ctx, `INSERT INTO events VALUES (1, 2, 'still open'); COMMIT`, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
		run = start(t, receiver(sp))
		s.awaitAll(t, sp)
		run.stop(t)
		require.Greater(t, sp.Durable(), end)
		require.Equal(t, []string{"committed", "open", "still open"}, inserted(t, sp))
		require.Equal(t, 2, s.requireSame(t, sp))
	})
}
