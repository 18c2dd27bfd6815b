package verify_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/fixture"
	"timeferry/internal/testkit/pgtest"
	"timeferry/internal/verify"
)

// Both sides change all the while, and no barrier raises a false alarm; idle, the barrier is come to as well.
func TestManyBarriersUnderLoad(t *testing.T) {
	for _, major := range fixture.Majors(12, 15, 18) {
		t.Run(fmt.Sprint(major), func(t *testing.T) { manyBarriers(t, newWorld(t, pgtest.SourceOf(t, major), pgtest.Target(t))) })
	}
}

func manyBarriers(t *testing.T, w *world) {
	idle := w.mustRun(t, w.options("idle"))
	requireEqual(t, idle)
	for _, r := range idle.Tables {
		require.True(t, r.Whole, "%s", r.Table)
	}
	require.Greater(t, tableOf(t, idle, "pk").Chunks, 5)
	require.EqualValues(t, 5000, tableOf(t, idle, "m").TargetRows)
	w.underLoad(t, func() {
		var last change.LSN
		for i := range 12 {
			o := w.options(fmt.Sprintf("load-%d", i))
			o.Full = i%2 == 0
			begun := time.Now()
			out := w.mustRun(t, o)
			requireEqual(t, out)
			require.Greater(t, out.Barrier, last)
			last = out.Barrier
			quiet := tableOf(t, out, "quiet")
			require.Equal(t, o.Full, quiet.Compared, "nothing touched it")
			require.Equal(t, !o.Full, quiet.Reliance > 0)
			t.Logf("%s full=%v: held at most %s, whole %s, pk %d of %d chunks, %d rows", out.Barrier, o.Full, out.Held, time.Since(begun),
				tableOf(t, out, "pk").Read, tableOf(t, out, "pk").Chunks, tableOf(t, out, "pk").SourceRows)
		}
	})
	w.awaitApplied(t)
	fenced := w.options("fenced")
	fenced.Fenced = true
	requireEqual(t, w.mustRun(t, fenced))
	fenced.Full, fenced.Name = true, "fenced whole"
	requireEqual(t, w.mustRun(t, fenced))
}

// What touched nothing is not read again, and what was touched is.
func TestOnlyWhatWasTouchedIsComparedAgain(t *testing.T) {
	w := newWorld(t, pgtest.Source(t), pgtest.Target(t))
	requireEqual(t, w.mustRun(t, w.options("first")))
	w.src.Exec(t, `UPDATE pk SET v = 'touched' WHERE id = 12345; INSERT INTO quiet VALUES (5000, 'new'); DELETE FROM ids WHERE id = md5('7')::uuid; UPDATE words SET n = 0 WHERE word = 'w3'; DELETE FROM words WHERE word = 'w4';
		DELETE FROM nokey WHERE ctid = (SELECT min(ctid) FROM nokey); INSERT INTO m VALUES ('2024-01-21 00:00:07', 1, 1)`)
	out := w.mustRun(t, w.options("second"))
	requireEqual(t, out)
	for name, most := range map[string]int64{"pk": 64, "quiet": 64, "ids": 10, "nokey": 1999, "m": 10, "words": 1} {
		r := tableOf(t, out, name)
		require.True(t, r.Compared, name)
		require.LessOrEqual(t, r.SourceRows, most, name)
	}
	require.NotZero(t, tableOf(t, out, "words").Reliance)
	out = w.mustRun(t, w.options("third"))
	requireEqual(t, out)
	for _, r := range out.Tables {
		require.False(t, r.Compared, "%s", r.Table)
	}
	// The touched row, wrong on the target: seen by the run that reads what was touched.
	w.src.Exec(t, "UPDATE pk SET v = 'again' WHERE id = 12345")
	w.awaitApplied(t)
	w.dst.Exec(t, "UPDATE pk SET v = 'AGAIN' WHERE id = 12345")
	pk := tableOf(t, w.mustRun(t, w.options("fourth")), "pk")
	require.False(t, pk.Equal)
	require.Len(t, pk.Differences, 1)
	require.Equal(t, []string{"v"}, pk.Differences[0].Columns)
	// It stays so until it is mended, whatever is touched.
	require.True(t, tableOf(t, w.mustRun(t, w.options("fifth")), "pk").Unverified)
	w.dst.Exec(t, "UPDATE pk SET v = 'again' WHERE id = 12345")
	requireEqual(t, w.mustRun(t, w.options("sixth")))
}

// Each wrong row is found and named, wherever it is, while others write.
func TestCorruptionsAreFound(t *testing.T) {
	w := newWorld(t, pgtest.Source(t), pgtest.Target(t))
	requireEqual(t, w.mustRun(t, w.options("before")))
	drills := []struct {
		name, table, spoil, mend string
		what                     []string
		columns                  []string
	}{
		{"a byte", "quiet", "UPDATE quiet SET v = 'Q' WHERE id = 77", "UPDATE quiet SET v = 'q' WHERE id = 77", []string{verify.Differs}, []string{"v"}},
		{"a row deleted", "quiet", "DELETE FROM quiet WHERE id = 78", "INSERT INTO quiet VALUES (78, 'q')", []string{verify.OnlySource}, nil},
		{"a row too many", "quiet", "INSERT INTO quiet VALUES (-78, 'q')", "DELETE FROM quiet WHERE id = -78", []string{verify.OnlyTarget}, nil},
		{"a duplicate", "quiet", "ALTER TABLE quiet DROP CONSTRAINT quiet_pkey; INSERT INTO quiet VALUES (79, 'q')",
			"DELETE FROM quiet WHERE ctid = (SELECT max(ctid) FROM quiet WHERE id = 79); ALTER TABLE quiet ADD PRIMARY KEY (id)", []string{verify.Duplicate}, nil},
		{"a byte in a chunk", "m", "UPDATE m SET v = v + 1e-9 WHERE dev = 3 AND ts = '2024-01-20 00:30+00'", "UPDATE m SET v = 1 WHERE dev = 3 AND ts = '2024-01-20 00:30+00'", []string{verify.Differs}, []string{"v"}},
		{"a row of a chunk deleted", "m", "DELETE FROM m WHERE dev = 3 AND ts = '2024-01-20 00:30+00'", "INSERT INTO m VALUES ('2024-01-20 00:30+00', 3, 1)", []string{verify.OnlySource}, nil},
		{"a row of a chunk too many", "m", "INSERT INTO m VALUES ('2024-01-22 00:00:09+00', 3, 1)", "DELETE FROM m WHERE ts = '2024-01-22 00:00:09+00'", []string{verify.OnlyTarget}, nil},
		{"a byte without a key", "nokey", "UPDATE nokey SET b = 'N1' WHERE ctid = (SELECT min(ctid) FROM nokey WHERE (a, b) = (1, 'n1'))",
			"UPDATE nokey SET b = 'n1' WHERE b = 'N1'", []string{verify.Duplicate, verify.OnlyTarget}, nil},
		{"a row without a key deleted", "nokey", "DELETE FROM nokey WHERE ctid = (SELECT min(ctid) FROM nokey WHERE (a, b) = (1, 'n1'))", "INSERT INTO nokey VALUES (1, 'n1')", []string{verify.Duplicate}, nil},
		{"a duplicate without a key", "nokey", "INSERT INTO nokey VALUES (1, 'n1')", "DELETE FROM nokey WHERE ctid = (SELECT max(ctid) FROM nokey WHERE (a, b) = (1, 'n1'))", []string{verify.Duplicate}, nil},
	}
	for i, d := range drills {
		t.Run(d.name, func(t *testing.T) {
			w.dst.Exec(t, d.spoil)
			o := w.options(fmt.Sprintf("drill-%d", i))
			o.Full = true
			out := w.mustRun(t, o)
			for _, r := range out.Tables {
				require.Equal(t, r.Table.Name != d.table, r.Equal, "%s", r.Table)
			}
			found := tableOf(t, out, d.table)
			var what []string
			for _, row := range found.Differences {
				what = append(what, row.What)
				require.Equal(t, d.columns, row.Columns)
				require.NotEmpty(t, row.KeyHash)
			}
			require.ElementsMatch(t, d.what, what)
			require.True(t, found.Unverified)
			require.Equal(t, "", w.dst.QueryValue(t, "SELECT coalesce(string_agg(key, ''), '') FROM timeferry.differing_rows"), "nobody asked for values")

			// Without being asked for all, it is seen until it is mended.
			require.False(t, tableOf(t, w.mustRun(t, w.options(o.Name+"-again")), d.table).Equal)
			fenced := w.options(o.Name + "-fenced")
			fenced.Fenced = true
			w.awaitApplied(t)
			require.False(t, tableOf(t, w.mustRun(t, fenced), d.table).Equal)
			w.dst.Exec(t, d.mend)
			requireEqual(t, w.mustRun(t, w.options(o.Name+"-mended")))
		})
	}
	w.dst.Exec(t, "UPDATE quiet SET v = 'secret' WHERE id = 80")
	o := w.options("values")
	o.Full, o.KeepValues = true, true
	require.False(t, tableOf(t, w.mustRun(t, o), "quiet").Equal)
	require.Equal(t, []string{`(80)|q|secret`}, w.dst.Dump(t, "SELECT key || '|' || (source_row->>'v') || '|' || (target_row->>'v') FROM timeferry.differing_rows WHERE run = 'values'"))
}

// Whoever dies in the middle, applier or comparison: there is an error or a true verdict, never a false one, and the next attempt
// of the same run goes on.
func TestDeathsGiveNoFalseVerdict(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t, pgtest.Source(t), pgtest.Target(t))
	requireEqual(t, w.mustRun(t, w.options("first")))
	random := rand.New(rand.NewPCG(seed, 1))
	w.underLoad(t, func() {
		ended, failed := 0, 0
		for i := 0; ended < 10 || failed == 0; i++ { // until somebody has died in the middle, too
			require.Less(t, i, 300)
			o := w.options(fmt.Sprintf("run-%d", ended))
			o.Full = ended%2 == 0
			killed := make(chan struct{})
			killing, stop := context.WithCancel(t.Context())
			go func() {
				defer close(killed)
				w.kill(killing, random)
			}()
			out, err := verify.Run(t.Context(), o)
			stop()
			<-killed
			if err != nil {
				failed++
				require.NotErrorIs(t, err, context.Canceled)
				continue
			}
			requireEqual(t, out)
			ended++
		}
		t.Logf("%d ended, %d attempts failed", ended, failed)
		require.Positive(t, failed)
	})
	requireEqual(t, w.mustRun(t, w.options("last")))
}

// kill ends sessions of the apply or of a comparison, at random moments of a run.
func (w *world) kill(ctx context.Context, r *rand.Rand) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(r.IntN(700)) * time.Millisecond):
		}
		db, name := w.dst, []string{"apply", "verify", "verify ledger", "verify barrier"}[r.IntN(4)]
		if r.IntN(3) == 0 {
			db, name = w.src, []string{"verify", "snapshot holder", "slot creation"}[r.IntN(3)]
		}
		conn, err := pgkit.Dial(ctx, db.Endpoint, "killer")
		if err != nil {
			return
		}
		_, _ = conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1 LIMIT 1", "timeferry "+name)
		_ = conn.Close(context.Background())
	}
}

// A run that fails half way is taken up where it was.
func TestARunIsTakenUp(t *testing.T) {
	w := newWorld(t, pgtest.Source(t), pgtest.Target(t))
	o := w.options("whole")
	o.Full, o.Parallel = true, 1
	pieces := 0
	o.Busy = func(context.Context) (string, error) {
		if pieces++; pieces > 8 {
			return "", errors.New("the worker dies")
		}
		return "", nil
	}
	_, err := verify.Run(t.Context(), o)
	require.ErrorContains(t, err, "the worker dies")
	o.Busy = nil
	out := w.mustRun(t, o)
	requireEqual(t, out)
	chunks, read := 0, 0
	for _, r := range out.Tables {
		chunks += r.Chunks
		read += r.Read
	}
	require.Equal(t, chunks-8, read)
}

// A transaction that writes for long keeps the source from making the slot, and nobody else from going on: the apply is let go
// after a while, and the barrier is taken once the transaction has ended.
func TestALongTransactionHoldsNobodyUp(t *testing.T) {
	w := newWorld(t, pgtest.Source(t), pgtest.Target(t))
	w.awaitApplied(t)
	verify.SetHolds(t, 300*time.Millisecond, 5*time.Second)
	long := w.src.Conn(t)
	_, err := long.Exec(t.Context(), "BEGIN; INSERT INTO quiet VALUES (10001, 'long')")
	require.NoError(t, err)
	done := make(chan error, 1)
	var out verify.Outcome
	waiting := make(chan string, 100)
	o := w.options("long")
	o.OnProgress = func(p verify.Progress) {
		select {
		case waiting <- p.Message:
		default:
		}
	}
	go func() {
		var err error
		out, err = verify.Run(context.Background(), o)
		done <- err
	}()
	require.Eventually(t, func() bool {
		return w.dst.QueryValue(t, "SELECT coalesce(max(state), '') FROM timeferry.barrier") == "missed"
	}, 20*time.Second, 5*time.Millisecond)
	w.src.Exec(t, "INSERT INTO quiet VALUES (10002, 'short')")
	require.Eventually(t, func() bool { return w.dst.QueryValue(t, "SELECT count(*) FROM quiet WHERE id = 10002") == "1" }, 20*time.Second, 5*time.Millisecond, "the apply goes on")
	require.Eventually(t, func() bool { return strings.Contains(<-waiting, "pid") }, 20*time.Second, time.Millisecond, "it says who is waited for")
	_, err = long.Exec(t.Context(), "COMMIT")
	require.NoError(t, err)
	require.NoError(t, <-done)
	requireEqual(t, out)
	require.EqualValues(t, 1002, tableOf(t, out, "quiet").TargetRows)

	// Nobody makes slots quickly enough: that is said, and nothing is called equal.
	verify.SetHolds(t, time.Nanosecond, time.Nanosecond)
	_, err = verify.Run(t.Context(), w.options("never"))
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, verify.CodeBarrierMissed, f.Code)
	require.Equal(t, fault.Operator, f.Class)
}

// The apply does not run: the comparison says that it waits, and ends with its caller.
func TestWithoutTheApplyThereIsNoBarrier(t *testing.T) {
	w := newWorld(t, pgtest.Source(t), pgtest.Target(t))
	w.awaitApplied(t)
	require.ErrorIs(t, w.stopApply(), context.Canceled)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := verify.Run(ctx, w.options("stands"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, "missed", w.dst.QueryValue(t, "SELECT state FROM timeferry.barrier"))
	w.startApply(t)
	requireEqual(t, w.mustRun(t, w.options("goes on")))
}
