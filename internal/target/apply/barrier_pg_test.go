package apply

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/compare"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// running is a Run over a script that goes on.
type running struct {
	*fixture
	script *script
	done   chan error
	cancel context.CancelFunc
}

func (f *fixture) run(t *testing.T, s *script) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{fixture: f, script: s, done: make(chan error, 1), cancel: cancel}
	go func() {
		r.done <- Run(ctx, f.options, func(change.LSN) (Feed, error) { return s.rewound(), nil }, f.record)
	}()
	t.Cleanup(r.stop(t))
	return r
}

func (r *running) stop(t *testing.T) func() {
	return func() {
		r.cancel()
		if r.done == nil {
			return
		}
		err := <-r.done
		r.done = nil
		if !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	}
}

func (f *fixture) await(t *testing.T, what string, query, want string) {
	t.Helper()
	require.Eventually(t, func() bool { return f.db.QueryValue(t, query) == want }, 20*time.Second, 2*time.Millisecond, "%s: %s is not %s", what, query, want)
}

const barrierState = "SELECT state FROM timeferry.barrier"

func inserts(first, n int) []change.Event {
	rel := relation("t", 'd', "id*", "v")
	var txs [][]change.Event
	for i := range n {
		txs = append(txs, tx(ins(rel, fmt.Sprint(first+i), "x")))
	}
	return transactions(first, txs...)
}

const oneTable = "CREATE TABLE t (id int PRIMARY KEY, v text)"

// The apply stands exactly at the barrier, and goes on when the target was looked at.
func TestTheApplyStopsExactlyAtTheBarrier(t *testing.T) {
	f := newFixture(t, oneTable, "t")
	conn := f.db.Conn(t)
	s := newScript(inserts(1, 5))
	f.run(t, s)
	f.await(t, "applied", "SELECT count(*) FROM t", "5")
	serial, err := ledger.AskBarrier(t.Context(), conn, lsnOf(4))
	require.NoError(t, err)
	s.add(inserts(6, 10)...) // transactions 6 to 15: committed after the order, as far as the applier can know
	time.Sleep(200 * time.Millisecond)
	require.Equal(t, "5", f.db.QueryValue(t, "SELECT count(*) FROM t"), "held while the position is not known")
	ok, err := ledger.PlaceBarrier(t.Context(), conn, serial, lsnOf(9))
	require.NoError(t, err)
	require.True(t, ok)
	f.await(t, "at the barrier", barrierState, ledger.BarrierReached)
	require.Equal(t, "8", f.db.QueryValue(t, "SELECT max(id) FROM t"), "transactions below it, no other")
	time.Sleep(100 * time.Millisecond)
	require.Equal(t, "8", f.db.QueryValue(t, "SELECT count(*) FROM t"))
	ok, err = ledger.TakeBarrier(t.Context(), conn, serial)
	require.NoError(t, err)
	require.True(t, ok)
	f.await(t, "goes on", "SELECT count(*) FROM t", "15")
}

// Idle: only progress comes beyond the barrier.
func TestProgressComesToTheBarrier(t *testing.T) {
	f := newFixture(t, oneTable, "t")
	conn := f.db.Conn(t)
	s := newScript(inserts(1, 2))
	f.run(t, s)
	f.await(t, "applied", "SELECT count(*) FROM t", "2")
	serial, err := ledger.AskBarrier(t.Context(), conn, lsnOf(5))
	require.NoError(t, err)
	ok, err := ledger.PlaceBarrier(t.Context(), conn, serial, lsnOf(7))
	require.NoError(t, err)
	require.True(t, ok)
	s.add(change.Event{Kind: change.Progress, FinalLSN: lsnOf(6)}, change.Event{Kind: change.Progress, FinalLSN: lsnOf(8)})
	f.await(t, "at the barrier", barrierState, ledger.BarrierReached)
	_, err = ledger.TakeBarrier(t.Context(), conn, serial)
	require.NoError(t, err)
	f.await(t, "goes on", "SELECT applied_lsn::text FROM timeferry.migration", lsnOf(8).String())
}

// Nobody renews the order: the apply does not wait for ever, and a late claim of the barrier is refused.
func TestADeadComparisonHoldsNobodyUp(t *testing.T) {
	for _, placed := range []bool{false, true} {
		f := newFixture(t, oneTable, "t")
		conn := f.db.Conn(t)
		serial, err := ledger.AskBarrier(t.Context(), conn, lsnOf(3))
		require.NoError(t, err)
		if placed {
			_, err := ledger.PlaceBarrier(t.Context(), conn, serial, lsnOf(3))
			require.NoError(t, err)
		}
		f.run(t, newScript(inserts(1, 6)))
		f.await(t, "held", "SELECT count(*) FROM t", "2")
		f.db.Exec(t, "UPDATE timeferry.barrier SET until = now() - interval '1 s'")
		f.await(t, "goes on", "SELECT count(*) FROM t", "6")
		require.Equal(t, ledger.BarrierMissed, f.db.QueryValue(t, barrierState))
		for _, move := range []func() (bool, error){
			func() (bool, error) { return ledger.PlaceBarrier(t.Context(), conn, serial, lsnOf(5)) },
			func() (bool, error) { return ledger.TakeBarrier(t.Context(), conn, serial) },
			func() (bool, error) { return ledger.RenewBarrier(t.Context(), conn, serial) },
		} {
			ok, err := move()
			require.NoError(t, err)
			require.False(t, ok)
		}
	}
}

// The applier dies while it stands: the next one stands in the same place.
func TestAnotherApplierStandsAtTheSameBarrier(t *testing.T) {
	f := newFixture(t, oneTable, "t")
	conn := f.db.Conn(t)
	serial, err := ledger.AskBarrier(t.Context(), conn, lsnOf(3))
	require.NoError(t, err)
	f.db.Exec(t, "UPDATE timeferry.barrier SET until = now() + interval '1 hour'")
	s := newScript(inserts(1, 6))
	for range 3 {
		r := f.run(t, s)
		f.await(t, "held", "SELECT count(*) FROM t", "2")
		f.db.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'timeferry apply'")
		time.Sleep(50 * time.Millisecond)
		r.stop(t)()
	}
	r := f.run(t, s)
	_, err = ledger.PlaceBarrier(t.Context(), conn, serial, lsnOf(5))
	require.NoError(t, err)
	f.await(t, "at the barrier", barrierState, ledger.BarrierReached)
	r.stop(t)()
	f.run(t, s)
	time.Sleep(100 * time.Millisecond)
	require.Equal(t, "4", f.db.QueryValue(t, "SELECT count(*) FROM t"), "it stands as long as the barrier is open")
	_, err = ledger.TakeBarrier(t.Context(), conn, serial)
	require.NoError(t, err)
	f.await(t, "goes on", "SELECT count(*) FROM t", "6")
}

// What is touched is noted with the changes, once a barrier was taken, and under that barrier.
func TestTouchedRowsAreNoted(t *testing.T) {
	f := newFixture(t, oneTable+`; CREATE TABLE named (name text PRIMARY KEY, v text); CREATE TABLE h (ts timestamptz, dev int, v text, PRIMARY KEY (dev, ts)); CREATE TABLE u (id uuid PRIMARY KEY)`,
		"t", "named", "h", "u")
	conn := f.db.Conn(t)
	plan := func(name, column string, kind compare.Kind) {
		require.NoError(t, ledger.PlanChunks(t.Context(), conn, ident.Table{Schema: "public", Name: name}, ledger.Tracked{Column: column, Kind: kind}, nil))
	}
	plan("t", "id", compare.Int)
	plan("named", "name", compare.Value)
	plan("h", "ts", compare.Timestamp)
	s := newScript(inserts(1, 3))
	f.run(t, s)
	f.await(t, "applied", "SELECT count(*) FROM t", "3")
	require.Equal(t, "0", f.db.QueryValue(t, "SELECT count(*) FROM timeferry.touched"), "nobody asked yet")
	serial, err := ledger.AskBarrier(t.Context(), conn, lsnOf(4))
	require.NoError(t, err)
	_, err = ledger.PlaceBarrier(t.Context(), conn, serial, lsnOf(4))
	require.NoError(t, err)
	rel, named, h, u := relation("t", 'd', "id*", "v"), relation("named", 'd', "name*", "v"), relation("h", 'd', "ts*", "dev*", "v"), relation("u", 'd', "id*")
	s.add(transactions(4,
		tx(ins(rel, "1000", "x"), upd(rel, "2", "y"), updFrom(rel, row1("3", null), "200", "z")),
		tx(ins(named, "a", "b"), ins(named, "it's", "b"), updFrom(named, row1("a", null), "c", "d")),
		tx(ins(h, "2024-01-01 00:00:01+00", "1", "a"), ins(h, "2024-03-01 00:00:00+00", "1", "a")),
		tx(del(h, "2024-01-01 00:00:01+00", "1", null)),
		tx(ins(u, "00000000-0000-0000-0000-000000000001")))...)
	f.await(t, "at the barrier", barrierState, ledger.BarrierReached)
	_, err = ledger.TakeBarrier(t.Context(), conn, serial)
	require.NoError(t, err)
	f.await(t, "goes on", "SELECT count(*) FROM u", "1")
	touches, err := ledger.Touches(t.Context(), conn)
	require.NoError(t, err)
	ranges := func(name string) []compare.Range {
		var all []compare.Range
		for _, touch := range touches[ident.Table{Schema: "public", Name: name}] {
			require.Equal(t, serial, touch.Generation)
			all = append(all, touch.Bucket.Range())
		}
		return compare.Merge(all)
	}
	require.Equal(t, []compare.Range{{Low: 0, High: 63}, {Low: 192, High: 255}, {Low: 960, High: 1023}}, ranges("t"), "old and new key")
	var names []string
	for _, touch := range touches[ident.Table{Schema: "public", Name: "named"}] {
		require.Equal(t, compare.ByValue, touch.Bucket.Shift)
		names = append(names, touch.Bucket.Value)
	}
	require.ElementsMatch(t, []string{"a", "c", "it's"}, names)
	require.Equal(t, []compare.Range{compare.Everything()}, ranges("u"), "not planned: anything may be meant")
	require.Len(t, ranges("h"), 2)
	// A column that the old row does not tell may have had any value.
	plan("h", "v", compare.Int)
	serial, err = ledger.AskBarrier(t.Context(), conn, lsnOf(9))
	require.NoError(t, err)
	_, err = ledger.PlaceBarrier(t.Context(), conn, serial, lsnOf(9))
	require.NoError(t, err)
	s.add(transactions(9, tx(upd(h, "2024-03-01 00:00:00+00", "1", "7")), tx(change.Event{Kind: change.Truncate, Truncated: []*change.Relation{rel}}))...)
	f.await(t, "at the barrier", barrierState, ledger.BarrierReached)
	_, err = ledger.TakeBarrier(t.Context(), conn, serial)
	require.NoError(t, err)
	f.await(t, "goes on", "SELECT count(*) FROM t", "0")
	f.await(t, "goes on", "SELECT string_agg(table_name || shift, ' ' ORDER BY table_name) FROM timeferry.touched WHERE generation = "+fmt.Sprint(serial), "h64 t64")
}
