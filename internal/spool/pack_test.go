package spool

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/segment"
)

// blocky is small with blocks.
var blocky = Options{SegmentBytes: 700, Compress: true}

// mustBlocks is the one segment of a spool with transactions 1 to n, each in a block of its own.
func mustBlocks(t *testing.T, n int) (name string, content []byte) {
	t.Helper()
	d := newFaultDisk()
	s, err := openOn(d, "memory", Options{Compress: true})
	require.NoError(t, err)
	for i := 1; i <= n; i++ {
		mustAppend(t, s, transaction(i)...)
		require.NoError(t, s.Flush())
	}
	require.NoError(t, s.Close())
	name = s.current().name
	require.Contains(t, string(d.files[name].data), "Z", "there are blocks")
	return name, d.files[name].data
}

func TestTornTailOfBlocksAtEveryByte(t *testing.T) {
	name, content := mustBlocks(t, 3)
	kept := 0
	for size := range content {
		for _, tail := range [][]byte{nil, make([]byte, 40)} {
			s, err := openOn(diskWith(name, append(content[:size:size], tail...)), "memory", Options{Compress: true})
			require.NoError(t, err, size)
			n := 0
			if s.Durable() != 0 {
				n = int(s.Durable()-50) / 100
			}
			require.GreaterOrEqual(t, n, kept, "more bytes, not fewer transactions")
			if tail == nil {
				kept = n
			}
			mustAppend(t, s, transaction(n+1)...)
			mustSync(t, s)
			require.Equal(t, expected(1, n+1), readReady(t, mustReader(t, s, 0)), size)
			require.NoError(t, s.Close())
		}
	}
	require.Equal(t, 3, kept, "the mark comes after them")
}

// A changed byte is named, or was in the mark at the end, which then counts as torn.
func TestDamageInBlocksAtEveryByte(t *testing.T) {
	name, content := mustBlocks(t, 3)
	torn := 0
	for i := range content {
		damaged := append([]byte(nil), content...)
		damaged[i] ^= 0x21
		s, err := openOn(diskWith(name, damaged), "memory", Options{})
		if err == nil {
			require.Equal(t, expected(1, 3), readReady(t, mustReader(t, s, 0)), i)
			require.NoError(t, s.Close())
			torn++
			continue
		}
		requireCode(t, err, CodeCorrupt)
		require.ErrorContains(t, err, name)
	}
	require.Equal(t, segment.MarkBytes, torn)
}

// A block with the right checksum and no content was written by something else than this program: no torn tail to be cut.
func TestABlockWithoutContentIsDamage(t *testing.T) {
	name, content := mustBlocks(t, 1)
	for what, payload := range map[string][]byte{"empty": {}, "of unknown form": {7, 1, 2}, "not compressed": {1, 9, 9, 9}, "no record": {0, 'M', 200},
		"a record cut short": {0, 'M', 5, 0, 'B'}, "a block in a block": segment.AppendFrame([]byte{0}, segment.Frame{Kind: segment.Block})} {
		bad := segment.AppendFrame(append([]byte(nil), content...), segment.Frame{LSN: 1, Kind: segment.Block, Payload: payload})
		s, err := openOn(diskWith(name, bad), "memory", Options{})
		if what == "empty" {
			requireCode(t, err, CodeCorrupt)
			continue
		}
		requireCode(t, err, CodeCorrupt)
		require.ErrorContains(t, err, name, what)
		require.Nil(t, s)
	}
}

func TestABlockInAPlainSegmentIsDamage(t *testing.T) {
	name, content := mustContent(t, 1)
	c, err := segment.NewCompressor()
	require.NoError(t, err)
	_, err = openOn(diskWith(name, c.AppendBlock(content, segment.AppendRecord(nil, segment.Frame{Kind: segment.Message, Payload: begin(2).Data}, 0), 0)), "memory", blocky)
	requireCode(t, err, CodeCorrupt)
}

// A spool whose form is changed goes on with the segment that it has, and reads all.
func TestFormChangesWithTheNextSegment(t *testing.T) {
	for _, first := range []Options{small, blocky} {
		dir := t.TempDir()
		second := first
		second.Compress = !first.Compress
		s, err := Open(dir, first)
		require.NoError(t, err)
		mustAppend(t, s, transaction(1)...)
		require.NoError(t, s.Close())
		s = mustOpen(t, dir, second)
		for n := 2; n <= 9; n++ {
			mustAppend(t, s, transaction(n)...)
			require.NoError(t, s.Flush())
		}
		require.Equal(t, first.version(), s.segments[0].version)
		require.Equal(t, second.version(), s.current().version)
		for from := range 9 {
			require.Equal(t, expected(from+1, 9), readReady(t, mustReader(t, s, endOf(from)*change.LSN(min(from, 1)))), from)
		}
	}
}

// A transaction far greater than a block, of which readers see nothing before its end, and whose beginning is cut when the
// connection breaks.
func TestGreatTransactionInBlocks(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, blocky)
	great := Record{LSN: 1, Kind: Message, Data: append([]byte("I"), make([]byte, segment.MaxCompressed+5)...)}
	mustAppend(t, s, transaction(1)...)
	const rows = 50_000
	for range 2 { // the first time it breaks off
		require.NoError(t, s.Rewind())
		mustAppend(t, s, begin(2), relation(1, 1))
		for i := range rows {
			mustAppend(t, s, row(2, i))
		}
		mustAppend(t, s, great)
		require.NoError(t, s.Flush())
		require.Equal(t, expected(1, 1), readReady(t, mustReader(t, s, 0)))
	}
	mustAppend(t, s, commit(2))
	mustAppend(t, s, transaction(3)...)
	mustSync(t, s)
	require.Less(t, s.Stats().Bytes, int64(segment.MaxCompressed+rows*12), "of %d rows of 34 bytes", rows)
	require.Equal(t, sizeOf(t, dir), s.Stats().Bytes)
	r := mustReader(t, s, endOf(1))
	require.Len(t, readReady(t, r), 2+rows+4+len(transaction(3)))
	require.Equal(t, append([]string{string(relation(1, 1).Data), string(relation(2, 1).Data)}, texts(transaction(3)...)...), readReady(t, mustReader(t, s, endOf(2))))
}

// The same orders to a plain spool and to a compressed one, both opened anew now and then, are answered alike.
func TestBothFormsAnswerAlike(t *testing.T) {
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 7))
		dirs := [2]string{t.TempDir(), t.TempDir()}
		var spools [2]*Spool
		open := func() {
			for i, o := range []Options{small, blocky} {
				var err error
				spools[i], err = Open(dirs[i], o)
				require.NoError(t, err, seed)
			}
		}
		both := func(do func(s *Spool) string) {
			t.Helper()
			require.Equal(t, do(spools[0]), do(spools[1]), "seed %d", seed)
		}
		open()
		n := 1
		for range 120 {
			switch random.IntN(9) {
			case 0, 1, 2:
				both(func(s *Spool) string { return fmt.Sprint(appendAll(s, transaction(n)...)) })
				n++
			case 3:
				part := random.IntN(4)
				both(func(s *Spool) string {
					return fmt.Sprint(appendAll(s, transaction(n)[:part+1]...), s.Flush(), s.Rewind())
				})
			case 4:
				both(func(s *Spool) string { return fmt.Sprint(s.Flush()) })
			case 5:
				both(func(s *Spool) string { durable, err := s.Sync(); return fmt.Sprint(durable, err) })
			case 6:
				part := random.IntN(4)
				both(func(s *Spool) string {
					return fmt.Sprint(appendAll(s, transaction(n)[:part+1]...), s.Close())
				})
				open()
			default:
				// Segments may be cut at other places, so what pruning keeps is not the same: nothing is pruned here.
				from := change.LSN(random.IntN(n*100 + 100))
				both(func(s *Spool) string {
					if err := s.Flush(); err != nil {
						return err.Error()
					}
					return strings.Join(readReady(t, mustReader(t, s, from)), "|")
				})
			}
		}
		both(func(s *Spool) string { return fmt.Sprint(s.Close()) })
	}
}
