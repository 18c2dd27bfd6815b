package spool

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/segment"
)

// described is a relation message for a table with text columns.
func described(oid uint32, name string, columns ...string) Record {
	b := binary.BigEndian.AppendUint32([]byte{'R'}, oid)
	b = append(b, "public\x00"+name+"\x00d"...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(columns)))
	for _, c := range columns {
		b = append(append(b, 0), c+"\x00"...)
		b = binary.BigEndian.AppendUint32(b, 25)
		b = binary.BigEndian.AppendUint32(b, 0xffffffff)
	}
	return Record{Kind: Message, Data: b}
}

// at puts a commit time, in seconds of PostgreSQL's clock, into a begin or commit.
func at(r Record, seconds int) Record {
	place := 9
	if r.Data[0] == 'C' {
		place = 18
	}
	binary.BigEndian.PutUint64(r.Data[place:], uint64(seconds)*1_000_000)
	return r
}

// real is transaction n of two tables, as a server words it; its commit is at second n.
func real(n int) []Record {
	b := at(begin(n), n)
	binary.BigEndian.PutUint32(b.Data[17:], uint32(1000+n))
	records := []Record{b}
	if n == 1 {
		records = append(records, described(1, "orders", "id", "note"), described(2, "lines", "id"))
	}
	for range n {
		records = append(records, Record{LSN: finalOf(n), Kind: Message, Data: message('I', 1, "7", "secret row value")})
	}
	records = append(records, Record{LSN: finalOf(n), Kind: Message, Data: message('U', 2, "9")},
		Record{LSN: finalOf(n), Kind: Message, Data: append(binary.BigEndian.AppendUint32([]byte{'T'}, 1), 0, 0, 0, 0, 2)})
	return append(records, at(commit(n), n))
}

func second(n int) time.Time { return time.Date(2000, 1, 1, 0, 0, n, 0, time.UTC) }

func TestInspectTellsWhatIsThere(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		dir := t.TempDir()
		s := mustOpen(t, dir, form(small))
		for n := 1; n <= 9; n++ {
			mustAppend(t, s, real(n)...)
			require.NoError(t, s.Flush())
		}
		mustAppend(t, s, progress(980), begin(10))
		mustSync(t, s)
		var told []TransactionInspection
		found, err := Inspect(dir, func(tx TransactionInspection) error {
			tx.Changes = append([]TableChanges(nil), tx.Changes...)
			told = append(told, tx)
			return nil
		})
		require.NoError(t, err, "its owner has the lock, and is in the middle of a transaction")
		require.False(t, found.Damaged(), "%+v", found)
		require.Len(t, told, 9)
		require.Equal(t, TransactionInspection{Segment: told[2].Segment, XID: 1003, CommitLSN: finalOf(3), EndLSN: endOf(3), CommitTime: second(3),
			Changes: []TableChanges{{Table: "public.lines", Updates: 1, Truncations: 1}, {Table: "public.orders", Inserts: 3}}}, told[2])
		require.GreaterOrEqual(t, len(found.Segments), 2)
		var bytes, inserts int64
		transactions := 0
		for i, sg := range found.Segments {
			require.Equal(t, uint64(i+1), sg.Sequence)
			require.Equal(t, form(small).version(), sg.Version)
			bytes, transactions = bytes+sg.Bytes, transactions+sg.Transactions
			for _, c := range sg.Changes {
				inserts += c.Inserts
			}
			if i > 0 {
				require.Equal(t, found.Segments[i-1].LastLSN, sg.Base)
				if sg.Transactions > 0 {
					require.Equal(t, found.Segments[i-1].LastCommit.Add(time.Second), sg.FirstCommit)
				}
				require.Zero(t, found.Segments[i-1].TailBytes)
			}
		}
		require.Equal(t, s.Stats().Bytes, bytes)
		require.Equal(t, 9, transactions)
		require.Equal(t, int64(45), inserts)
		last := found.Segments[len(found.Segments)-1]
		require.Equal(t, change.LSN(980), last.LastLSN)
		require.Equal(t, second(9), told[8].CommitTime)
		require.Positive(t, last.TailBytes, "the transaction that has begun")
		require.Equal(t, last.Bytes, last.TailOffset+last.TailBytes)
	})
}

func TestInspectNamesDamage(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		dir := t.TempDir()
		s, err := Open(dir, form(small))
		require.NoError(t, err)
		for n := 1; n <= 20; n++ {
			mustAppend(t, s, real(n)...)
			require.NoError(t, s.Flush())
		}
		require.NoError(t, s.Close())
		first, last := s.segments[0].name, s.current().name
		inspect := func() Inspection {
			found, err := Inspect(dir, nil)
			require.NoError(t, err)
			return found
		}
		before := inspect()
		change := func(t *testing.T, name string, edit func([]byte) []byte) {
			path := filepath.Join(dir, name)
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, os.WriteFile(path, content, 0o600)) })
			require.NoError(t, os.WriteFile(path, edit(append([]byte(nil), content...)), 0o600))
		}
		t.Run("a byte in a sealed segment", func(t *testing.T) {
			change(t, first, func(b []byte) []byte { b[segment.HeaderSize+30] ^= 1; return b })
			found := inspect()
			require.True(t, found.Damaged())
			require.Equal(t, "at byte 73: frame has a wrong checksum", found.Segments[0].Damage)
			require.Equal(t, before.Segments[1:], found.Segments[1:])
		})
		t.Run("a torn tail", func(t *testing.T) {
			change(t, last, func(b []byte) []byte { return b[:len(b)-3] })
			found := inspect()
			require.False(t, found.Damaged(), "%+v", found)
			require.Positive(t, found.Segments[len(found.Segments)-1].TailBytes)
		})
		t.Run("a head that is not complete", func(t *testing.T) {
			change(t, last, func(b []byte) []byte { return b[:20] })
			found := inspect()
			require.False(t, found.Damaged(), "%+v", found)
			require.Equal(t, int64(20), found.Segments[len(found.Segments)-1].TailBytes)
		})
		t.Run("a sealed segment cut", func(t *testing.T) {
			change(t, first, func(b []byte) []byte { return b[:len(b)-3] })
			require.True(t, inspect().Damaged())
		})
		t.Run("a later version", func(t *testing.T) {
			change(t, last, func([]byte) []byte {
				return append(append([]byte("TFSPOOL\n\x00\x00\x00\x05"), make([]byte, 32)...), laterCRC...)
			})
			found := inspect()
			require.Contains(t, found.Segments[len(found.Segments)-1].Damage, "unknown version")
		})
		t.Run("a segment missing", func(t *testing.T) {
			require.NoError(t, os.Rename(filepath.Join(dir, s.segments[1].name), filepath.Join(dir, "aside")))
			found := inspect()
			require.Contains(t, found.Segments[1].Damage, "a segment is missing")
		})
	})
}

func TestInspectRefusesWhatIsNoSpool(t *testing.T) {
	_, err := Inspect(t.TempDir(), nil)
	requireCode(t, err, CodeNoSpool)
	_, err = Inspect(filepath.Join(t.TempDir(), "nowhere"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A reader beside the owner never takes for damage what the owner cuts and writes again.
func TestInspectBesideItsOwner(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{SegmentBytes: 3000, Compress: true})
	mustAppend(t, s, real(1)...)
	mustSync(t, s)
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for n := 2; err == nil; n++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			records := real(2)
			records[0], records[len(records)-1] = at(begin(n), n), at(commit(n), n)
			if err = appendAll(s, records[:2]...); err == nil {
				err = s.Flush()
			}
			if err == nil {
				err = s.Rewind()
			}
			if err == nil {
				err = appendAll(s, records...)
			}
			if err == nil && n%50 == 0 {
				_, err = s.Sync()
			}
			if err == nil && n%500 == 0 {
				err = s.Prune(endOf(n - 100))
			}
		}
		stopped <- err
	}()
	for range 50 {
		found, err := Inspect(dir, nil)
		require.NoError(t, err)
		for _, sg := range found.Segments {
			require.Empty(t, sg.Damage)
		}
	}
	close(stop)
	require.NoError(t, <-stopped)
}
