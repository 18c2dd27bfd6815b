package spool

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/segment"
)

const crashStream = 16 // transactions in the crash tests' stream

// live is what the crash tests run: it goes on where the spool is durable, like the receiver, and appends, flushes, syncs,
// rewinds and prunes on the way. confirmed is what it was told is durable, and applied how far the applier is.
type live struct {
	confirmed change.LSN
	applied   int // transactions that a reader has taken, in order
	patient   bool
}

func (l *live) run(s *Spool) error {
	if err := s.Rewind(); err != nil {
		return err
	}
	for n := 1; n <= crashStream; n++ {
		if endOf(n) <= s.track.end {
			continue
		}
		if err := l.one(s, n); err != nil {
			return err
		}
	}
	if err := l.sync(s); err != nil {
		return err
	}
	return l.apply(s)
}

func (l *live) one(s *Spool, n int) error {
	records := transaction(n)
	if n%4 == 0 { // the connection breaks in the middle
		if err := l.try(func() error { return appendAll(s, records[:3]...) }, s); err != nil {
			return err
		}
		if err := l.try(s.Flush, s); err != nil {
			return err
		}
		if err := s.Rewind(); err != nil {
			return err
		}
	}
	for _, r := range records {
		if err := l.try(func() error { return s.Append(r) }, s); err != nil {
			return err
		}
	}
	switch {
	case n%3 == 0:
		if err := l.sync(s); err != nil {
			return err
		}
		return l.apply(s)
	case n%2 == 0:
		return l.try(s.Flush, s)
	}
	return nil
}

// try repeats what a full disk refused, if l is patient.
func (l *live) try(do func() error, s *Spool) error {
	err := do()
	if l.patient && HasCode(err, CodeFull) {
		err = do()
	}
	return err
}

func (l *live) sync(s *Spool) error {
	return l.try(func() error {
		durable, err := s.Sync()
		l.confirmed = max(l.confirmed, durable)
		return err
	}, s)
}

// apply reads what is new, checks it, and prunes all but the last two transactions of it.
func (l *live) apply(s *Spool) error {
	r, err := s.NewReader(endOf(l.applied) * change.LSN(min(l.applied, 1)))
	if err != nil {
		return err
	}
	var got []string
	for r.Ready() {
		rec, ok, err := r.try()
		if err != nil || !ok {
			return errors.Join(err, r.Close())
		}
		got = append(got, text(rec))
	}
	if err := r.Close(); err != nil {
		return err
	}
	last := l.applied
	for last < crashStream && len(got) > 0 && got[len(got)-1] != "commit "+endOf(last).String() {
		last++
	}
	if len(got) > 0 {
		if want := expected(l.applied+1, last); !equalTexts(want, got) {
			return fmt.Errorf("reader from %d got %q, want %q", l.applied, got, want)
		}
		l.applied = last
	}
	if l.applied < 2 {
		return nil
	}
	return s.Prune(endOf(l.applied - 2))
}

func equalTexts(a, b []string) bool { return fmt.Sprintf("%q", a) == fmt.Sprintf("%q", b) }

func TestCrashAtEveryStep(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		clean := newFaultDisk()
		s, err := openOn(clean, "memory", form(small))
		require.NoError(t, err)
		require.NoError(t, (&live{}).run(s))
		require.Greater(t, clean.steps, 40)
		seen := map[string]int{}
		for step := 1; step <= clean.steps; step++ {
			for _, keep := range []survivor{nothingMore, halfOfIt, everything, someHoles, otherHoles} {
				d := newFaultDisk()
				d.failAt, d.with = step, errCrash
				l := &live{}
				s, err := openOn(d, "memory", form(small))
				require.NoError(t, err)
				require.ErrorIs(t, l.run(s), errCrash)
				seen[d.failed]++
				d = rebootAny(d, keep, step)
				name := fmt.Sprintf("step %d (%s), kept %s", step, d.failed, keep)
				s, err = openOn(d, "memory", form(small))
				require.NoError(t, err, name)
				require.GreaterOrEqual(t, s.Durable(), l.confirmed, name)
				require.NoError(t, l.run(s), name)
				require.Equal(t, crashStream, l.applied, name)
				require.Equal(t, endOf(crashStream), s.Durable(), name)
				require.NoError(t, s.Close(), name)
				crashDuringRecovery(t, d, name)
			}
		}
		for _, kind := range []string{"create", "write", "sync", "truncate", "remove", "sync directory"} {
			require.NotZero(t, seen[kind], kind)
		}
	})
}

const (
	someHoles  survivor = "some pages of what was not synced"
	otherHoles survivor = "other pages of what was not synced"
)

// rebootAny has pages of 64 bytes, as the crash tests' segments are small.
func rebootAny(d *faultDisk, keep survivor, step int) *faultDisk {
	switch keep {
	case someHoles, otherHoles:
		return d.rebootWithHoles(rand.New(rand.NewPCG(uint64(step), uint64(len(keep)))), 64)
	default:
		return d.reboot(keep)
	}
}

// crashDuringRecovery opens what was left once more: opening changes nothing that is whole.
func crashDuringRecovery(t *testing.T, d *faultDisk, name string) {
	t.Helper()
	again := d.reboot(nothingMore)
	s, err := openOn(again, "memory", small)
	require.NoError(t, err, name)
	require.Equal(t, endOf(crashStream), s.Durable(), name)
}

// An error that is no crash, once at every step: a full disk is waited out, and everything else breaks the spool for good,
// until it is opened again.
func TestErrorAtEveryStep(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		clean := newFaultDisk()
		s, err := openOn(clean, "memory", form(small))
		require.NoError(t, err)
		require.NoError(t, (&live{}).run(s))
		for step := 1; step <= clean.steps; step++ {
			for _, with := range []error{errNoSpace, io.ErrShortWrite} {
				d := newFaultDisk()
				d.failAt, d.with = step, with
				l := &live{patient: true}
				s, err := openOn(d, "memory", form(small))
				require.NoError(t, err)
				err = l.run(s)
				name := fmt.Sprintf("step %d (%s) fails with %v", step, d.failed, with)
				full := errors.Is(with, errNoSpace) && (d.failed == "write" || d.failed == "create")
				switch {
				case full:
					require.NoError(t, err, name)
				case d.failed == "remove" || d.failed == "sync directory" && fault.Classify(err) != fault.Unknown && !HasCode(err, CodeBroken):
					require.NotEqual(t, fault.Unknown, fault.Classify(err), name)
					require.NoError(t, l.run(s), name+": nothing was broken")
				case d.failed == "create":
					require.Equal(t, fault.Operator, fault.Classify(err), name)
					require.NoError(t, l.run(s), name+": nothing was broken")
				default:
					requireCode(t, err, CodeBroken)
					requireCode(t, l.run(s), CodeBroken)
					require.NoError(t, s.Close())
					s, err = openOn(d.reboot(nothingMore), "memory", form(small))
					require.NoError(t, err, name)
					require.GreaterOrEqual(t, s.Durable(), l.confirmed, name)
					require.NoError(t, l.run(s), name)
				}
				require.Equal(t, crashStream, l.applied, name)
				require.Equal(t, endOf(crashStream), s.Durable(), name)
			}
		}
	})
}

// After a failed fsync the file is cut to what the disk surely has, although the kernel still shows the rest.
func TestFailedSyncIsNotTakenForDurableLater(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		d := newFaultDisk()
		s, err := openOn(d, "memory", form(Options{}))
		require.NoError(t, err)
		mustAppend(t, s, transaction(1)...)
		mustSync(t, s)
		r := mustReader(t, s, 0)
		require.Equal(t, expected(1, 1), readReady(t, r))
		mustAppend(t, s, transaction(2)...)
		require.NoError(t, s.Flush())
		d.failAt, d.with = d.steps+1, io.ErrShortWrite
		durable, err := s.Sync()
		requireCode(t, err, CodeBroken)
		require.Equal(t, endOf(1), durable)
		require.True(t, r.Ready())
		for err = nil; err == nil; {
			_, _, err = r.try()
		}
		requireCode(t, err, CodeBroken)
		require.NoError(t, s.Close())
		s, err = openOn(d.reboot(everything), "memory", form(Options{}))
		require.NoError(t, err)
		require.Equal(t, endOf(1), s.Durable())
	})
}

// mustContent is the one segment of a spool with transactions 1 to n.
func mustContent(t *testing.T, n int) (name string, content []byte) {
	t.Helper()
	d := newFaultDisk()
	s, err := openOn(d, "memory", Options{})
	require.NoError(t, err)
	for i := 1; i <= n; i++ {
		mustAppend(t, s, transaction(i)...)
	}
	require.NoError(t, s.Close())
	name = s.current().name
	return name, d.files[name].data
}

// diskWith is a disk with one file.
func diskWith(name string, content []byte) *faultDisk {
	d := newFaultDisk()
	d.files[name] = &faultFile{disk: d, data: content, synced: content}
	return d
}

func TestTornTailAtEveryByte(t *testing.T) {
	name, content := mustContent(t, 3)
	kept := 0
	for size := range content {
		for _, tail := range [][]byte{nil, make([]byte, 40)} { // cut, or zeros as some file systems leave them
			s, err := openOn(diskWith(name, append(content[:size:size], tail...)), "memory", Options{})
			require.NoError(t, err, size)
			n := 0
			if s.Durable() != 0 {
				n = int(s.Durable()-50) / 100
			}
			require.GreaterOrEqual(t, n, kept, "more bytes, not fewer transactions")
			if tail == nil { // zeros may happen to be what was cut off
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

// A changed byte anywhere in a spool that was closed is an Integrity fault, or was in the mark at the end, which then counts as torn: a
// reader never gets something else than what was written.
func TestDamageAtEveryByte(t *testing.T) {
	name, content := mustContent(t, 3)
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
		require.Equal(t, fault.Integrity, fault.Classify(err))
		require.ErrorContains(t, err, name)
	}
	require.Equal(t, segment.MarkBytes, torn)
}

func TestDamageInSealedSegment(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		dir := t.TempDir()
		s, err := Open(dir, form(small))
		require.NoError(t, err)
		for n := 1; n <= 20; n++ {
			mustAppend(t, s, transaction(n)...)
		}
		mustSync(t, s)
		path := filepath.Join(dir, s.segments[1].name)
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, damage := range []func() []byte{
			func() []byte { b := append([]byte(nil), content...); b[len(b)-1] ^= 1; return b },
			func() []byte { return content[:len(content)-1] },
		} {
			require.NoError(t, os.WriteFile(path, damage(), 0o600))
			err = readToError(t, s)
			requireCode(t, err, CodeCorrupt)
			require.ErrorContains(t, err, filepath.Base(path))
		}
		require.NoError(t, s.Close())
		s, err = Open(dir, form(small))
		require.NoError(t, err, "sealed segments are checked as they are read")
		requireCode(t, readToError(t, s), CodeCorrupt)
		require.NoError(t, s.Close())
	})
}

// readToError reads from the beginning to the error that there must be.
func readToError(t *testing.T, s *Spool) error {
	t.Helper()
	r := mustReader(t, s, 0)
	for {
		_, ok, err := r.try()
		if err != nil {
			return err
		}
		require.True(t, ok, "all was read without an error")
	}
}
