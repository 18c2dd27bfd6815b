package stream

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/testkit/pgtest"
)

// The cases in which another tool is known to lose rows, or to make some up, from the source's log to the target's tables.
func TestRowsThatOthersLose(t *testing.T) {
	w := newWorld(t, pgtest.OwnSource, false)
	w.config.SegmentBytes = 16 << 10
	for _, c := range []struct {
		name string
		lose func(*world, *testing.T)
	}{
		{"one COPY of four rows", (*world).oneCopy},
		{"BEGIN and COMMIT in different orders", (*world).crossedCommits},
		{"keepalive past commits that are not applied", (*world).keepaliveAhead},
		{"end reached while commits are open", (*world).openAtTheEnd},
		{"apply stopped and continued", (*world).stoppedAndContinued},
		{"one of several equal rows", (*world).oneOfEqualRows},
		{"TRUNCATE of several tables", (*world).truncateSeveral},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, w.renew())
			c.lose(w, t)
			require.NoError(t, w.barrier())
			require.NoError(t, w.same())
		})
	}
}

func (w *world) exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err, sql)
}

func (w *world) targetHas(t *testing.T, want, sql string) {
	t.Helper()
	require.NoError(t, w.barrier())
	require.Equal(t, want, w.target.QueryValue(t, sql))
}

// oneCopy: all rows of a COPY have one position in the log, so that nothing may go by positions alone.
func (w *world) oneCopy(t *testing.T) {
	for _, table := range []string{"kept (id, v)", "bag (a, b)", "keyed (id, code)"} {
		_, err := w.onSource.PgConn().CopyFrom(t.Context(), strings.NewReader("1\tone\n2\ttwo\n3\tthree\n4\tfour\n"), "COPY "+table+" FROM STDIN")
		require.NoError(t, err)
	}
	_, err := w.onSource.PgConn().CopyFrom(t.Context(), strings.NewReader(strings.Repeat("1\tsame\n", 4)), "COPY bag (a, b) FROM STDIN")
	require.NoError(t, err)
	w.targetHas(t, "4|8|4", "SELECT (SELECT count(*) FROM kept), (SELECT count(*) FROM bag), (SELECT count(*) FROM keyed)")
}

// crossedCommits: transactions that begin in one order and commit in another, the later ones between the writes of the first.
func (w *world) crossedCommits(t *testing.T) {
	conns := []*pgx.Conn{w.source.Conn(t), w.source.Conn(t), w.source.Conn(t)}
	for round := range 20 {
		for i, conn := range conns {
			w.exec(t, conn, fmt.Sprintf("BEGIN; INSERT INTO kept VALUES (%d, 'first of %d')", round, i))
		}
		w.exec(t, conns[2], "INSERT INTO kept VALUES (1, 'more'); COMMIT")
		w.exec(t, conns[0], "INSERT INTO kept VALUES (2, 'more')")
		w.exec(t, conns[1], "COMMIT")
		w.exec(t, conns[0], "COMMIT")
	}
	w.targetHas(t, "100", "SELECT count(*) FROM kept")
}

// keepaliveAhead: while the apply stands still the source speaks of positions far ahead of what is applied. The receiver and the
// apply are then ended, and go on by what is applied, not by what was heard of.
func (w *world) keepaliveAhead(t *testing.T) {
	require.NoError(t, w.pipeline.stopApply())
	for i := range 50 {
		w.exec(t, w.onSource, fmt.Sprintf("INSERT INTO kept VALUES (%d, 'waits')", i))
	}
	// Log that concerns no published table: only keepalives tell of it.
	w.exec(t, w.onSource, "CREATE TABLE IF NOT EXISTS unpublished (v text); INSERT INTO unpublished SELECT repeat('x', 100) FROM generate_series(1, 20000)")
	end := w.source.QueryValue(t, "SELECT pg_current_wal_flush_lsn()")
	require.Eventually(t, func() bool {
		return w.source.QueryValue(t, "SELECT confirmed_flush_lsn >= '"+end+"' FROM pg_replication_slots WHERE slot_name = '"+slotName+"'") == "t"
	}, 30*time.Second, 20*time.Millisecond, "the slot is confirmed by keepalives")
	dir := w.pipeline.Dir
	require.NoError(t, w.pipeline.stop())
	p, err := openPipeline(w.config, w.log)
	require.NoError(t, err)
	require.Equal(t, dir, p.Dir)
	w.pipeline = p
	p.receive()
	p.apply()
	w.targetHas(t, "50", "SELECT count(*) FROM kept")
}

// openAtTheEnd: the end of the log is reached, and waited for, while transactions are open that began before it and commit after.
func (w *world) openAtTheEnd(t *testing.T) {
	conns := []*pgx.Conn{w.source.Conn(t), w.source.Conn(t)}
	w.exec(t, conns[0], "BEGIN; INSERT INTO kept SELECT i, 'open' FROM generate_series(1, 2000) i")
	w.exec(t, conns[1], "BEGIN; INSERT INTO kept VALUES (1, 'prepared'); PREPARE TRANSACTION 'open'")
	w.targetHas(t, "0", "SELECT count(*) FROM kept")
	require.NoError(t, w.pipeline.stopApply())
	w.exec(t, conns[0], "COMMIT")
	w.exec(t, conns[1], "COMMIT PREPARED 'open'")
	w.pipeline.apply()
	w.targetHas(t, "2001", "SELECT count(*) FROM kept")
}

// stoppedAndContinued: the apply is stopped and started in the middle of a stream of inserts into a table without a key.
func (w *world) stoppedAndContinued(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	written := 0
	writing.Go(func() {
		conn := w.source.Conn(t)
		for ; ctx.Err() == nil; written++ {
			if _, err := conn.Exec(context.Background(), "INSERT INTO kept VALUES ($1, 'history')", written); err != nil {
				t.Errorf("write: %v", err)
				return
			}
		}
	})
	for range 10 {
		time.Sleep(20 * time.Millisecond) // some of the stream goes by
		require.NoError(t, w.pipeline.stopApply())
		w.pipeline.apply()
	}
	cancel()
	writing.Wait()
	w.targetHas(t, fmt.Sprint(written), "SELECT count(*) FROM kept")
}

// oneOfEqualRows: under REPLICA IDENTITY FULL one row of several equal ones is deleted or changed; in types without equality too.
func (w *world) oneOfEqualRows(t *testing.T) {
	w.exec(t, w.onSource, "INSERT INTO bag SELECT 1, NULL FROM generate_series(1, 5); INSERT INTO loose SELECT 1, '{}', '(1,1)', 'NaN', 'x', '<a/>' FROM generate_series(1, 5)")
	for _, table := range []string{"bag", "loose"} {
		w.exec(t, w.onSource, fmt.Sprintf("DELETE FROM %s WHERE ctid = (SELECT ctid FROM %[1]s LIMIT 1)", table))
		w.exec(t, w.onSource, fmt.Sprintf("UPDATE %s SET a = 2 WHERE ctid = (SELECT ctid FROM %[1]s LIMIT 1)", table))
	}
	w.targetHas(t, "3|1|3|1", `SELECT (SELECT count(*) FROM bag WHERE a = 1), (SELECT count(*) FROM bag WHERE a = 2),
		(SELECT count(*) FROM loose WHERE a = 1), (SELECT count(*) FROM loose WHERE a = 2)`)
}

// truncateSeveral: TRUNCATE names several tables, some by CASCADE, and keeps its flags.
func (w *world) truncateSeveral(t *testing.T) {
	w.exec(t, w.onSource, "INSERT INTO parent VALUES (1, 1); INSERT INTO child VALUES (1, 1, 1); INSERT INTO counted (v) VALUES (1), (2); INSERT INTO bag VALUES (1); "+
		"INSERT INTO metrics VALUES ('2024-01-01', 1), ('2024-03-01', 1); INSERT INTO parted VALUES (1, '2024-01-15'), (2, '2024-02-15')")
	w.targetHas(t, "1", "SELECT count(*) FROM child")
	w.exec(t, w.onSource, "TRUNCATE parent, counted, bag, metrics, parted RESTART IDENTITY CASCADE")
	w.targetHas(t, "0", "SELECT (SELECT count(*) FROM parent) + (SELECT count(*) FROM child) + (SELECT count(*) FROM counted) + (SELECT count(*) FROM bag) + "+
		"(SELECT count(*) FROM metrics) + (SELECT count(*) FROM parted)")
	require.Equal(t, "1", w.target.QueryValue(t, "INSERT INTO counted (v) VALUES (0) RETURNING id"), "RESTART IDENTITY was kept")
	w.target.Exec(t, "DELETE FROM counted")
}
