package spool

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/segment"
)

// small makes a segment of two or three transactions.
var small = Options{SegmentBytes: 700}

func TestReaderSeesWholeFlushedTransactions(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		s := mustOpen(t, t.TempDir(), form(Options{}))
		r := mustReader(t, s, 0)
		require.False(t, r.Ready())
		mustAppend(t, s, transaction(1)...)
		require.Empty(t, readReady(t, r), "not flushed")
		require.NoError(t, s.Flush())
		require.Equal(t, texts(transaction(1)...), readReady(t, r))
		second := transaction(2)
		mustAppend(t, s, second[:3]...)
		require.NoError(t, s.Flush())
		require.Empty(t, readReady(t, r), "not whole")
		require.Zero(t, s.Durable())
		require.Equal(t, endOf(1), mustSync(t, s), "the first one, though part of the second is on disk")
		mustAppend(t, s, second[3:]...)
		require.NoError(t, s.Flush())
		require.Equal(t, texts(second...), readReady(t, r))
		require.Equal(t, endOf(1), s.Durable(), "seen before it is durable")
		require.Equal(t, endOf(2), mustSync(t, s))
	})
}

func TestNextWaits(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	r := mustReader(t, s, 0)
	got := make(chan string)
	go func() {
		rec, err := r.Next(context.Background())
		if err != nil {
			got <- err.Error()
			return
		}
		got <- text(rec)
	}()
	mustAppend(t, s, transaction(1)...)
	select {
	case early := <-got:
		t.Fatalf("%q came before Flush", early)
	case <-time.After(20 * time.Millisecond):
	}
	require.NoError(t, s.Flush())
	require.Equal(t, "begin "+finalOf(1).String(), <-got)
}

// Wherever a reader starts it gets the relations described so far, and everything that ends after.
func TestReaderStartsAnywhere(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		const last = 20
		for _, o := range []Options{small, {}} {
			s := mustOpen(t, t.TempDir(), form(o))
			for n := 1; n <= last; n++ {
				mustAppend(t, s, transaction(n)...)
				require.NoError(t, s.Flush())
			}
			for n := 0; n < last; n++ {
				for _, from := range []change.LSN{endOf(n), endOf(n) + 1, finalOf(n + 1), finalOf(n+1) + 1, endOf(n+1) - 1} {
					if n == 0 && from == endOf(0) {
						from = 0
					}
					require.Equal(t, expected(n+1, last), readReady(t, mustReader(t, s, from)), "from %s", from)
				}
			}
			after := mustReader(t, s, endOf(last))
			require.Empty(t, readReady(t, after))
			mustAppend(t, s, transaction(last+1)...)
			require.NoError(t, s.Flush())
			require.Equal(t, expected(last+1, last+1), readReady(t, after))
		}
	})
}

func TestReopenKeepsWholeTransactions(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		dir := t.TempDir()
		for n := 1; n <= 9; n++ {
			s, err := Open(dir, form(small))
			require.NoError(t, err)
			require.Equal(t, n == 1, s.Durable() == 0)
			mustAppend(t, s, transaction(n)...)
			mustAppend(t, s, begin(n+1), row(n+1, 0), relation(1, 99)) // cut at the next Open, relation and all
			require.NoError(t, s.Close())
		}
		s := mustOpen(t, dir, form(small))
		require.Equal(t, endOf(9), s.Durable())
		require.Equal(t, expected(1, 9), readReady(t, mustReader(t, s, 0)))
		require.Equal(t, append(expected(10, 9), texts(transaction(10)...)...), func() []string {
			mustAppend(t, s, transaction(10)...)
			require.NoError(t, s.Flush())
			return readReady(t, mustReader(t, s, endOf(9)))
		}())
		st := s.Stats()
		require.GreaterOrEqual(t, st.Segments, 2)
		require.Equal(t, sizeOf(t, dir), st.Bytes)
		require.Equal(t, endOf(10), st.LastLSN)
		require.Equal(t, endOf(9), st.DurableLSN)
		require.WithinDuration(t, time.Now(), st.OldestSegment, time.Minute)
	})
}

func sizeOf(t testing.TB, dir string) (total int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		total += info.Size()
	}
	return total
}

func TestProgressAndLooseMessages(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		dir := t.TempDir()
		s := mustOpen(t, dir, form(small))
		mustAppend(t, s, transaction(1)...)
		mustAppend(t, s, progress(180), loose(185))
		require.Equal(t, change.LSN(185), mustSync(t, s))
		require.Equal(t, append(texts(transaction(1)...), text(progress(180)), text(loose(185))), readReady(t, mustReader(t, s, 0)))
		require.Equal(t, append(texts(relation(1, 1), relation(2, 1)), text(loose(185))), readReady(t, mustReader(t, s, 184)))
		require.Empty(t, readReady(t, mustReader(t, s, 185)), "the position is the message's end")
		require.Equal(t, fault.Bug, fault.Classify(s.Append(progress(185))), "not after the last")
		require.Equal(t, fault.Bug, fault.Classify(s.Append(loose(185))))
		mustAppend(t, s, begin(2))
		require.Equal(t, fault.Bug, fault.Classify(s.Append(progress(300))), "inside of a transaction")
	})
}

func TestAppendRefusesWhatCannotBe(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		s := mustOpen(t, t.TempDir(), form(Options{}))
		mustAppend(t, s, transaction(2)...)
		for name, r := range map[string]Record{
			"a transaction again": begin(2), "an older transaction": begin(1),
			"a change outside of transactions": row(3, 0), "a commit without its begin": commit(3),
		} {
			require.Equal(t, fault.Bug, fault.Classify(s.Append(r)), name)
		}
		mustAppend(t, s, begin(3))
		require.Equal(t, fault.Bug, fault.Classify(s.Append(begin(4))), "a transaction inside of another")
		require.Equal(t, fault.Bug, fault.Classify(s.Append(commit(1))), "a commit that ends before")
		mustAppend(t, s, transaction(3)[1:]...)
		require.NoError(t, s.Flush())
		require.Equal(t, append(texts(transaction(2)...), texts(transaction(3)...)...), readReady(t, mustReader(t, s, 0)))
	})
}

func TestRewind(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		for _, flushed := range []bool{false, true} {
			dir := t.TempDir()
			s := mustOpen(t, dir, form(Options{}))
			require.NoError(t, s.Rewind(), "nothing there")
			mustAppend(t, s, transaction(1)...)
			mustAppend(t, s, begin(2), relation(1, 77), row(2, 0))
			if flushed {
				require.NoError(t, s.Flush())
			}
			require.NoError(t, s.Rewind())
			require.NoError(t, s.Rewind(), "twice")
			mustAppend(t, s, transaction(2)...)
			require.Equal(t, endOf(2), mustSync(t, s))
			require.Equal(t, expected(1, 2), readReady(t, mustReader(t, s, 0)))
			require.Equal(t, expected(3, 2), append([]string{}, relationsOf(s)...), "the dropped description is forgotten")
			require.Equal(t, sizeOf(t, dir), s.Stats().Bytes)
		}
	})
}

func relationsOf(s *Spool) (out []string) {
	for _, oid := range s.relations.order {
		out = append(out, string(s.relations.byOID[oid]))
	}
	return out
}

func TestPrune(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		dir := t.TempDir()
		s := mustOpen(t, dir, form(small))
		slow := mustReader(t, s, 0)
		for n := 1; n <= 20; n++ {
			mustAppend(t, s, transaction(n)...)
		}
		mustSync(t, s)
		before := s.Stats()
		require.NoError(t, s.Prune(0))
		require.Equal(t, before, s.Stats())
		require.NoError(t, s.Prune(endOf(10)))
		st := s.Stats()
		require.Less(t, st.Segments, before.Segments)
		require.LessOrEqual(t, st.FirstLSN, endOf(10))
		require.Equal(t, sizeOf(t, dir), st.Bytes)
		require.Equal(t, expected(11, 20), readReady(t, mustReader(t, s, endOf(10))))
		_, err := s.NewReader(endOf(1))
		requireCode(t, err, CodeGap)
		_, err = slow.Next(context.Background())
		require.NoError(t, err, "it had found the oldest one, as from 0 there is no gap")
		require.NoError(t, s.Prune(endOf(20)))
		require.Equal(t, expected(21, 20), relationsOf(s))
		mustAppend(t, s, transaction(21)...)
		mustSync(t, s)
		require.Equal(t, expected(21, 21), readReady(t, mustReader(t, s, endOf(20))))
	})
}

func TestReaderThatPruningOvertookFails(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		s := mustOpen(t, t.TempDir(), form(small))
		mustAppend(t, s, transaction(1)...)
		require.NoError(t, s.Flush())
		r := mustReader(t, s, 0)
		_, err := r.Next(context.Background())
		require.NoError(t, err)
		for n := 2; n <= 20; n++ {
			mustAppend(t, s, transaction(n)...)
		}
		mustSync(t, s)
		require.NoError(t, s.Prune(endOf(20)))
		for err == nil {
			_, err = r.Next(context.Background())
		}
		require.Equal(t, fault.Bug, fault.Classify(err))
	})
}

// A full quota refuses, loses nothing, and goes on once the applied part is removed.
func TestQuota(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{Limit: 8000})
	var err error
	n := 0
	rest := []Record(nil)
	for err == nil {
		n++
		for i, r := range transaction(n) {
			if err = s.Append(r); err != nil {
				rest = transaction(n)[i:]
				break
			}
		}
	}
	requireCode(t, err, CodeFull)
	require.Equal(t, fault.Operator, fault.Classify(err))
	requireCode(t, s.Append(rest[0]), CodeFull)
	require.Equal(t, endOf(n-1), mustSync(t, s))
	require.LessOrEqual(t, sizeOf(t, dir), int64(8000))
	r := mustReader(t, s, 0)
	require.Equal(t, expected(1, n-1), readReady(t, r))
	require.NoError(t, s.Prune(endOf(n-1)))
	mustAppend(t, s, rest...)
	mustSync(t, s)
	require.Equal(t, texts(transaction(n)...), readReady(t, r))
}

// A quota that one segment fills gets free, too: Prune seals the segment.
func TestQuotaFilledByOneSegment(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{Limit: 3000, SegmentBytes: 1000})
	big := Record{Kind: Message, Data: append([]byte("I"), make([]byte, 2500)...)}
	mustAppend(t, s, begin(1), big, commit(1), begin(2), row(2, 0), commit(2))
	requireCode(t, appendAll(s, begin(3), big), CodeFull)
	require.NoError(t, s.Rewind())
	mustSync(t, s)
	require.NoError(t, s.Prune(endOf(2)))
	require.Equal(t, 1, s.Stats().Segments)
	mustAppend(t, s, begin(3), big, commit(3))
	require.Equal(t, endOf(3), mustSync(t, s))
}

func TestSecondOwnerIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	_, err := Open(dir, Options{})
	requireCode(t, err, CodeLocked)
	require.Equal(t, fault.Operator, fault.Classify(err))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "twice")
	mustOpen(t, dir, Options{})
	require.Equal(t, fault.Bug, fault.Classify(s.Append(begin(1))), "closed")
}

func TestStartAt(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		dir := t.TempDir()
		s := mustOpen(t, dir, form(Options{}))
		early := mustReader(t, s, 400)
		require.NoError(t, s.StartAt(500))
		require.NoError(t, s.StartAt(900), "begun: nothing happens")
		require.Equal(t, change.LSN(500), s.Durable())
		require.Equal(t, change.LSN(500), s.Stats().FirstLSN)
		_, err := early.Next(context.Background())
		requireCode(t, err, CodeGap)
		require.True(t, early.Ready(), "Next returns at once")
		_, err = s.NewReader(499)
		requireCode(t, err, CodeGap)
		mustReader(t, s, 500)
		require.NoError(t, s.Close())
		s = mustOpen(t, dir, form(Options{}))
		require.Equal(t, change.LSN(500), s.Durable(), "kept")
		mustAppend(t, s, transaction(5)...)
		require.NoError(t, s.Flush())
		require.Equal(t, texts(transaction(5)...), readReady(t, mustReader(t, s, 0)))
	})
}

func TestGreatTransactionAndValues(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small)
	great := Record{Kind: Message, Data: append([]byte("I"), make([]byte, 9<<20)...)}
	mustAppend(t, s, begin(1), relation(1, 1))
	const rows = 50_000
	for i := range rows {
		mustAppend(t, s, row(1, i))
		if i == rows/2 {
			mustAppend(t, s, great)
		}
	}
	mustAppend(t, s, commit(1))
	mustAppend(t, s, transaction(2)...)
	mustSync(t, s)
	require.Equal(t, 2, s.Stats().Segments)
	r := mustReader(t, s, 0)
	require.Len(t, readReady(t, r), rows+4+len(transaction(2)))
	require.LessOrEqual(t, cap(r.scan.buf), 4<<20, "a great value's memory is given back")
	require.Equal(t, append([]string{string(relation(1, 1).Data)}, texts(transaction(2)...)...), readReady(t, mustReader(t, s, endOf(1))))
}

func TestMissingSegmentIsFound(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		dir := t.TempDir()
		s, err := Open(dir, form(small))
		require.NoError(t, err)
		for n := 1; n <= 20; n++ {
			mustAppend(t, s, transaction(n)...)
		}
		middle := s.segments[2].name
		require.NoError(t, s.Close())
		require.NoError(t, os.Remove(filepath.Join(dir, middle)))
		_, err = Open(dir, form(small))
		requireCode(t, err, CodeCorrupt)
		require.Equal(t, fault.Integrity, fault.Classify(err))
		require.ErrorContains(t, err, middle[:15])
		require.NoError(t, os.WriteFile(filepath.Join(dir, "strange.seg"), nil, 0o600))
		_, err = Open(dir, form(small))
		requireCode(t, err, CodeCorrupt)
	})
}

func TestLaterVersionIsRefused(t *testing.T) {
	d := newFaultDisk()
	f, err := d.create(segment.Name(1, 0))
	require.NoError(t, err)
	_, err = f.WriteAt(append(append([]byte("TFSPOOL\n\x00\x00\x00\x05"), make([]byte, 32)...), laterCRC...), 0)
	require.NoError(t, err)
	_, err = openOn(d, "memory", Options{})
	requireCode(t, err, CodeVersion)
}

func TestSet(t *testing.T) {
	root := t.TempDir()
	set := NewSet(root)
	a, releaseA, err := set.Acquire("shop", small)
	require.NoError(t, err)
	b, releaseB, err := set.Acquire("shop", Options{})
	require.NoError(t, err)
	require.Same(t, a, b)
	require.Error(t, set.Remove("shop"), "in use")
	releaseA()
	releaseA()
	mustAppend(t, b, transaction(1)...)
	_, _, err = NewSet(root).Acquire("shop", small)
	requireCode(t, err, CodeLocked)
	releaseB()
	require.Error(t, b.Append(begin(2)), "closed with the last release")
	c, releaseC, err := set.Acquire("shop", small)
	require.NoError(t, err)
	require.Equal(t, endOf(1), c.Durable(), "closing syncs")
	releaseC()
	require.NoError(t, set.Remove("shop"))
	require.NoDirExists(t, filepath.Join(root, "shop"))
	require.NoError(t, set.Remove("shop"), "twice")
	for _, name := range []string{"", ".", "..", "a/b", "A"} {
		_, _, err := set.Acquire(name, small)
		require.Error(t, err, name)
		require.Error(t, set.Remove(name), name)
	}
}
