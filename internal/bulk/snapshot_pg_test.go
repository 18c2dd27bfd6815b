package bulk_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/bulk"
	"timeferry/internal/fault"
	"timeferry/internal/source/slot"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

// beginHeldEpoch makes the snapshot that is held the epoch's, with all that is known of it.
func (f *fixture) beginHeldEpoch(t *testing.T) *hold {
	t.Helper()
	h := f.beginEpoch(t)
	held := ledger.Held{Snapshot: h.held.Snapshot, Visible: h.held.Visible, Host: "first"}
	again, err := bulk.BeginHeldEpoch(context.Background(), f.ledger, h.held.ConsistentPoint, held, nil)
	require.NoError(t, err)
	require.Equal(t, h.epoch, again)
	return h
}

// shareSnapshot has a second session hold the snapshot until the test ends, and notes that.
func (f *fixture) shareSnapshot(t *testing.T, h *hold) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	name, ended := make(chan string, 1), make(chan error, 1)
	o := slot.ShareOptions{Source: f.src.Master, Subject: f.slot, Names: []string{h.held.Snapshot}, Visible: h.held.Visible}
	go func() {
		ended <- slot.Share(ctx, o, func(n string) error { name <- n; return nil }, nil)
	}()
	select {
	case n := <-name:
		current, err := ledger.RecordHeld(context.Background(), f.ledger, ledger.RoleCopy, h.epoch, ledger.Held{Snapshot: n, Host: "second"})
		require.NoError(t, err)
		require.True(t, current)
	case err := <-ended:
		require.NoError(t, err)
	}
}

// The epoch lives on in the copy of its snapshot: nothing that was copied is copied again, and all parts show the same moment.
func TestCopyOutlivesTheHolder(t *testing.T) {
	f := newFixture(t, "copy_outlives")
	f.execBoth(t, "CREATE TABLE big (id int, v text); CREATE TABLE small (id int)")
	f.execSource(t, "INSERT INTO big SELECT g, repeat('x', 1000) FROM generate_series(1, 8000) g; INSERT INTO small VALUES (1)")
	f.planTables(t, 2_000_000)
	h := f.beginHeldEpoch(t)
	f.shareSnapshot(t, h)
	killed := false
	o := f.options()
	o.Worker = "third"
	_, err := bulk.CopyParts(context.Background(), o, func(p bulk.Progress) {
		if p.PartsDone == 2 && !killed {
			killed = true
			h.end()
			require.NoError(t, <-h.done)
			f.execSource(t, "UPDATE big SET v = 'later'; INSERT INTO small VALUES (2)")
		}
	})
	require.NoError(t, err)
	require.True(t, killed)
	f.requireNothingLeft(t)
	require.Equal(t, []string{"8000|8000|0|1"}, f.dst.Dump(t, `SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE v = 'later'), (SELECT count(*) FROM small) FROM big`))
	require.Equal(t, []string{"1|third"}, f.dst.Dump(t, "SELECT DISTINCT epoch, worker FROM timeferry.parts"))
	require.Equal(t, "1", f.dst.QueryValue(t, "SELECT count(*) FROM timeferry.epochs"))
}

// A name that is another snapshot's by now, as after a restart of the source, must not be taken for the epoch's.
func TestCopyRefusesAnotherSnapshotOfTheSameName(t *testing.T) {
	f := newFixture(t, "copy_other")
	f.execBoth(t, "CREATE TABLE t (id int)")
	f.execSource(t, "INSERT INTO t VALUES (1)")
	f.planTables(t, 1<<30)
	h := f.beginHeldEpoch(t)
	f.execSource(t, "INSERT INTO t VALUES (2)")
	other := f.src.MasterConn(t)
	mustExec(t, other, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	var name string
	require.NoError(t, other.QueryRow(context.Background(), "SELECT pg_export_snapshot()").Scan(&name))
	h.end()
	require.NoError(t, <-h.done)
	f.execTarget(t, "UPDATE timeferry.snapshots SET snapshot = '"+name+"'")
	_, err := bulk.CopyParts(context.Background(), f.options(), nil)
	requireFault(t, err, fault.Transient, bulk.CodeSnapshotLost)
	require.Equal(t, "0", f.dst.QueryValue(t, "SELECT count(*) FROM t"))
}

// Streams whose snapshot is lost end at once, each after one try of each name, and leave their part to others.
func TestStreamsDoNotHammerALostSnapshot(t *testing.T) {
	f := newFixture(t, "copy_hammer")
	f.execBoth(t, "CREATE TABLE t (id int)")
	f.execSource(t, "INSERT INTO t VALUES (1)")
	f.planTables(t, 1<<30)
	h := f.beginHeldEpoch(t)
	f.shareSnapshot(t, h)
	f.killHolder(t) // and the copy's session with it
	before := transactions(t, f.src)
	begun := time.Now()
	var streams sync.WaitGroup
	for range 4 {
		streams.Go(func() {
			_, err := bulk.CopyParts(context.Background(), f.options(), nil)
			if err != nil { // one finds the part, the others may find it taken
				requireFault(t, err, fault.Transient, bulk.CodeSnapshotLost)
			}
		})
	}
	streams.Wait()
	require.Less(t, time.Since(begun), 5*time.Second)
	require.Equal(t, "0", f.dst.QueryValue(t, "SELECT count(*) FROM timeferry.parts WHERE done_at IS NOT NULL"))
	time.Sleep(2 * time.Second) // the server's counters come late
	require.InDelta(t, 30, transactions(t, f.src)-before, 29)
}

func transactions(t *testing.T, db *pgtest.Database) int {
	t.Helper()
	n, err := strconv.Atoi(db.QueryValue(t, "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"))
	require.NoError(t, err)
	return n
}

// An epoch that is over is not brought back by a session that still holds its snapshot.
func TestOnlyTheCurrentEpochIsHeld(t *testing.T) {
	f := newFixture(t, "copy_current")
	h := f.beginHeldEpoch(t)
	ctx := context.Background()
	f.killHolder(t)
	second := f.beginHeldEpoch(t)
	require.Greater(t, second.epoch, h.epoch)
	current, err := ledger.RecordHeld(ctx, f.ledger, ledger.RoleCopy, h.epoch, ledger.Held{Snapshot: "late", Host: "late"})
	require.NoError(t, err)
	require.False(t, current)
	shared, err := ledger.SharedSnapshot(ctx, f.ledger)
	require.NoError(t, err)
	require.Equal(t, ledger.Shared{Epoch: second.epoch, Point: second.held.ConsistentPoint, Visible: second.held.Visible,
		Names: []string{second.held.Snapshot}, Hosts: map[string]string{ledger.RoleHolder: "first"}}, shared)
	require.NoError(t, ledger.ForgetHeld(ctx, f.ledger, ledger.RoleHolder, ledger.Held{Snapshot: second.held.Snapshot, Host: "another"}))
	require.NoError(t, ledger.ForgetHeld(ctx, f.ledger, ledger.RoleCopy, ledger.Held{Snapshot: second.held.Snapshot, Host: "first"}))
	require.Equal(t, "1", f.dst.QueryValue(t, "SELECT count(*) FROM timeferry.snapshots"))
	require.NoError(t, ledger.ForgetHeld(ctx, f.ledger, ledger.RoleHolder, ledger.Held{Snapshot: second.held.Snapshot, Host: "first"}))
	require.Equal(t, "0", f.dst.QueryValue(t, "SELECT count(*) FROM timeferry.snapshots"))
}

// The worker is replaced by one of this version in the middle of a copy: its ledger is brought up to date, and it goes on.
func TestCopyGoesOnWithAnOlderLedger(t *testing.T) {
	f := newFixture(t, "copy_older")
	f.execBoth(t, "CREATE TABLE t (id int)")
	f.execSource(t, "INSERT INTO t VALUES (1)")
	f.planTables(t, 1<<30)
	f.beginEpoch(t)
	f.execTarget(t, "DROP TABLE timeferry.snapshots; ALTER TABLE timeferry.epochs DROP COLUMN visible; ALTER TABLE timeferry.parts DROP COLUMN worker")
	f.copyAll(t)
	f.requireSame(t, "*", "t")
}
