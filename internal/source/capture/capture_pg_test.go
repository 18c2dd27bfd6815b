package capture_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/source/capture"
	"timeferry/internal/spool"
	"timeferry/internal/testkit/pgtest"
)

func TestReceiveAndStop(t *testing.T) {
	s := newStream(t, pgtest.Source(t), "stop")
	sp := s.open(t, spool.Options{})
	run := start(t, s.receiver(sp))
	stop := make(chan struct{})
	wait := s.load(t, 3, stop)
	for range 100 { // the slot is never ahead of the spool
		confirmed := s.confirmed(t)
		durable := sp.Durable()
		if durable != 0 {
			require.LessOrEqual(t, confirmed, durable)
		}
	}
	close(stop)
	loaded := wait()
	s.awaitAll(t, sp)
	run.stop(t)
	require.Equal(t, sp.Durable(), s.confirmed(t), "the last status says all that is durable")
	require.GreaterOrEqual(t, s.requireSame(t, sp), loaded)
	p := run.progress()
	require.GreaterOrEqual(t, p.Transactions, int64(loaded))
	require.Equal(t, sp.Durable(), p.DurableLSN)
	require.GreaterOrEqual(t, p.ReceivedLSN, p.DurableLSN)
	require.WithinDuration(t, time.Now(), p.ServerTime, time.Minute)
	require.Empty(t, p.Paused)
}

// Receivers are killed at random moments while the application writes; the spool ends up with every transaction once.
func TestKilledReceivers(t *testing.T) {
	s := newStream(t, pgtest.Source(t), "killed")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	stop := make(chan struct{})
	wait := s.load(t, 3, stop)
	for range 8 {
		cmd := s.startChild(t, "")
		lifetime := time.NewTimer(time.Duration(100+random.IntN(900)) * time.Millisecond)
		<-lifetime.C
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait(), "killed")
	}
	close(stop)
	loaded := wait()
	sp := s.open(t, spool.Options{})
	require.NotZero(t, sp.Durable(), "the killed ones got somewhere")
	run := start(t, s.receiver(sp))
	s.awaitAll(t, sp)
	run.stop(t)
	require.GreaterOrEqual(t, s.requireSame(t, sp), loaded)
}

// The receiver lives through restarts of the server, gentle and not.
func TestServerRestarts(t *testing.T) {
	src := pgtest.OwnSource(t, nil)
	s := newStream(t, src, "restart")
	sp := s.open(t, spool.Options{})
	run := start(t, s.receiver(sp))
	stop := make(chan struct{})
	wait := s.load(t, 2, stop)
	ctx := context.Background()
	for i := range 3 {
		before := sp.Durable()
		await(t, "more is received", func() bool { return sp.Durable() > before+200_000 })
		if i == 1 {
			require.NoError(t, src.Server.Kill())
			require.NoError(t, src.Server.Start(ctx))
		} else {
			require.NoError(t, src.Server.Restart(ctx, nil))
		}
	}
	before := sp.Durable()
	await(t, "more is received", func() bool { return sp.Durable() > before+200_000 })
	close(stop)
	wait()
	s.awaitAll(t, sp)
	run.stop(t)
	s.requireSame(t, sp)
}

func TestGreatTransaction(t *testing.T) {
	s := newStream(t, pgtest.Source(t), "great")
	sp := s.open(t, spool.Options{})
	run := start(t, s.receiver(sp))
	s.src.Exec(t, `INSERT INTO events SELECT 1, i, 'small' FROM generate_series(1, 200000) i`)
	s.src.Exec(t, `INSERT INTO events VALUES (2, 1, repeat('great value ', 3000000))`)
	s.awaitAll(t, sp)
	run.stop(t)
	require.Equal(t, 2, s.requireSame(t, sp))
	require.Equal(t, int64(2), run.progress().Transactions)
}

// The position goes on while nothing that is published changes.
func TestIdleProgress(t *testing.T) {
	s := newStream(t, pgtest.Source(t), "idle")
	sp := s.open(t, spool.Options{})
	run := start(t, s.receiver(sp))
	await(t, "begun", func() bool { return sp.Durable() != 0 })
	for range 3 {
		s.src.Exec(t, `INSERT INTO unpublished SELECT generate_series(1, 1000)`)
		target, at := s.currentLSN(t), time.Now()
		await(t, "durable", func() bool { return sp.Durable() >= target })
		require.Less(t, time.Since(at), 3*time.Second)
		await(t, "confirmed", func() bool { return s.confirmed(t) >= target })
	}
	r, err := sp.NewReader(0)
	require.NoError(t, err)
	rec, err := r.Next(context.Background())
	for err == nil && rec.Kind == spool.Message && r.Ready() { // servers before 15 send empty transactions
		rec, err = r.Next(context.Background())
	}
	require.NoError(t, err)
	require.Equal(t, spool.Progress, rec.Kind)
	require.NoError(t, r.Close())
	run.stop(t)
}

// A full spool pauses the receiver without its connection being lost, and goes on when the applied part is removed.
func TestFullSpoolPauses(t *testing.T) {
	src := pgtest.Source(t)
	s := newStream(t, src, "full")
	src.Exec(t, `ALTER DATABASE `+ident.Quote(src.Endpoint.Database)+` SET wal_sender_timeout = '1500ms'`)
	sp := s.open(t, spool.Options{Limit: 2 << 20})
	run := start(t, s.receiver(sp))
	const senderSQL = `SELECT pid || ' ' || backend_start FROM pg_stat_replication WHERE application_name = 'timeferry receiver'`
	await(t, "connected", func() bool {
		return src.QueryValue(t, `SELECT count(*) FROM pg_stat_replication WHERE application_name = 'timeferry receiver'`) == "1"
	})
	sender := src.QueryValue(t, senderSQL)
	for i := range 80 {
		src.Exec(t, `INSERT INTO events SELECT $1, i, repeat('x', 1000) FROM generate_series(1, 100) i`, i)
	}
	await(t, "paused", func() bool { return run.progress().Paused != "" })
	require.LessOrEqual(t, sp.Stats().Bytes, int64(2<<20))
	paused := time.Now()
	await(t, "a pause longer than the server waits for us", func() bool { return time.Since(paused) > 4*time.Second })
	require.Equal(t, sender, src.QueryValue(t, senderSQL), "the same connection")
	require.Contains(t, run.progress().Paused, "quota")

	reader, err := sp.NewReader(0)
	require.NoError(t, err)
	require.Equal(t, 80, s.readAndPrune(t, sp, reader, 80))
	require.NoError(t, reader.Close())
	await(t, "not paused", func() bool { return run.progress().Paused == "" })
	require.Equal(t, sender, src.QueryValue(t, senderSQL), "still the same connection")
	run.stop(t)
}

// A receiver that is stopped while the spool is full ends soon, and a later one goes on where it was.
func TestStopWhileFull(t *testing.T) {
	s := newStream(t, pgtest.Source(t), "stopfull")
	sp := s.open(t, spool.Options{Limit: 1 << 20})
	run := start(t, s.receiver(sp))
	for i := range 80 {
		s.src.Exec(t, `INSERT INTO events SELECT $1, i, repeat('x', 1000) FROM generate_series(1, 100) i`, i)
	}
	await(t, "paused", func() bool { return run.progress().Paused != "" })
	run.stop(t)
	require.NoError(t, sp.Close())
	sp = s.open(t, spool.Options{})
	run = start(t, s.receiver(sp))
	s.awaitAll(t, sp)
	run.stop(t)
	require.Equal(t, 80, s.requireSame(t, sp))
}

func TestMessagesAndTruncate(t *testing.T) {
	s := newStream(t, pgtest.Source(t), "messages")
	sp := s.open(t, spool.Options{})
	run := start(t, s.receiver(sp))
	s.src.Exec(t, `SELECT pg_logical_emit_message(true, 'timeferry', 'marker')`)
	for range 3 { // the connection is made anew between the loose ones
		s.src.Exec(t, `SELECT pg_logical_emit_message(false, 'timeferry', 'loose')`)
		s.src.Exec(t, `INSERT INTO events VALUES (1, 1, ''); TRUNCATE events`)
		s.src.Exec(t, `SELECT pg_logical_emit_message(false, 'timeferry', 'loose again')`)
		s.awaitAll(t, sp)
		run.stop(t)
		run = start(t, s.receiver(sp))
	}
	s.src.Exec(t, `INSERT INTO events VALUES (2, 1, '')`) // a commit flushes the WAL, a loose message does not
	s.awaitAll(t, sp)
	run.stop(t)
	s.requireSame(t, sp)
}

func TestWaitsForAnotherReceiver(t *testing.T) {
	s := newStream(t, pgtest.Source(t), "active")
	cmd := s.startChild(t, "")
	await(t, "active", func() bool { return s.active(t) })
	first := s.dir
	s.dir = t.TempDir()
	sp := s.open(t, spool.Options{})
	run := start(t, s.receiver(sp))
	await(t, "it has met the other", func() bool { return run.progress().Paused != "" })
	require.Contains(t, run.progress().Paused, "is active for PID")
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	s.awaitAll(t, sp)
	run.stop(t)
	require.NotEqual(t, first, s.dir)
}

func (s *stream) active(t *testing.T) bool {
	t.Helper()
	return s.src.QueryValue(t, `SELECT active FROM pg_replication_slots WHERE slot_name = `+ident.Literal(s.slot)) == "t"
}

func TestErrorsThatNoReconnectMends(t *testing.T) {
	src := pgtest.Source(t)
	s := newStream(t, src, "errors")
	cases := []struct {
		name  string
		spoil func(r *capture.Receiver)
		code  string
		class fault.Class
	}{
		{"no such slot", func(r *capture.Receiver) { r.Slot = "capture_nowhere" }, capture.CodeSlotLost, fault.Operator},
		{"no such publication", func(r *capture.Receiver) {
			r.Publications = []string{"nowhere"}
			src.Exec(t, `INSERT INTO events VALUES (1, 1, '')`)
		}, capture.CodeNoPublication, fault.Operator},
		{"slot ahead of the spool", func(r *capture.Receiver) {
			require.NoError(t, r.Spool.StartAt(1))
		}, spool.CodeGap, fault.Integrity},
		{"wrong plugin", func(r *capture.Receiver) {
			r.Slot = "capture_plugin"
			src.Exec(t, `SELECT pg_create_logical_replication_slot('capture_plugin', 'test_decoding')`)
		}, "", fault.Operator},
		{"no such database", func(r *capture.Receiver) { r.Source.Database = "nowhere" }, "no-such-database", fault.Operator},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s.dir = t.TempDir()
			r := s.receiver(s.open(t, spool.Options{}))
			c.spoil(r)
			err := start(t, r).result(t)
			require.Equal(t, c.class, fault.Classify(err), "%v", err)
			if c.code != "" {
				require.True(t, spool.HasCode(err, c.code), "%v", err)
			}
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

// A slot whose WAL the server has removed is lost, and said to be.
func TestSlotLost(t *testing.T) {
	src := pgtest.OwnSource(t, map[string]string{"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"})
	s := newStream(t, src, "lost")
	for range 6 {
		src.Exec(t, `INSERT INTO unpublished SELECT generate_series(1, 100000)`)
		src.Exec(t, `SELECT pg_switch_wal()`)
		src.Exec(t, `CHECKPOINT`)
	}
	require.Equal(t, "lost", src.QueryValue(t, `SELECT wal_status FROM pg_replication_slots WHERE slot_name = `+ident.Literal(s.slot)))
	err := start(t, s.receiver(s.open(t, spool.Options{}))).result(t)
	require.True(t, spool.HasCode(err, capture.CodeSlotLost), "%v", err)
	require.Equal(t, fault.Operator, fault.Classify(err))
}
