package capture_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/ident"
	"timeferry/internal/spool"
	"timeferry/internal/testkit/pgtest"
)

// Large transactions come before they commit, interleaved, with parts rolled back or altogether; into the spool they go whole, in the
// order of their commits, as without. The receiver is stopped in the middle of them.
func TestTransactionsUnderWay(t *testing.T) {
	for _, major := range []int{13, 14, 15, 16, 17, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			src := pgtest.SourceOf(t, major)
			s := newStream(t, src, fmt.Sprintf("underway_%d", major))
			src.Exec(t, `ALTER DATABASE `+ident.Quote(src.Endpoint.Database)+` SET logical_decoding_work_mem = '64kB'`)
			sp := s.open(t, spool.Options{})
			r := s.receiver(sp)
			r.OnlyStream()
			run := start(t, r)
			await(t, "begun", func() bool { return sp.Durable() != 0 })
			var conns []*pgx.Conn
			for i := range 4 {
				conns = append(conns, src.Conn(t))
				execAll(t, conns[i], `BEGIN`, insertRows(i, 0, 2000))
			}
			if major >= 14 {
				await(t, "they come before their commit", func() bool { return len(underWay(t, s.dir)) == 4 })
			}
			for i, conn := range conns {
				execAll(t, conn, `SAVEPOINT a`, insertRows(i, 2000, 1500), `SAVEPOINT b`, insertRows(i, 4000, 1500), `ROLLBACK TO a`, `RELEASE a`, `SAVEPOINT c`,
					insertRows(i, 6000, 1500), `RELEASE c`, fmt.Sprintf(`UPDATE events SET body = 'changed' WHERE worker = %d AND seq < 100`, i))
			}
			execAll(t, conns[0], `COMMIT`)
			execAll(t, conns[1], `ROLLBACK`)
			s.awaitAll(t, sp)
			run.stop(t) // two are under way
			require.Empty(t, underWay(t, s.dir), "nothing is left")
			src.Exec(t, insertRows(50, 0, 10))
			r = s.receiver(sp)
			r.OnlyStream()
			run = start(t, r)
			s.awaitAll(t, sp)
			execAll(t, conns[3], insertRows(3, 8000, 1500), `SELECT pg_logical_emit_message(true, 'timeferry', 'inside')`, `TRUNCATE unpublished`, `COMMIT`)
			src.Exec(t, insertRows(51, 0, 10))
			execAll(t, conns[2], insertRows(2, 8000, 1500), `COMMIT`)
			s.awaitAll(t, sp)
			run.stop(t)
			require.Empty(t, underWay(t, s.dir))
			require.GreaterOrEqual(t, s.requireSame(t, sp), 5) // before 15 the server sends transactions without changes too
		})
	}
}

// Transactions under way that find no room pause the receiver without its connection being lost, count with the spool, and go on when
// the applied part is removed.
func TestNoRoomForTransactionsUnderWay(t *testing.T) {
	src := pgtest.Source(t)
	s := newStream(t, src, "noroom")
	src.Exec(t, `ALTER DATABASE `+ident.Quote(src.Endpoint.Database)+` SET logical_decoding_work_mem = '64kB'`)
	src.Exec(t, `ALTER DATABASE `+ident.Quote(src.Endpoint.Database)+` SET wal_sender_timeout = '1500ms'`)
	const limit = 4 << 20
	sp := s.open(t, spool.Options{Limit: limit})
	r := s.receiver(sp)
	r.OnlyStream()
	run := start(t, r)
	for i := range 20 {
		src.Exec(t, insertRows(i, 0, 1000))
	}
	s.awaitAll(t, sp)
	const senderSQL = `SELECT pid || ' ' || backend_start FROM pg_stat_replication WHERE application_name = 'timeferry receiver'`
	sender := src.QueryValue(t, senderSQL)
	conn := src.Conn(t)
	execAll(t, conn, `BEGIN`, insertRows(50, 0, 20_000))
	await(t, "paused", func() bool { return run.progress().Paused != "" })
	require.Contains(t, run.progress().Paused, "quota")
	st := sp.Stats()
	require.Positive(t, st.BesideBytes)
	require.LessOrEqual(t, st.Bytes+st.BesideBytes, int64(limit))
	paused := time.Now()
	await(t, "a pause longer than the server waits for us", func() bool { return time.Since(paused) > 4*time.Second })
	require.Equal(t, sender, src.QueryValue(t, senderSQL), "the same connection")

	reader, err := sp.NewReader(0)
	require.NoError(t, err)
	require.Equal(t, 20, s.readAndPrune(t, sp, reader, 20))
	await(t, "not paused", func() bool { return run.progress().Paused == "" })
	execAll(t, conn, `COMMIT`)
	require.Equal(t, 1, s.readAndPrune(t, sp, reader, 1), "it is there as a whole")
	require.NoError(t, reader.Close())
	require.Equal(t, sender, src.QueryValue(t, senderSQL), "still the same connection")
	await(t, "nothing is beside the spool", func() bool { return sp.Stats().BesideBytes == 0 })
	run.stop(t)
	require.Empty(t, underWay(t, s.dir))
}

func insertRows(worker, from, n int) string {
	return fmt.Sprintf(`INSERT INTO events SELECT %d, %d + i, repeat('x', 100) FROM generate_series(0, %d) i`, worker, from, n-1)
}

func execAll(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		_, err := conn.Exec(context.Background(), sql, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err, sql)
	}
}

// underWay lists the files of transactions that have not committed.
func underWay(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "in-progress-*"))
	require.NoError(t, err)
	return files
}

// What a killed receiver left of transactions under way is removed by the next one.
func TestLeftoversOfTransactionsUnderWay(t *testing.T) {
	s := newStream(t, pgtest.Source(t), "leftovers")
	sp := s.open(t, spool.Options{})
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "in-progress-7"), []byte("torn"), 0o600))
	r := s.receiver(sp)
	run := start(t, r)
	s.awaitAll(t, sp)
	require.Empty(t, underWay(t, s.dir))
	run.stop(t)
}
