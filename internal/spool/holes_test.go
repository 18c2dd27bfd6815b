package spool

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/segment"
)

const pageBytes = 4096 // what the kernel writes back at once

// widely are transactions of many pages, some with rows greater than a page. The same seed makes the same.
func widely(seed uint64, n int) []Record {
	random := rand.New(rand.NewPCG(seed, uint64(n)))
	noisy := rand.NewChaCha8([32]byte{byte(seed), byte(n)})
	records := transaction(n)
	for range random.IntN(12) {
		noise := make([]byte, random.IntN(9000))
		_, _ = noisy.Read(noise) // never fails
		records = slices.Insert(records, len(records)-1, Record{LSN: finalOf(n) - 1, Kind: Message, Data: append([]byte("I"), noise...)})
	}
	return records
}

// lost is a spool whose machine lost power, in the middle of a transaction now and then.
type lost struct {
	disk      *faultDisk
	confirmed change.LSN // what the slot was told
	whole     int        // transactions that were appended
	synced    int64      // bytes of the last segment that were on the disk
	after     bool       // something was written after that
}

// mustLose appends transactions of which some are synced. Some connections break on the way.
func mustLose(t *testing.T, seed uint64, o Options) lost {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	l := lost{disk: newFaultDisk()}
	s, err := openOn(l.disk, "memory", o)
	require.NoError(t, err)
	for n := 1; n <= 20; n++ {
		records := widely(seed, n)
		if random.IntN(4) == 0 { // this connection breaks; what it brought may be on the disk
			mustAppend(t, s, records[:1+random.IntN(len(records)-1)]...)
			if random.IntN(2) == 0 {
				l.confirmed = mustSync(t, s)
			}
			require.NoError(t, s.Flush())
			require.NoError(t, s.Rewind())
		}
		mustAppend(t, s, records...)
		l.whole = n
		switch random.IntN(6) {
		case 0:
			l.confirmed = mustSync(t, s)
		case 1, 2:
			require.NoError(t, s.Flush())
		case 3:
			if random.IntN(4) == 0 {
				n = 20
			}
		}
	}
	if random.IntN(2) == 0 {
		records := widely(seed, l.whole+1)
		mustAppend(t, s, records[:len(records)-1]...)
	}
	if random.IntN(2) == 0 {
		require.NoError(t, s.Flush())
	}
	l.confirmed = s.Durable() // a great transaction may have been written, and synced with its segment, by itself
	l.synced, l.after = s.synced, s.written > s.synced
	return l
}

// requireBeginning: what is read is the stream's beginning, to where the spool says it is durable; the rest comes again then.
func requireBeginning(t *testing.T, s *Spool, seed uint64, name string) {
	t.Helper()
	last := 0
	for endOf(last+1) <= s.Durable() {
		last++
	}
	stream := func(to int) (all []string) {
		for n := 1; n <= to; n++ {
			all = append(all, texts(widely(seed, n)...)...)
		}
		return all
	}
	r := mustReader(t, s, 0)
	got := readReady(t, r)
	require.True(t, slices.Equal(stream(last), got), name)
	for n := last + 1; n <= last+3; n++ {
		mustAppend(t, s, widely(seed, n)...)
	}
	mustSync(t, s)
	got = append(got, readReady(t, r)...)
	require.True(t, slices.Equal(stream(last+3), got), name)
}

// Whatever pages a loss of power leaves of what was not synced, the spool opens and has all that was.
func TestHolesInWhatWasNotSynced(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		followed := 0 // by something valid: an earlier version called that damage
		for seed := range uint64(60) {
			l := mustLose(t, seed, form(Options{SegmentBytes: 200 << 10}))
			for again := range uint64(4) {
				name := fmt.Sprintf("seed %d, pages %d", seed, again)
				d := l.disk.rebootWithHoles(rand.New(rand.NewPCG(seed, 100+again)), pageBytes)
				before := tailFollowed(t, d)
				s, err := openOn(d, "memory", form(Options{SegmentBytes: 200 << 10}))
				require.NoError(t, err, name)
				require.GreaterOrEqual(t, s.Durable(), l.confirmed, name)
				requireBeginning(t, s, seed, name)
				if before {
					followed++
				}
			}
		}
		require.Greater(t, followed, 10)
	})
}

// tailFollowed tells whether the last segment has a bad frame with valid ones behind it.
func tailFollowed(t *testing.T, d *faultDisk) bool {
	t.Helper()
	name := lastOf(t, d)
	content := d.files[name].data
	h, err := segment.ParseHeader(content)
	require.NoError(t, err)
	at := int(h.HeadBytes)
	for at < len(content) {
		_, size, err := segment.DecodeFrame(content[at:])
		if err != nil {
			return segment.FindFrame(content[at+1:]) >= 0
		}
		at += size
	}
	return false
}

func lastOf(t *testing.T, d *faultDisk) string {
	t.Helper()
	names, err := d.list()
	require.NoError(t, err)
	slices.Sort(names)
	return lastSegment(names)
}

// Damage in what was on the disk is never taken for such a hole without anybody's knowing: it is named, or what is left ends before
// what the slot was told, which the receiver refuses.
func TestDamageBesideHoles(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		named, refused := 0, 0
		for seed := range uint64(60) {
			l := mustLose(t, seed, form(Options{SegmentBytes: 10 << 20}))
			for again := range uint64(6) {
				name := fmt.Sprintf("seed %d, damage %d", seed, again)
				random := rand.New(rand.NewPCG(seed, 200+again))
				d, holes := l.disk.reboot(everything), again%2 == 1
				if holes {
					d = l.disk.rebootWithHoles(random, pageBytes)
				}
				content := d.files[lastOf(t, d)].data
				content[random.Int64N(l.synced)] ^= 1 << random.IntN(8)
				s, err := openOn(d, "memory", form(Options{}))
				switch {
				case err != nil:
					requireCode(t, err, CodeCorrupt)
					named++
				case s.Durable() < l.confirmed:
					require.True(t, holes || !l.after, name+": what is behind it proves it")
					refused++
				default:
					requireBeginning(t, s, seed, name) // it was in what belongs to no whole transaction
				}
			}
		}
		require.Greater(t, named, 100)
		require.Positive(t, refused)
	})
}

// A head that never was on the disk as a whole is no damage: nothing was in that segment.
func TestHoleInAHead(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		d := newFaultDisk()
		s, err := openOn(d, "memory", form(Options{}))
		require.NoError(t, err)
		mustAppend(t, s, begin(1))
		for oid := range uint32(300) {
			mustAppend(t, s, relation(oid, 1))
		}
		mustAppend(t, s, commit(1))
		mustSync(t, s)
		s.options.SegmentBytes = 1
		mustAppend(t, s, transaction(2)...)
		name := s.current().name
		head := d.files[name].data
		require.Greater(t, len(head), 2*pageBytes)
		for page := 0; page < len(head); page += pageBytes {
			torn := slices.Clone(head)
			clear(torn[page:min(page+pageBytes, len(torn))])
			after := d.reboot(everything)
			after.files[name].data = torn
			s, err := openOn(after, "memory", form(Options{}))
			require.NoError(t, err, page)
			require.Equal(t, endOf(1), s.Durable(), page)
			require.NoError(t, s.Close())
		}
		require.NoError(t, s.Flush()) // now something is in it
		content := d.files[name].data
		for page := 0; page < len(head); page += pageBytes {
			torn := slices.Clone(content)
			clear(torn[page:min(page+pageBytes, len(head))])
			after := d.reboot(everything)
			after.files[name].data = torn
			_, err := openOn(after, "memory", form(Options{}))
			requireCode(t, err, CodeCorrupt)
		}
	})
}

// Values that look like frames and marks are taken for neither.
func TestAMarkInAValueProvesNothing(t *testing.T) {
	d := newFaultDisk()
	s, err := openOn(d, "memory", Options{})
	require.NoError(t, err)
	mustAppend(t, s, transaction(1)...)
	mustSync(t, s)
	mark := segment.AppendMark(nil, segment.Mark{At: s.written + 5000, Durable: s.written + 4000})
	mustAppend(t, s, begin(2), Record{LSN: 1, Kind: Message, Data: slices.Concat([]byte("I"), bytes.Repeat([]byte("value"), pageBytes), mark)}, commit(2))
	require.NoError(t, s.Flush())
	content := d.files[s.current().name].data
	clear(content[s.synced+100 : s.synced+200])
	s, err = openOn(d.reboot(everything), "memory", Options{})
	require.NoError(t, err)
	require.Equal(t, endOf(1), s.Durable())
}

// What the earlier versions wrote is read, and gone on with in segments of this one's.
func TestSpoolsOfEarlierVersions(t *testing.T) {
	for dir, o := range map[string]Options{"testdata/version1": small, "testdata/version2": blocky} {
		d := mustCopyOf(t, dir)
		s, err := openOn(d, "memory", o)
		require.NoError(t, err, dir)
		require.Equal(t, endOf(8), s.Durable(), dir)
		earlier := len(s.segments)
		for n := 9; n <= 12; n++ {
			mustAppend(t, s, transaction(n)...)
		}
		mustSync(t, s)
		require.False(t, segment.HasMarks(s.segments[earlier-1].version), dir)
		require.True(t, segment.HasMarks(s.segments[earlier].version), dir)
		require.Equal(t, expected(1, 12), readReady(t, mustReader(t, s, 0)), dir)
		require.NoError(t, s.Close())
		again, err := openOn(d.reboot(everything), "memory", o)
		require.NoError(t, err, dir)
		require.Equal(t, expected(1, 12), readReady(t, mustReader(t, again, 0)), dir)
	}
}

// Without marks, something valid behind a bad frame is damage, as it always was.
func TestDamageInSpoolsOfEarlierVersions(t *testing.T) {
	for _, dir := range []string{"testdata/version1", "testdata/version2"} {
		clean := mustCopyOf(t, dir)
		name := lastOf(t, clean)
		named := 0
		for at := range clean.files[name].data {
			d := clean.reboot(everything)
			d.files[name].data[at] ^= 0x21
			s, err := openOn(d, "memory", Options{})
			if err == nil {
				_, err = readAll(s)
				require.NoError(t, err)
				require.Less(t, s.Durable(), endOf(9))
				continue
			}
			requireCode(t, err, CodeCorrupt)
			named++
		}
		require.Greater(t, named, 100, dir)
	}
}

func TestInspectNamesTheProof(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	for n := 1; n <= 3; n++ {
		mustAppend(t, s, real(n)...)
		mustSync(t, s)
	}
	mustChange(t, dir, s.current().name, 90)
	found, err := Inspect(dir, nil)
	require.NoError(t, err)
	require.True(t, strings.Contains(found.Segments[0].Damage, "it was on the disk when what is at byte "), found.Segments[0].Damage)
}

// mustCopyOf is a disk with the files of a directory.
func mustCopyOf(t *testing.T, dir string) *faultDisk {
	t.Helper()
	files := map[string]*faultFile{}
	names, err := directory(dir).list()
	require.NoError(t, err)
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		files[name] = &faultFile{data: content}
	}
	return diskOf(files, func(f *faultFile) []byte { return f.data })
}

// mustChange changes a byte of a file.
func mustChange(t *testing.T, dir, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	b[0] ^= 4
	_, err = f.WriteAt(b, at)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
