package apply

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

// start runs the apply in the background; stop ends it and returns its error.
func (f *fixture) start(t testing.TB, open func(change.LSN) (Feed, error)) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := Run(ctx, f.options, open, f.record)
		if ctx.Err() == nil {
			t.Errorf("Run ended by itself: %v", err)
		}
		done <- err
	}()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() {
			cancel()
			err = <-done
		})
		return err
	}
	t.Cleanup(func() { _ = stop() }) // a test that failed leaves it running
	return stop
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, 30*time.Second, 2*time.Millisecond, what)
}

func same(s *script) func(change.LSN) (Feed, error) {
	return func(change.LSN) (Feed, error) { return s.rewound(), nil }
}

func TestTransactionsOnTheTargetAreSkipped(t *testing.T) {
	f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY)`, "t")
	rel := relation("t", 'd', "id*")
	first := transactions(1, tx(ins(rel, "1")), tx(ins(rel, "2")))
	f.mustApply(t, first)
	f.mustApply(t, append(first, transactions(3, tx(ins(rel, "3")))...))
	require.Equal(t, []string{"1", "2", "3"}, f.db.Dump(t, "SELECT id FROM t ORDER BY 1"))
	require.Equal(t, "0/136|2024-05-06 07:08:12+00", f.db.QueryValue(t, "SELECT applied_lsn, applied_commit_time FROM timeferry.migration"))
	counters, err := ledger.ReadCounters(t.Context(), f.db.Conn(t))
	require.NoError(t, err)
	require.Equal(t, ledger.Counters{Transactions: 3, Changes: 3}, counters, "over all runs")
	require.Equal(t, []TableCount{{Table: ident.Table{Schema: "public", Name: "t"}, Changes: 1, Transactions: 1}}, f.tables(), "of the last one")
	require.EqualValues(t, 1, f.last().Transactions)
}

// A position may come from the source's idea of its WAL's end, which can lie within a record.
func TestPositionInsideOfACommitRecordLosesNothing(t *testing.T) {
	f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY)`, "t")
	rel := relation("t", 'd', "id*")
	f.db.Exec(t, ledger.SetAppliedSQL, (lsnOf(2) + 5).String(), nil, 0, 0)
	f.mustApply(t, transactions(1, tx(ins(rel, "1")), tx(ins(rel, "2")), tx(ins(rel, "3"))))
	require.Equal(t, []string{"2", "3"}, f.db.Dump(t, "SELECT id FROM t ORDER BY 1"))
}

func TestLoneTransactionIsVisibleAtOnce(t *testing.T) {
	f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY)`, "t")
	rel := relation("t", 'd', "id*")
	s := newScript(transactions(1, tx(ins(rel, "1"))))
	stop := f.start(t, func(change.LSN) (Feed, error) { return s, nil })
	eventually(t, "first transaction", func() bool { return f.last().AppliedLSN > lsnOf(1) })
	var worst time.Duration
	for i := 2; i < 30; i++ {
		began := time.Now()
		s.add(transactions(i, tx(ins(rel, sprint(i))))...)
		eventually(t, "lone transaction", func() bool { return f.last().AppliedLSN > lsnOf(i) })
		worst = max(worst, time.Since(began))
	}
	require.Less(t, worst, 100*time.Millisecond)
	require.ErrorIs(t, stop(), context.Canceled)
}

func TestIdlePositionMovesWithoutAWritePerEvent(t *testing.T) {
	f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY)`, "t")
	s := newScript(nil)
	stop := f.start(t, func(change.LSN) (Feed, error) { return s, nil })
	began := time.Now()
	n := 0
	for ; time.Since(began) < 1200*time.Millisecond; n++ {
		s.add(change.Event{Kind: change.Progress, FinalLSN: lsnOf(2*n + 1)})
		s.add(transactions(2*n+2, nil)...)
		time.Sleep(2 * time.Millisecond)
	}
	eventually(t, "last position", func() bool { return f.last().AppliedLSN >= lsnOf(2*n) })
	writes := map[change.LSN]bool{}
	f.mu.Lock()
	for _, p := range f.seen {
		writes[p.AppliedLSN] = true
	}
	f.mu.Unlock()
	require.LessOrEqual(t, len(writes), 6)
	require.GreaterOrEqual(t, len(writes), 3)
	require.EqualValues(t, n, f.last().Transactions)

	began = time.Now()
	marker := change.Event{Kind: change.Message, Prefix: contract.MarkerPrefix, Content: []byte("x"), Transactional: true}
	s.add(transactions(2*n+3, nil)...)
	s.add(transactions(2*n+4, tx(marker))...)
	eventually(t, "marker", func() bool { return f.last().AppliedLSN > lsnOf(2*n+4) })
	require.Less(t, time.Since(began), 200*time.Millisecond, "a marker must not wait for its turn")
	require.ErrorIs(t, stop(), context.Canceled)
}

func TestFlushedFollowsApplied(t *testing.T) {
	f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY)`, "t")
	rel := relation("t", 'd', "id*")
	stop := f.start(t, same(newScript(transactions(1, tx(ins(rel, "1")), tx(ins(rel, "2"))))))
	eventually(t, "flush", func() bool { return f.last().FlushedLSN > lsnOf(2) })
	require.ErrorIs(t, stop(), context.Canceled)
	for _, p := range f.seen {
		require.LessOrEqual(t, p.FlushedLSN, p.AppliedLSN)
	}
	require.Zero(t, f.seen[0].AppliedLSN)
	require.Less(t, f.seen[1].FlushedLSN, f.seen[1].AppliedLSN, "an asynchronous commit is not on the disk at once")
}

func TestFaultOfTheFeedIsReturned(t *testing.T) {
	f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY)`, "t")
	rel := relation("t", 'd', "id*")
	s := newScript(transactions(1, tx(ins(rel, "1"))))
	s.err = fault.New(fault.Integrity, "read spool", "", "", "broken").WithCode("spool-broken")
	requireFault(t, Run(t.Context(), f.options, same(s), nil), fault.Integrity, "spool-broken")
	require.Equal(t, "1", f.db.QueryValue(t, "SELECT count(*) FROM t"), "what came before is applied")

	s.err = errors.New("plain")
	err := Run(t.Context(), f.options, same(s), nil)
	var own *fault.Error
	require.ErrorAs(t, err, &own)
	require.ErrorIs(t, err, s.err)

	badOrder := newScript([]change.Event{{Kind: change.Commit, EndLSN: 5}})
	require.Equal(t, fault.Bug, fault.Classify(Run(t.Context(), f.options, same(badOrder), nil)))
}

func TestReplicaRoleNotAllowed(t *testing.T) {
	f := newFixture(t, `CREATE ROLE apply_plain LOGIN PASSWORD 'x'`)
	t.Cleanup(func() { f.db.Exec(t, "DROP ROLE apply_plain") })
	f.options.Target.User, f.options.Target.Password = "apply_plain", "x"
	requireFault(t, Run(t.Context(), f.options, same(newScript(nil)), nil), fault.Operator, CodeReplicaRole)
}

func TestForeignKeysWithoutReplicaRole(t *testing.T) {
	f := newFixture(t, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL REFERENCES a)`, "a", "b")
	f.options.ReplicaRole = false
	a, b := relation("a", 'd', "id*"), relation("b", 'd', "id*", "a")
	var events []change.Event
	for i := range 2000 {
		events = append(events, ins(a, sprint(i)), ins(b, sprint(i), sprint(i)))
		if i%2 == 0 {
			events = append(events, del(b, sprint(i), null), del(a, sprint(i)))
		}
	}
	f.mustApply(t, transactions(1, events))
	require.Equal(t, "1000|1000", f.db.QueryValue(t, "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)"))
	err := f.apply(t, transactions(2, tx(ins(b, "5000", "5000"))))
	require.Contains(t, requireFault(t, err, fault.Integrity, CodeConflict).Error(), "b_a_fkey")
}

// While the feed is never empty, batches fill up in the middle of transactions: each must end with that transaction.
func TestFullBatchesCommit(t *testing.T) {
	modes(t, func(t *testing.T, replica bool) {
		f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY)`, "t")
		f.options.ReplicaRole, f.options.BatchChanges = replica, 5
		rel := relation("t", 'd', "id*")
		var txs [][]change.Event
		for i := range 100 {
			txs = append(txs, tx(ins(rel, sprint(3*i)), ins(rel, sprint(3*i+1)), ins(rel, sprint(3*i+2))))
		}
		f.mustApply(t, transactions(1, txs...))
		require.Equal(t, "300", f.db.QueryValue(t, "SELECT count(*) FROM t"))
		require.EqualValues(t, 300, f.last().Changes)
		positions := map[change.LSN]bool{}
		for _, p := range f.seen {
			if p.AppliedLSN > 0 {
				positions[p.AppliedLSN] = true
			}
		}
		require.Len(t, positions, 50, "two transactions each")
	})
}

// generated is a feed of one transaction of n inserts, made on the fly.
type generated struct {
	rel  *change.Relation
	n, i int
	row  []change.Datum
}

func (g *generated) Next(ctx context.Context) (change.Event, error) {
	g.i++
	switch {
	case g.i == 1:
		return change.Event{Kind: change.Begin, FinalLSN: 100}, nil
	case g.i <= g.n+1:
		g.row = row1(sprint(g.i), "some text that is in every row of it")
		return change.Event{Kind: change.Insert, Relation: g.rel, New: g.row}, nil
	case g.i == g.n+2:
		return change.Event{Kind: change.Commit, FinalLSN: 100, EndLSN: 110}, nil
	}
	<-ctx.Done()
	return change.Event{}, ctx.Err()
}

func (g *generated) Ready() bool { return g.i < g.n+2 }

func TestHugeTransactionNeedsLittleMemory(t *testing.T) {
	f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`, "t")
	rel := relation("t", 'd', "id*", "v")
	const n = 600_000
	var peak uint64
	watching, stopWatching := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-watching.Done():
				return
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}
	}()
	began := time.Now()
	require.NoError(t, f.runUntil(t, func(change.LSN) (Feed, error) { return &generated{rel: rel, n: n}, nil }, 110))
	t.Logf("%d rows in %s, peak heap %d MiB", n, time.Since(began), peak>>20)
	stopWatching()
	<-done
	require.Equal(t, sprint(n), f.db.QueryValue(t, "SELECT count(*) FROM t"))
	require.Less(t, peak, uint64(120<<20))
}

// workload makes a seeded history over a few keys, so that batches fold, and the rows that must be there in the end.
func workload(seed uint64, txs int) (events []change.Event, want map[string]string) {
	random := rand.New(rand.NewPCG(seed, 1))
	rel := relation("t", 'd', "id*", "v", "big")
	want = map[string]string{}
	for n := 1; n <= txs; n++ {
		var changes []change.Event
		for range 1 + random.IntN(8) {
			id, v := sprint(random.IntN(60)), sprint(random.IntN(1000))
			old, exists := want[id]
			to := sprint(random.IntN(60))
			_, taken := want[to]
			switch {
			case !exists:
				changes = append(changes, ins(rel, id, v, "big"+v))
				want[id] = v + "|big" + v
			case random.IntN(4) == 0:
				changes = append(changes, del(rel, id, null, null))
				delete(want, id)
			case !taken && random.IntN(3) == 0:
				changes = append(changes, updFrom(rel, row1(id, null, null), to, v, unchanged))
				delete(want, id)
				want[to] = v + "|" + bigOf(old)
			default:
				changes = append(changes, upd(rel, id, v, unchanged))
				want[id] = v + "|" + bigOf(old)
			}
		}
		events = append(events, transactions(n, changes)...)
	}
	return events, want
}

func bigOf(row string) string {
	for i := range row {
		if row[i] == '|' {
			return row[i+1:]
		}
	}
	return ""
}

func requireRows(t testing.TB, f *fixture, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for _, line := range f.db.Dump(t, "SELECT id || ':' || v, big FROM t") {
		for i := range line {
			if line[i] == ':' {
				got[line[:i]] = line[i+1:]
				break
			}
		}
	}
	require.Equal(t, want, got)
}

// Every seed is one history, applied in batches of different sizes while sessions are killed and Run is stopped.
func TestExactlyOnceWhateverDies(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(sprint(int(seed)), func(t *testing.T) {
			f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY, v text, big text)`, "t")
			events, want := workload(seed, 3000)
			random := rand.New(rand.NewPCG(seed, 2))
			f.options.ReplicaRole = seed%3 != 2
			killer := f.db.Conn(t)
			end := lsnOf(3000)
			for f.last().AppliedLSN <= end {
				f.options.BatchChanges = 1 + random.IntN(500)
				stop := f.start(t, same(newScript(events)))
				for range random.IntN(4) { // killed anywhere between two commits
					before := f.last().AppliedLSN
					eventually(t, "progress", func() bool { return f.last().AppliedLSN != before || f.last().AppliedLSN > end })
					time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
					_, err := killer.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'timeferry apply'")
					require.NoError(t, err)
				}
				time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
				require.ErrorIs(t, stop(), context.Canceled)
			}
			requireRows(t, f, want)
		})
	}
}

func TestTwoAppliersAtOnce(t *testing.T) {
	f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY, v text, big text)`, "t")
	events, want := workload(7, 2000)
	f.options.BatchChanges = 50
	first, second := f.start(t, same(newScript(events))), f.start(t, same(newScript(events)))
	eventually(t, "all applied", func() bool { return f.last().AppliedLSN > lsnOf(2000) })
	require.ErrorIs(t, first(), context.Canceled)
	require.ErrorIs(t, second(), context.Canceled)
	requireRows(t, f, want)
}

func TestTargetRestart(t *testing.T) {
	f := &fixture{db: pgtest.OwnTarget(t, nil)}
	require.NoError(t, ledger.Create(t.Context(), f.db.Conn(t), "apply"))
	f.db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text, big text)`)
	f.options = Options{Target: f.db.Endpoint, Starts: map[ident.Table]change.LSN{{Schema: "public", Name: "t"}: 0}, ReplicaRole: true, BatchChanges: 100}
	events, want := workload(11, 3000)
	half := 0
	for half = range events {
		if events[half].Kind == change.Commit && events[half].FinalLSN == lsnOf(1500) {
			break
		}
	}
	s := newScript(events[:half+1])
	stop := f.start(t, same(s))
	eventually(t, "first half", func() bool { return f.last().AppliedLSN > lsnOf(1500) })
	require.NoError(t, f.db.Server.Kill())
	require.NoError(t, f.db.Server.Start(t.Context()))
	s.add(events[half+1:]...)
	eventually(t, "second half", func() bool { return f.last().AppliedLSN > lsnOf(3000) })
	require.ErrorIs(t, stop(), context.Canceled)
	requireRows(t, f, want)
}
