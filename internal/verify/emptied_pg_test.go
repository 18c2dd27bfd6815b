package verify_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/testkit/pgtest"
)

// TRUNCATE takes the rows from older snapshots too. A table that is emptied between the barrier and its being read is neither
// equal nor different: it is unverified, and compared at the next barrier.
func TestEmptiedAfterTheBarrier(t *testing.T) {
	w := newWorld(t, pgtest.Source(t), pgtest.Target(t))
	requireEqual(t, w.mustRun(t, w.options("before")))
	o := w.options("emptied")
	o.Full = true
	var once sync.Once
	o.Busy = func(context.Context) (string, error) { // asked before anything is read
		once.Do(func() { w.src.Exec(t, "SET lock_timeout = '10s'; TRUNCATE quiet, m") })
		return "", nil
	}
	out := w.mustRun(t, o)
	for _, name := range []string{"quiet", "m"} {
		r := tableOf(t, out, name)
		require.True(t, r.Equal, name)
		require.False(t, r.Unequal, name)
		require.True(t, r.Unverified, name)
	}
	require.False(t, tableOf(t, out, "pk").Unverified)
	w.awaitApplied(t)
	requireEqual(t, w.mustRun(t, w.options("after")))
}

// What was read is not locked until everything is compared: between two pieces nothing is, so that an application's ALTER TABLE or
// TRUNCATE waits for one piece at most.
func TestNothingIsLockedBetweenPieces(t *testing.T) {
	w := newWorld(t, pgtest.Source(t), pgtest.Target(t))
	const locked = `SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE a.application_name = 'timeferry verify' AND a.datname = current_database() AND n.nspname NOT IN ('pg_catalog', 'information_schema')`
	o := w.options("unlocked")
	o.Parallel = 1
	asked := 0
	o.Busy = func(context.Context) (string, error) { // before each piece
		asked++
		for _, db := range []*pgtest.Database{w.src, w.dst} {
			require.Equal(t, "0", db.QueryValue(t, locked))
		}
		if asked == 3 {
			w.src.Exec(t, "SET lock_timeout = '10s'; BEGIN; LOCK TABLE quiet, m, pk IN ACCESS EXCLUSIVE MODE; ROLLBACK")
		}
		return "", nil
	}
	requireEqual(t, w.mustRun(t, o))
	require.Greater(t, asked, 3)
}
