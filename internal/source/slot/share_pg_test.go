package slot_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/source/slot"
	"timeferry/internal/testkit/pgtest"
)

// sharer runs Share until stop.
type sharer struct {
	name string
	done chan error
	end  context.CancelFunc
}

func mustShare(t *testing.T, o slot.ShareOptions) *sharer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &sharer{done: make(chan error, 1), end: cancel}
	ready := make(chan string, 1)
	go func() {
		s.done <- slot.Share(ctx, o, func(name string) error { ready <- name; return nil }, nil)
	}()
	t.Cleanup(cancel)
	select {
	case s.name = <-ready:
	case err := <-s.done:
		t.Fatalf("share: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("not shared within 30 s")
	}
	return s
}

func (s *sharer) stop(t *testing.T) {
	t.Helper()
	s.end()
	select {
	case err := <-s.done:
		require.NoError(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("share does not end")
	}
}

// The snapshot goes from session to session and stays the same, row for row, while the application writes.
func TestShareOutlivesTheHolder(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, "CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2); ALTER TABLE t OWNER TO shopmaster")
	first := mustHold(t, slot.HoldOptions{Source: src.Master, Slot: "share_outlives", Plugin: "pgoutput", Fresh: true})
	require.NotEmpty(t, first.held.Visible)
	src.Exec(t, "INSERT INTO t VALUES (3); DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (4)")
	conn := src.MasterConn(t)
	o := slot.ShareOptions{Source: src.Master, Subject: "share_outlives", Names: []string{first.held.Snapshot}, Visible: first.held.Visible}
	second := mustShare(t, o)
	require.NotEqual(t, first.held.Snapshot, second.name)
	first.stop(t)
	src.Exec(t, "INSERT INTO t VALUES (5)")
	require.Equal(t, 2, countUnder(t, conn, second.name))

	o.Names = []string{first.held.Snapshot, second.name} // the first is gone
	third := mustShare(t, o)
	second.stop(t)
	require.Equal(t, 2, countUnder(t, conn, third.name))
	third.stop(t)

	o.Names = append(o.Names, third.name)
	err := slot.Share(context.Background(), o, func(string) error { return errors.New("must not be called") }, nil)
	requireFault(t, err, fault.Transient, slot.CodeSnapshotLost)
}

// A server that restarts begins its names anew: an old name may be another session's snapshot.
func TestShareRefusesAnotherSnapshotOfTheSameName(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, "CREATE TABLE t (id int); ALTER TABLE t OWNER TO shopmaster")
	first := mustHold(t, slot.HoldOptions{Source: src.Master, Slot: "share_other", Plugin: "pgoutput", Fresh: true})
	src.Exec(t, "INSERT INTO t VALUES (1)")
	other := src.MasterConn(t)
	_, err := other.Exec(context.Background(), "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	require.NoError(t, err)
	var name string
	require.NoError(t, other.QueryRow(context.Background(), "SELECT pg_export_snapshot()").Scan(&name))
	o := slot.ShareOptions{Source: src.Master, Subject: "share_other", Names: []string{name}, Visible: first.held.Visible}
	err = slot.Share(context.Background(), o, func(string) error { return errors.New("must not be called") }, nil)
	requireFault(t, err, fault.Transient, slot.CodeSnapshotLost)
	o.Names = append(o.Names, first.held.Snapshot)
	mustShare(t, o).stop(t)
}

func TestShareNoticesLossAndPassesErrors(t *testing.T) {
	src := pgtest.Source(t)
	h := mustHold(t, slot.HoldOptions{Source: src.Master, Slot: "share_loss", Plugin: "pgoutput", Fresh: true})
	o := slot.ShareOptions{Source: src.Master, Subject: "share_loss", Names: []string{h.held.Snapshot}, Visible: h.held.Visible}
	broken := errors.New("told nobody")
	require.ErrorIs(t, slot.Share(context.Background(), o, func(string) error { return broken }, nil), broken)
	s := mustShare(t, o)
	begun := time.Now()
	src.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'timeferry snapshot holder' AND datname = current_database()")
	requireFault(t, <-s.done, fault.Transient, slot.CodeSnapshotLost)
	require.Less(t, time.Since(begun), 5*time.Second)
	requireFault(t, h.wait(t), fault.Transient, slot.CodeSnapshotLost)
}
