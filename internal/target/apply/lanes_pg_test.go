package apply

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// lanesAt is what the ledger has about lanes: how far each is.
func lanesAt(t testing.TB, f *fixture) []string {
	t.Helper()
	return f.db.Dump(t, "SELECT lane || ' of ' || of, from_lsn || ' to ' || applied_lsn FROM timeferry.lanes ORDER BY lane")
}

// rowsOf is one transaction with rows first to last.
func rowsOf(rel *change.Relation, first, last int) []change.Event {
	var events []change.Event
	for i := first; i <= last; i++ {
		events = append(events, ins(rel, fmt.Sprint(i), "new"))
	}
	return events
}

func laned(t testing.TB, lanes int) (*fixture, *change.Relation) {
	t.Helper()
	f := newFixture(t, "CREATE TABLE t (id int PRIMARY KEY, v text)", "t")
	f.options.Lanes, f.options.LaneChanges = lanes, 1
	return f, relation("t", 'd', "id*", "v")
}

func TestLanesShareABatch(t *testing.T) {
	f, rel := laned(t, 3)
	f.mustApply(t, transactions(1, rowsOf(rel, 1, 300)))
	require.Equal(t, "300", f.db.QueryValue(t, "SELECT count(*) FROM t"))
	writers := f.db.QueryValue(t, "SELECT count(DISTINCT xmin::text) FROM t")
	require.Equal(t, "3", writers, "each lane has its transaction")
	require.Equal(t, []string{"1 of 3|0/0 to 0/6E", "2 of 3|0/0 to 0/6E"}, lanesAt(t, f))
}

// A lane that has committed is left out, whatever the number of lanes is now, and the others are made up for.
func TestLanesThatAreAhead(t *testing.T) {
	for _, lanes := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(lanes), func(t *testing.T) {
			f, rel := laned(t, 3)
			events := transactions(1, rowsOf(rel, 1, 100), rowsOf(rel, 101, 200))
			f.mustApply(t, events)
			// What a crash after the first lane's commit would have left behind.
			f.db.Exec(t, `DELETE FROM t WHERE xmin::text <> (SELECT xmin::text FROM timeferry.lanes WHERE lane = 1);
				UPDATE timeferry.migration SET applied_lsn = NULL; DELETE FROM timeferry.lanes WHERE lane = 2`)
			share := f.db.QueryValue(t, "SELECT count(*) FROM t")
			require.NotEqual(t, "0", share)
			f.options.Lanes, f.seen = lanes, nil
			more := transactions(3, rowsOf(rel, 201, 250))
			f.mustApply(t, append(events, more...))
			require.Equal(t, "250 250", f.db.QueryValue(t, "SELECT count(*) || ' ' || count(DISTINCT id) FROM t"))
		})
	}
}

// The lanes' end may lie beyond the last of their transactions, in whose place nothing comes, or inside of the next one's commit record.
func TestLanesThatEndBetweenTransactions(t *testing.T) {
	for name, end := range map[string]change.LSN{"behind a commit": lsnOf(1) + 50, "inside of a commit record": lsnOf(2) + 5} {
		t.Run(name, func(t *testing.T) {
			f, rel := laned(t, 2)
			f.mustApply(t, transactions(1, rowsOf(rel, 1, 100)))
			f.db.Exec(t, fmt.Sprintf(`DELETE FROM t WHERE xmin::text <> (SELECT xmin::text FROM timeferry.lanes WHERE lane = 1);
				UPDATE timeferry.migration SET applied_lsn = NULL; UPDATE timeferry.lanes SET applied_lsn = '%s'`, end))
			f.seen = nil
			f.mustApply(t, transactions(1, rowsOf(rel, 1, 100), rowsOf(rel, 101, 200)))
			require.Equal(t, "200 200", f.db.QueryValue(t, "SELECT count(*) || ' ' || count(DISTINCT id) FROM t"))
		})
	}
}

// Who waits for a row that another lane, or somebody else, holds gives up, and the batch goes over one connection.
func TestLanesInEachOthersWay(t *testing.T) {
	f, rel := laned(t, 3)
	f.mustApply(t, transactions(1, rowsOf(rel, 1, 30)))
	holder := f.db.Conn(t)
	_, err := holder.Exec(t.Context(), "BEGIN; SELECT FROM t WHERE id = 7 FOR UPDATE")
	require.NoError(t, err)
	time.AfterFunc(2500*time.Millisecond, func() { _, _ = holder.Exec(context.Background(), "ROLLBACK") })
	var updates []change.Event
	for i := 1; i <= 30; i++ {
		updates = append(updates, upd(rel, fmt.Sprint(i), "changed"))
	}
	f.mustApply(t, append(transactions(1, rowsOf(rel, 1, 30)), transactions(2, updates, rowsOf(rel, 31, 60))...))
	require.Equal(t, "30 30", f.db.QueryValue(t, "SELECT count(*) FILTER (WHERE v = 'changed') || ' ' || count(*) FILTER (WHERE v = 'new') FROM t"))
	require.Equal(t, "1", f.db.QueryValue(t, "SELECT count(DISTINCT xmin::text) FROM t WHERE v = 'changed'"))
}

// What must not be shared is not: tables where rows may stand in each other's way, keys that change, TRUNCATE.
func TestWhatLanesDoNotShare(t *testing.T) {
	t.Run("a second unique index", func(t *testing.T) {
		f, rel := laned(t, 3)
		f.db.Exec(t, "CREATE UNIQUE INDEX ON t (lower(v)) WHERE v <> 'new'")
		f.mustApply(t, transactions(1, rowsOf(rel, 1, 100)))
		require.Equal(t, "1", f.db.QueryValue(t, "SELECT count(DISTINCT xmin::text) FROM t"))
	})
	t.Run("no key", func(t *testing.T) {
		f := newFixture(t, "CREATE TABLE t (id int, v text)", "t")
		f.options.Lanes, f.options.LaneChanges = 3, 1
		rel := relation("t", 'f', "id", "v")
		f.mustApply(t, transactions(1, append(rowsOf(rel, 1, 50), updFrom(rel, row1("7", "new"), "7", "old"), del(rel, "8", "new"))))
		require.Equal(t, "49 1", f.db.QueryValue(t, "SELECT count(*) || ' ' || count(*) FILTER (WHERE v = 'old') FROM t"))
	})
	t.Run("a key that changes", func(t *testing.T) {
		f, rel := laned(t, 3)
		f.mustApply(t, transactions(1, rowsOf(rel, 1, 50), tx(del(rel, "7", null), updFrom(rel, row1("8", unchanged), "7", "moved"))))
		require.Equal(t, "49 moved 1", f.db.QueryValue(t, "SELECT count(*) || ' ' || max(v) FILTER (WHERE id = 7) || ' ' || count(DISTINCT xmin::text) FROM t"))
	})
	t.Run("truncate", func(t *testing.T) {
		f, rel := laned(t, 3)
		f.mustApply(t, transactions(1, rowsOf(rel, 1, 50), append(tx(change.Event{Kind: change.Truncate, Truncated: []*change.Relation{rel}}), rowsOf(rel, 1, 20)...)))
		require.Equal(t, "20 1", f.db.QueryValue(t, "SELECT count(*) || ' ' || count(DISTINCT xmin::text) FROM t"))
	})
}

// Whoever claims the lanes waits for what is under way in them; what comes later from the one before changes nothing.
func TestLanesAreClaimed(t *testing.T) {
	f, _ := laned(t, 3)
	claimer, zombie := f.db.Conn(t), f.db.Conn(t)
	require.NoError(t, ledger.EnsureLanes(t.Context(), claimer))
	_, _, err := ledger.ClaimLanes(t.Context(), claimer, "first", 3)
	require.NoError(t, err)
	move := func(holder string) int64 {
		tag, err := zombie.Exec(t.Context(), ledger.MoveLaneSQL, 2, holder, "0/0", "0/100", 3, `[["public","t"]]`)
		require.NoError(t, err)
		return tag.RowsAffected()
	}
	_, err = zombie.Exec(t.Context(), "BEGIN")
	require.NoError(t, err)
	require.EqualValues(t, 1, move("first"))
	type claim struct {
		ahead ledger.Ahead
		err   error
	}
	claimed := make(chan claim, 1)
	go func() {
		_, ahead, err := ledger.ClaimLanes(context.Background(), claimer, "second", 3)
		claimed <- claim{ahead, err}
	}()
	select {
	case <-claimed:
		require.Fail(t, "claimed while a lane is at work")
	case <-time.After(300 * time.Millisecond):
	}
	_, err = zombie.Exec(t.Context(), "COMMIT")
	require.NoError(t, err)
	got := <-claimed
	require.NoError(t, got.err)
	require.Equal(t, ledger.Ahead{Lanes: map[int]bool{2: true}, Of: 3, Split: map[ident.Table]bool{{Schema: "public", Name: "t"}: true}, End: 0x100}, got.ahead)
	require.Zero(t, move("first"), "it has lost them")
}

// Every seed is one history, applied over lanes whose sessions are killed between their commits too.
func TestLanesExactlyOnceWhateverDies(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY, v text, big text)`, "t")
			events, want := workload(seed+100, 3000)
			random := rand.New(rand.NewPCG(seed, 5))
			killer := f.db.Conn(t)
			for f.last().AppliedLSN <= lsnOf(3000) {
				before := f.last().AppliedLSN
				f.options.BatchChanges, f.options.Lanes, f.options.LaneChanges = 1+random.IntN(200), 1+random.IntN(5), 1
				stop := f.start(t, same(newScript(events)))
				for range random.IntN(6) {
					time.Sleep(time.Duration(random.IntN(15)) * time.Millisecond)
					_, err := killer.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN (
						SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'timeferry apply' ORDER BY random() LIMIT 1)`)
					require.NoError(t, err)
				}
				if random.IntN(2) == 0 { // on a slow machine it would come to nothing otherwise
					eventually(t, "it gets on", func() bool { return f.last().AppliedLSN > before })
				}
				time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
				require.ErrorIs(t, stop(), context.Canceled)
			}
			requireRows(t, f, want)
		})
	}
}
