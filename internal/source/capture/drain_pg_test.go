package capture_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/capture"
	"timeferry/internal/spool"
	"timeferry/internal/testkit/pgtest"
)

// places counts where a receiver came by.
type places struct {
	mu   sync.Mutex
	seen map[string]int
}

func watchPlaces(r *capture.Receiver) *places {
	p := &places{seen: map[string]int{}}
	r.SetFailpoint(func(place string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.seen[place]++
	})
	return p
}

func (p *places) count(place string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[place]
}

// smallLimits make a backlog of half a megabyte worth taking in bulk, in calls of about a quarter.
func smallLimits(r *capture.Receiver) *capture.Receiver {
	r.SetBacklogLimits(512<<10, 64<<10, 256<<10, 64<<10, 1<<30)
	return r
}

// backlog writes transactions of many kinds for the given size of WAL.
func (s *stream) backlog(t *testing.T, worker int, transactions int) {
	t.Helper()
	s.src.Exec(t, fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP
		INSERT INTO events SELECT %d, i * 1000 + n, repeat('x', 100) FROM generate_series(1, 10) n;
		UPDATE events SET body = 'changed' WHERE worker = %d AND seq = i * 1000 + 1;
		BEGIN INSERT INTO events VALUES (%d, i * 1000 + 1, 'duplicate'); EXCEPTION WHEN unique_violation THEN END;
		DELETE FROM events WHERE worker = %d AND seq = (i - 1) * 1000 + 2;
		COMMIT; END LOOP; END $$`, transactions, worker, worker, worker, worker))
}

var majors = []int{12, 13, 14, 15, 16, 17, 18}

// A backlog is taken in bulk, the stream goes on after it, and together they are what the slot has, on every version.
func TestBacklogThenStream(t *testing.T) {
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			src := pgtest.SourceOf(t, major)
			s := newStream(t, src, "backlog")
			sp := s.open(t, spool.Options{})
			s.backlog(t, 100, 1500)
			s.src.Exec(t, `INSERT INTO unpublished SELECT generate_series(1, 20000)`)
			s.backlog(t, 101, 500)
			r := smallLimits(s.receiver(sp))
			seen := watchPlaces(r)
			run := start(t, r)
			await(t, "it streams", func() bool {
				return src.QueryValue(t, `SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'`) == "1"
			})
			stop := make(chan struct{})
			wait := s.load(t, 2, stop)
			before := sp.Durable()
			await(t, "more is received", func() bool { return sp.Durable() > before+200_000 })
			rounds := seen.count("advanced")
			require.Greater(t, rounds, 2, "several calls")
			require.LessOrEqual(t, s.confirmed(t), sp.Durable())
			close(stop)
			loaded := wait()
			s.awaitAll(t, sp)
			run.stop(t)
			await(t, "all is confirmed", func() bool { return s.confirmed(t) == sp.Durable() }) // the sender may take it a moment after we are gone
			require.GreaterOrEqual(t, s.requireSame(t, sp), 2000+loaded)
			require.Positive(t, run.progress().Bytes)
		})
	}
}

// A stream that falls behind is left for the bulk, and taken up again.
func TestStreamThatFallsBehind(t *testing.T) {
	src := pgtest.Source(t)
	s := newStream(t, src, "behind")
	sp := s.open(t, spool.Options{})
	r := smallLimits(s.receiver(sp))
	seen := watchPlaces(r)
	run := start(t, r)
	await(t, "begun", func() bool { return sp.Durable() != 0 })
	stop := make(chan struct{})
	wait := s.load(t, 2, stop)
	for i := 0; seen.count("advanced") == 0; i++ { // great transactions keep the stream busy after the load has gone on
		require.Less(t, i, 60, "it never fell behind")
		src.Exec(t, `INSERT INTO events SELECT 7, $1 * 200000 + i, 'great' FROM generate_series(1, 100000) i`, i)
	}
	close(stop)
	wait()
	s.awaitAll(t, sp)
	await(t, "it streams again", func() bool {
		return src.QueryValue(t, `SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'`) == "1"
	})
	run.stop(t)
	s.requireSame(t, sp)
}

// A source that would outwrite a stream again is followed by one call after the other, however little is left, and streamed from once it
// is at rest.
func TestFastSourceIsFollowedByCalls(t *testing.T) {
	src := pgtest.Source(t)
	s := newStream(t, src, "fast")
	sp := s.open(t, spool.Options{})
	s.backlog(t, 100, 1500)
	r := smallLimits(s.receiver(sp))
	r.FollowByCalls()
	seen := watchPlaces(r)
	stop := make(chan struct{})
	wait := s.load(t, 2, stop)
	run := start(t, r)
	streaming := func() bool {
		return src.QueryValue(t, `SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'`) == "1"
	}
	await(t, "many calls", func() bool {
		require.False(t, streaming())
		return seen.count("advanced") >= 30
	})
	close(stop)
	loaded := wait()
	s.awaitAll(t, sp)
	await(t, "it streams", streaming)
	run.stop(t)
	require.GreaterOrEqual(t, s.requireSame(t, sp), 1500+loaded)
}

// Every version writes down which transactions run when it is made to, for a superuser and for a role that may only replicate, and
// nothing of it stays.
func TestLandmark(t *testing.T) {
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			src := pgtest.SourceOf(t, major)
			s := newStream(t, src, "landmark")
			r := s.receiver(s.open(t, spool.Options{}))
			for _, role := range []pgkit.Endpoint{src.Endpoint, src.Master} {
				r.Source = role
				before := s.currentLSN(t)
				require.NoError(t, r.SetLandmark(context.Background()))
				if major >= 15 {
					require.NotEqual(t, "0", runningXacts(t, src, before))
				}
			}
			require.Equal(t, "0", src.QueryValue(t, `SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'timeferry_landmark%'`))
		})
	}
}

// runningXacts counts the records after before from which a slot may restart. The server writes one by itself every 15 seconds.
func runningXacts(t *testing.T, src *pgtest.Database, before change.LSN) string {
	t.Helper()
	src.Exec(t, `CREATE EXTENSION IF NOT EXISTS pg_walinspect`)
	return src.QueryValue(t, fmt.Sprintf(`SELECT count(*) FROM pg_get_wal_records_info('%s', pg_current_wal_flush_lsn()) WHERE record_type = 'RUNNING_XACTS'`, before))
}

// An open transaction holds the slot's restart back: then every call would read all of it again, and bring all of it in one
// result. The stream goes on instead.
func TestLongTransactionIsStreamed(t *testing.T) {
	src := pgtest.Source(t)
	s := newStream(t, src, "long")
	sp := s.open(t, spool.Options{})
	conn := src.Conn(t)
	_, err := conn.Exec(context.Background(), `BEGIN; INSERT INTO events VALUES (9, 9, 'open')`)
	require.NoError(t, err)
	s.backlog(t, 100, 3000)
	r := s.receiver(sp)
	r.SetBacklogLimits(512<<10, 64<<10, 256<<10, 64<<10, 1<<20)
	seen := watchPlaces(r)
	run := start(t, r)
	s.awaitAll(t, sp)
	require.LessOrEqual(t, seen.count("advanced"), 12, "no more than the bound allows")
	_, err = conn.Exec(context.Background(), `COMMIT`)
	require.NoError(t, err)
	s.awaitAll(t, sp)
	run.stop(t)
	require.Equal(t, 3001, s.requireSame(t, sp))
}

// The receiver dies at every place of a drain, and at each goes on without a loss and without a repetition.
func TestDrainDiesEverywhere(t *testing.T) {
	src := pgtest.Source(t)
	s := newStream(t, src, "dies")
	s.backlog(t, 100, 1500)
	for _, place := range []string{"reading 1", "peeked 1", "durable 1", "advanced 1", "reading 3", "peeked 2", "durable 2", "advanced 2"} {
		cmd := s.startChild(t, place)
		require.Error(t, cmd.Wait(), "killed at %s", place)
		sp, err := spool.Open(s.dir, spool.Options{SegmentBytes: segmentBytes})
		require.NoError(t, err)
		if durable := sp.Durable(); durable != 0 {
			require.LessOrEqual(t, s.confirmed(t), durable, place)
		}
		require.NoError(t, sp.Close())
	}
	sp := s.open(t, spool.Options{})
	run := start(t, smallLimits(s.receiver(sp)))
	s.awaitAll(t, sp)
	run.stop(t)
	require.Equal(t, 1500, s.requireSame(t, sp))
}

// Stopped in the middle of a call, the receiver ends soon, with what it has durable, and leaves the slot free.
func TestStoppedDrain(t *testing.T) {
	src := pgtest.Source(t)
	s := newStream(t, src, "stopdrain")
	s.backlog(t, 100, 3000)
	sp := s.open(t, spool.Options{})
	r := smallLimits(s.receiver(sp))
	reading := make(chan struct{})
	var once sync.Once
	r.SetFailpoint(func(place string) {
		if place == "reading" {
			once.Do(func() { close(reading) })
		}
	})
	run := start(t, r)
	<-reading
	begun := time.Now()
	run.stop(t)
	require.Less(t, time.Since(begun), 8*time.Second)
	await(t, "the slot is free", func() bool { return !s.active(t) })
	run = start(t, smallLimits(s.receiver(sp)))
	s.awaitAll(t, sp)
	run.stop(t)
	require.Equal(t, 3000, s.requireSame(t, sp))
}

// The connection is cut while the server answers; the server crashes, and may forget an advance.
func TestDrainThroughFailures(t *testing.T) {
	src := pgtest.OwnSource(t, nil)
	s := newStream(t, src, "drainfail")
	s.backlog(t, 100, 2000)
	sp := s.open(t, spool.Options{})
	r := smallLimits(s.receiver(sp))
	var mu sync.Mutex
	turn := 0
	r.SetFailpoint(func(place string) {
		mu.Lock()
		defer mu.Unlock()
		switch turn++; {
		case turn == 3 && place != "advanced", turn == 9:
			src.Exec(t, `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL AND slot_name = $1`, s.slot)
		case turn == 6, turn == 14:
			require.NoError(t, src.Server.Kill())
			require.NoError(t, src.Server.Start(context.Background()))
		}
	})
	run := start(t, r)
	s.awaitAll(t, sp)
	run.stop(t)
	require.Equal(t, 2000, s.requireSame(t, sp))
}

// A full spool pauses a drain, and what is applied and removed lets it go on.
func TestFullSpoolPausesDrain(t *testing.T) {
	src := pgtest.Source(t)
	s := newStream(t, src, "drainfull")
	s.backlog(t, 100, 3000)
	sp := s.open(t, spool.Options{Limit: 1 << 20})
	run := start(t, smallLimits(s.receiver(sp)))
	await(t, "paused", func() bool { return run.progress().Paused != "" })
	require.LessOrEqual(t, s.confirmed(t), sp.Durable())
	reader, err := sp.NewReader(0)
	require.NoError(t, err)
	require.Equal(t, 3000, s.readAndPrune(t, sp, reader, 3000))
	require.NoError(t, reader.Close())
	await(t, "not paused", func() bool { return run.progress().Paused == "" })
	run.stop(t)
}

// A role that may stream and nothing else has its backlog streamed.
func TestNoRightToPeek(t *testing.T) {
	src := pgtest.OwnSource(t, nil)
	src.Exec(t, `REVOKE EXECUTE ON FUNCTION pg_logical_slot_peek_binary_changes FROM PUBLIC`)
	s := newStream(t, src, "nopeek")
	s.backlog(t, 100, 1000)
	sp := s.open(t, spool.Options{})
	r := smallLimits(s.receiver(sp))
	r.Source = src.Master
	src.Exec(t, `GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC`)
	run := start(t, r)
	s.awaitAll(t, sp)
	run.stop(t)
	require.Equal(t, 1000, s.requireSame(t, sp))
}

// A publication that is dropped stops the receiver in both ways and on every server: 18 only warns, and passes over the changes.
func TestPublicationDropped(t *testing.T) {
	for _, major := range []int{15, 18} {
		for _, bulk := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bulk %t", major, bulk), func(t *testing.T) {
				src := pgtest.SourceOf(t, major)
				s := newStream(t, src, fmt.Sprintf("dropped_%d_%t", major, bulk))
				s.backlog(t, 1, 100)
				src.Exec(t, `DROP PUBLICATION `+ident.Quote(s.publication))
				s.backlog(t, 2, 100)
				r := s.receiver(s.open(t, spool.Options{}))
				if bulk {
					r.SetBacklogLimits(1, 1, 256<<10, 64<<10, 1<<30)
				} else {
					r.OnlyStream()
				}
				err := start(t, r).result(t)
				require.True(t, spool.HasCode(err, capture.CodeNoPublication), "%v", err)
				require.Less(t, s.confirmed(t), s.currentLSN(t))
			})
		}
	}
}

// A backlog that begins with rows of the size of their WAL goes on with values that are compressed there to the hundredth part. No call
// takes much more on the source than it is to, though nothing before tells what the next one will.
func TestExpandingBacklog(t *testing.T) {
	const mib = 1 << 20
	src := pgtest.OwnSource(t, map[string]string{"work_mem": "64kB"})
	s := newStream(t, src, "expanding")
	src.Exec(t, `DO $$ BEGIN FOR i IN 1..20 LOOP
		INSERT INTO events SELECT 100, i * 1000 + n, (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 60)) FROM generate_series(1, 500) n;
		COMMIT; END LOOP; END $$`) // about 20 MiB of WAL
	src.Exec(t, `DO $$ BEGIN FOR i IN 1..400 LOOP
		INSERT INTO events VALUES (101, i, repeat('compressed', 100000));
		COMMIT; END LOOP; END $$`) // about 5 MiB of WAL, of 400 MB
	sp := s.open(t, spool.Options{})
	r := s.receiver(sp)
	r.SetBacklogLimits(512<<10, 64<<10, 32*mib, 512<<10, 1<<30)
	tempBytes := func() (n int64) {
		require.NoError(t, src.Conn(t).QueryRow(context.Background(), `SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()`).Scan(&n))
		return n
	}
	last, most, calls, cancelled := tempBytes(), int64(0), 0, 0
	measure := func() {
		now := tempBytes()
		most, last, calls = max(most, now-last), now, calls+1
	}
	r.SetFailpoint(func(place string) {
		switch place {
		case "durable":
			time.Sleep(1100 * time.Millisecond) // statements tell what they took once a second
		case "advanced":
			measure()
		case "cancelled":
			cancelled++
		}
	})
	run := start(t, r)
	end := s.currentLSN(t)
	require.Eventually(t, func() bool { return sp.Durable() >= end }, 3*time.Minute, 10*time.Millisecond)
	run.stop(t)
	measure() // what a cancelled call told later
	t.Logf("%d calls, %d cancelled, at most %d MiB in temporary files", calls, cancelled, most/mib)
	require.Positive(t, cancelled, "the test shows nothing")
	require.Less(t, most, int64(6*32*mib))
}
