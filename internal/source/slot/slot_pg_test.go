package slot_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/slot"
	"timeferry/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// holder runs Hold until stop.
type holder struct {
	held  slot.Held
	pings atomic.Int64
	done  chan error
	end   context.CancelFunc
}

// mustHold starts Hold and returns once the snapshot is there.
func mustHold(t *testing.T, o slot.HoldOptions) *holder {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h := &holder{done: make(chan error, 1), end: cancel}
	ready := make(chan struct{})
	go func() {
		h.done <- slot.Hold(ctx, o, func(held slot.Held) error {
			h.held = held
			close(ready)
			return nil
		}, func() { h.pings.Add(1) })
	}()
	t.Cleanup(cancel)
	select {
	case <-ready:
	case err := <-h.done:
		t.Fatalf("hold: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("no snapshot within 30 s")
	}
	return h
}

func (h *holder) stop(t *testing.T) {
	t.Helper()
	h.end()
	require.NoError(t, h.wait(t))
}

func (h *holder) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-h.done:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("hold does not end")
		return nil
	}
}

// countUnder counts t's rows as the snapshot shows them.
func countUnder(t *testing.T, conn *pgx.Conn, snapshot string) (n int) {
	t.Helper()
	ctx := context.Background()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(ctx)) }()
	_, err = tx.Exec(ctx, "SET TRANSACTION SNAPSHOT '"+snapshot+"'")
	require.NoError(t, err)
	require.NoError(t, tx.QueryRow(ctx, "SELECT count(*) FROM t").Scan(&n))
	return n
}

func requireFault(t *testing.T, err error, class fault.Class, code string) {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, code, f.Code, "%v", err)
	require.Equal(t, class, f.Class, "%v", err)
}

func TestHoldMakesSlotAndKeepsSnapshot(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, "CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2); ALTER TABLE t OWNER TO shopmaster")
	h := mustHold(t, slot.HoldOptions{Source: src.Master, Slot: "hold_keeps", Plugin: "pgoutput", Fresh: true})
	require.True(t, h.held.Created)
	require.NotZero(t, h.held.ConsistentPoint)
	src.Exec(t, "INSERT INTO t VALUES (3)")
	conn := src.MasterConn(t)
	// The replication connection that exported first is closed by now: the snapshot is the holder's own.
	require.Eventually(t, func() bool {
		return src.QueryValue(t, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'") == "0"
	}, 10*time.Second, 20*time.Millisecond)
	require.Equal(t, 2, countUnder(t, conn, h.held.Snapshot))
	require.Eventually(t, func() bool { return h.pings.Load() > 0 }, 10*time.Second, 20*time.Millisecond)
	require.Equal(t, 2, countUnder(t, conn, h.held.Snapshot))

	s, err := slot.Inspect(context.Background(), conn, "hold_keeps")
	require.NoError(t, err)
	require.True(t, s.Exists)
	require.False(t, s.Active)
	require.False(t, s.Lost())
	require.Equal(t, h.held.ConsistentPoint, s.ConfirmedFlush)
	require.Equal(t, "pgoutput", s.Plugin)
	require.Equal(t, "reserved", s.WALStatus)
	require.Positive(t, s.RetainedBytes)
	require.EqualValues(t, -1, s.SafeWALBytes)

	h.stop(t)
	s, err = slot.Inspect(context.Background(), conn, "hold_keeps")
	require.NoError(t, err)
	require.True(t, s.Exists, "the permanent slot outlives the holder")
}

func TestHoldAgainTakesNewSnapshotAndKeepsSlot(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, "CREATE TABLE t (id int)")
	o := slot.HoldOptions{Source: src.Master, Slot: "hold_again", Plugin: "pgoutput", Fresh: true}
	first := mustHold(t, o)
	first.stop(t)
	src.Exec(t, "INSERT INTO t VALUES (1)")
	o.Fresh = false
	second := mustHold(t, o)
	require.False(t, second.held.Created)
	require.Equal(t, "hold_again", second.held.Slot)
	require.Greater(t, second.held.ConsistentPoint, first.held.ConsistentPoint)
	conn := src.Conn(t)
	require.Equal(t, 1, countUnder(t, conn, second.held.Snapshot))
	s, err := slot.Inspect(context.Background(), conn, "hold_again")
	require.NoError(t, err)
	require.Equal(t, first.held.ConsistentPoint, s.ConfirmedFlush, "nothing was confirmed")
	// The temporary slot went with its connection.
	require.Eventually(t, func() bool {
		return src.QueryValue(t, "SELECT string_agg(slot_name, ',') FROM pg_replication_slots WHERE slot_name LIKE 'hold\\_again%'") == "hold_again"
	}, 10*time.Second, 20*time.Millisecond)
}

func TestHoldNoticesLoss(t *testing.T) {
	src := pgtest.Source(t)
	h := mustHold(t, slot.HoldOptions{Source: src.Master, Slot: "hold_loss", Plugin: "pgoutput", Fresh: true})
	begun := time.Now()
	src.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'timeferry snapshot holder' AND datname = current_database()")
	requireFault(t, h.wait(t), fault.Transient, slot.CodeSnapshotLost)
	require.Less(t, time.Since(begun), 5*time.Second)
}

func TestHoldRefusesWhatItMustNotReplace(t *testing.T) {
	src := pgtest.Source(t)
	other := pgtest.Source(t)
	none := func(slot.Held) error { return errors.New("must not be called") }
	hold := func(e pgkit.Endpoint, name, plugin string, fresh bool) error {
		return slot.Hold(context.Background(), slot.HoldOptions{Source: e, Slot: name, Plugin: plugin, Fresh: fresh}, none, func() {})
	}
	requireFault(t, hold(src.Master, "hold_missing", "pgoutput", false), fault.Operator, slot.CodeSlotLost)
	require.Equal(t, "0", src.QueryValue(t, "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'hold_missing%'"))

	src.Exec(t, "SELECT pg_create_logical_replication_slot('hold_taken', 'test_decoding')")
	requireFault(t, hold(src.Master, "hold_taken", "pgoutput", true), fault.Operator, slot.CodeSlotTaken)
	requireFault(t, hold(other.Master, "hold_taken", "test_decoding", true), fault.Operator, slot.CodeSlotTaken)
}

func TestHoldReportsLostSlot(t *testing.T) {
	src := pgtest.OwnSource(t, map[string]string{"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"})
	src.Exec(t, "CREATE TABLE t (id int, filler text)")
	mustHold(t, slot.HoldOptions{Source: src.Master, Slot: "hold_lost", Plugin: "pgoutput", Fresh: true}).stop(t)
	conn := src.Conn(t)
	require.Eventually(t, func() bool {
		src.Exec(t, "INSERT INTO t SELECT 1, repeat('x', 1000) FROM generate_series(1, 1000); SELECT pg_switch_wal()")
		src.Exec(t, "CHECKPOINT")
		s, err := slot.Inspect(context.Background(), conn, "hold_lost")
		require.NoError(t, err)
		return s.Lost()
	}, 60*time.Second, time.Millisecond)
	err := slot.Hold(context.Background(), slot.HoldOptions{Source: src.Master, Slot: "hold_lost", Plugin: "pgoutput", Fresh: true},
		func(slot.Held) error { return nil }, func() {})
	requireFault(t, err, fault.Operator, slot.CodeSlotLost)
	require.NoError(t, slot.Drop(context.Background(), conn, "hold_lost", 0))
}

func TestHoldWithoutFreeSlot(t *testing.T) {
	src := pgtest.OwnSource(t, map[string]string{"max_replication_slots": "1"})
	o := slot.HoldOptions{Source: src.Master, Slot: "hold_full", Plugin: "pgoutput", Fresh: true}
	mustHold(t, o).stop(t)
	err := slot.Hold(context.Background(), o, func(slot.Held) error { return nil }, func() {})
	requireFault(t, err, fault.Operator, slot.CodeNoFreeSlot)
}

func TestHoldPassesErrorsAndCancellation(t *testing.T) {
	src := pgtest.Source(t)
	broken := errors.New("told nobody")
	quiet, stop := context.WithTimeout(context.Background(), 5*time.Second) // long enough for a ping
	defer stop()
	require.NoError(t, slot.Hold(quiet, slot.HoldOptions{Source: src.Master, Slot: "hold_quiet", Plugin: "pgoutput", Fresh: true}, func(slot.Held) error { return nil }, nil))
	o := slot.HoldOptions{Source: src.Master, Slot: "hold_errors", Plugin: "pgoutput", Fresh: true}
	require.ErrorIs(t, slot.Hold(context.Background(), o, func(slot.Held) error { return broken }, func() {}), broken)

	blocker := src.Conn(t)
	_, err := blocker.Exec(context.Background(), "BEGIN; SELECT pg_current_xact_id()")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	o.Slot, o.OnWaiting = "hold_cancelled", func([]slot.Blocker) { cancel() }
	err = slot.Hold(ctx, o, func(slot.Held) error { return nil }, func() {})
	require.ErrorIs(t, err, context.Canceled)
	require.Eventually(t, func() bool {
		return src.QueryValue(t, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'hold_cancelled'") == "0"
	}, 10*time.Second, 20*time.Millisecond, "a cancelled creation leaves no slot")
}

func TestHoldTellsWhoKeepsItWaiting(t *testing.T) {
	src := pgtest.OwnSource(t, map[string]string{"max_prepared_transactions": "5"})
	ctx := context.Background()
	src.Exec(t, "CREATE TABLE t (id int)")
	blocker, idle := src.Conn(t), src.Conn(t)
	_, err := blocker.Exec(ctx, "SET application_name = 'nightly report'; BEGIN; INSERT INTO t VALUES (1)")
	require.NoError(t, err)
	_, err = idle.Exec(ctx, "SET application_name = 'only reads'; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t")
	require.NoError(t, err)
	_, err = src.Conn(t).Exec(ctx, "BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'two phases'")
	require.NoError(t, err)

	reports := make(chan []slot.Blocker, 100)
	held := make(chan slot.Held, 1)
	hold, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- slot.Hold(hold, slot.HoldOptions{Source: src.Master, Slot: "hold_waiting", Plugin: "pgoutput", Fresh: true,
			OnWaiting: func(b []slot.Blocker) { reports <- b }},
			func(h slot.Held) error { held <- h; return nil }, func() {})
	}()
	byName := map[string]slot.Blocker{}
	for _, b := range <-reports {
		byName[b.Application] = b
	}
	require.Len(t, byName, 2)
	require.Equal(t, int(blocker.PgConn().PID()), byName["nightly report"].PID)
	require.Equal(t, "idle in transaction", byName["nightly report"].State)
	require.NotEmpty(t, byName["nightly report"].User)
	require.Positive(t, byName["nightly report"].Age)
	require.Equal(t, "prepared", byName["two phases"].State)

	_, err = blocker.Exec(ctx, "COMMIT")
	require.NoError(t, err)
	src.Exec(t, "COMMIT PREPARED 'two phases'")
	select {
	case h := <-held:
		require.Equal(t, 2, countUnder(t, src.Conn(t), h.Snapshot))
	case <-time.After(30 * time.Second):
		t.Fatal("the slot is still not there")
	}
	cancel()
	require.NoError(t, <-done)
}

// A second Hold that finds the slot being made by another session (of a worker that died, say) waits for it.
func TestHoldWaitsForAnotherCreation(t *testing.T) {
	src := pgtest.Source(t)
	ctx := context.Background()
	src.Exec(t, "CREATE TABLE t (id int)")
	blocker := src.Conn(t)
	_, err := blocker.Exec(ctx, "BEGIN; INSERT INTO t VALUES (1)")
	require.NoError(t, err)
	other := src.Conn(t)
	created := make(chan error, 1)
	go func() {
		_, err := other.Exec(ctx, "SELECT pg_create_logical_replication_slot('hold_second', 'pgoutput')")
		created <- err
	}()
	require.Eventually(t, func() bool {
		s, err := slot.Inspect(ctx, blocker, "hold_second")
		return err == nil && s.Exists
	}, 10*time.Second, 10*time.Millisecond)
	waiting := make(chan struct{}, 100)
	held := make(chan slot.Held, 1)
	hold, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- slot.Hold(hold, slot.HoldOptions{Source: src.Master, Slot: "hold_second", Plugin: "pgoutput", Fresh: true,
			OnWaiting: func([]slot.Blocker) { waiting <- struct{}{} }}, func(h slot.Held) error { held <- h; return nil }, func() {})
	}()
	<-waiting
	_, err = blocker.Exec(ctx, "COMMIT")
	require.NoError(t, err)
	require.NoError(t, <-created)
	require.False(t, (<-held).Created)
	cancel()
	require.NoError(t, <-done)
}

func TestDrop(t *testing.T) {
	src := pgtest.Source(t)
	ctx := context.Background()
	src.Exec(t, "CREATE PUBLICATION p")
	conn := src.MasterConn(t)
	require.NoError(t, slot.Drop(ctx, conn, "drop_missing", time.Minute))

	start := func(name string) (*pgconn.PgConn, chan error) {
		src.Exec(t, fmt.Sprintf("SELECT pg_create_logical_replication_slot('%s', 'pgoutput')", name))
		receiver, err := pgkit.DialReplication(ctx, src.Master, "receiver")
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() {
			_, err := receiver.Exec(ctx, fmt.Sprintf(`START_REPLICATION SLOT "%s" LOGICAL 0/0 (proto_version '1', publication_names 'p')`, name)).ReadAll()
			ended <- err
		}()
		require.Eventually(t, func() bool {
			s, err := slot.Inspect(ctx, conn, name)
			require.NoError(t, err)
			return s.Active
		}, 10*time.Second, 10*time.Millisecond)
		return receiver, ended
	}

	_, ended := start("drop_active")
	begun := time.Now()
	require.NoError(t, slot.Drop(ctx, conn, "drop_active", 500*time.Millisecond))
	require.GreaterOrEqual(t, time.Since(begun), 500*time.Millisecond, "the receiver had its time")
	require.Error(t, <-ended)
	require.NoError(t, slot.Drop(ctx, conn, "drop_active", 0))

	receiver, ended := start("drop_leaving")
	time.AfterFunc(300*time.Millisecond, func() { _ = receiver.Conn().Close() }) // it dies while Drop waits
	begun = time.Now()
	require.NoError(t, slot.Drop(ctx, conn, "drop_leaving", time.Minute))
	require.Less(t, time.Since(begun), 30*time.Second)
	<-ended

	s, err := slot.Inspect(ctx, conn, "drop_leaving")
	require.NoError(t, err)
	require.Equal(t, slot.State{}, s)
}
