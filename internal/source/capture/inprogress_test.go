package capture

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/spool"
)

const (
	startOne = "S\x00\x00\x00\x01\x01" // transaction 1, from its beginning
	goOnOne  = "S\x00\x00\x00\x01\x00"
	startTwo = "S\x00\x00\x00\x02\x01"
	stop     = "E"
	commit1  = "c\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00\x00\x00\x00\x00\x05"
	abortSub = "A\x00\x00\x00\x01\x00\x00\x00\x09"
	abortTwo = "A\x00\x00\x00\x02\x00\x00\x00\x02"
)

// takeAll gives messages to p and returns what the transaction that is committed holds.
func takeAll(t *testing.T, p *inProgress, messages ...string) (got []string, err error) {
	t.Helper()
	for i, m := range messages {
		taken, done, commit, err := p.take(change.LSN(i), []byte(m))
		if err != nil {
			return nil, err
		}
		require.True(t, taken)
		if done == nil {
			continue
		}
		require.Equal(t, change.LSN(0x10), commit.FinalLSN)
		require.Equal(t, change.LSN(0x20), commit.EndLSN)
		require.EqualValues(t, 5, commit.Micros)
		require.NoError(t, done.each(func(lsn change.LSN, msg []byte) error {
			got = append(got, string(msg))
			return nil
		}))
		require.NoError(t, done.close())
	}
	return got, nil
}

func TestInProgress(t *testing.T) {
	p, err := newInProgress(t.TempDir())
	require.NoError(t, err)
	got, err := takeAll(t, p, startOne, "I\x00\x00\x00\x01one", "R\x00\x00\x00\x09table", "I\x00\x00\x00\x09gone", stop,
		startTwo, "I\x00\x00\x00\x02other", stop, goOnOne, "D\x00\x00\x00\x0athree", stop, abortSub, abortTwo, commit1)
	require.NoError(t, err)
	require.Equal(t, []string{"Ione", "Rtable", "Dthree"}, got)
	require.True(t, p.idle())
	files, err := os.ReadDir(p.dir)
	require.NoError(t, err)
	require.Empty(t, files)
	taken, _, _, err := p.take(1, []byte("Ioutside"))
	require.NoError(t, err)
	require.False(t, taken)
}

func TestInProgressErrors(t *testing.T) {
	for name, messages := range map[string][]string{
		"a commit of nothing":     {commit1},
		"no beginning":            {goOnOne},
		"a change without its ID": {startOne, "I\x00"},
		"a start cut short":       {"S\x00"},
		"a stop with more":        {"Emore"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := newInProgress(t.TempDir())
			require.NoError(t, err)
			_, err = takeAll(t, p, messages...)
			require.Equal(t, fault.Integrity, fault.Classify(err), "%v", err)
			require.NoError(t, p.close())
		})
	}
}

// fullDisk is a file on a disk that is full now and then: a write gets half of its bytes on it, and an error.
type fullDisk struct {
	*os.File
	full *int // how many writes more find no room
}

func (f fullDisk) WriteAt(b []byte, at int64) (int, error) {
	if *f.full == 0 {
		return f.File.WriteAt(b, at)
	}
	*f.full--
	n, err := f.File.WriteAt(b[:len(b)/2], at)
	return n, errors.Join(err, syscall.ENOSPC)
}

// Without room it waits, and what was written in part meanwhile does no harm. Bytes on the disk are counted as long as they are there.
func TestInProgressWaitsForRoom(t *testing.T) {
	p, err := newInProgress(t.TempDir())
	require.NoError(t, err)
	full, creations, waits, counted := 0, 2, 0, int64(0)
	p.create = func(name string) (streamFile, error) {
		if creations--; creations >= 0 {
			return nil, syscall.ENOSPC
		}
		f, err := os.Create(name)
		return fullDisk{f, &full}, err
	}
	p.patiently = func(do func() error) error {
		for {
			err := do()
			if !spool.HasCode(err, spool.CodeFull) {
				return err
			}
			waits++
		}
	}
	p.beside = func(n int64) error { counted += n; return nil }
	messages, want := []string{startOne}, []string{}
	for i := range 40 {
		row := fmt.Sprintf("I%04d", i) + strings.Repeat("x", 20_000)
		messages, want = append(messages, "I\x00\x00\x00\x01"+row[1:]), append(want, row)
	}
	full = 5
	got, err := takeAll(t, p, messages...)
	require.NoError(t, err)
	require.Empty(t, got)
	require.Equal(t, 7, waits)
	written := p.open[1].written
	require.Positive(t, written)
	require.Equal(t, written, counted)
	full = 1000 // a commit needs no room here
	got, err = takeAll(t, p, stop, commit1)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Zero(t, counted)
}

// FuzzInProgress: no sequence of messages makes it panic, or give an error without a class.
func FuzzInProgress(f *testing.F) {
	for _, m := range []string{startOne, goOnOne, stop, commit1, abortSub, abortTwo, "I\x00\x00\x00\x01one"} {
		f.Add([]byte(m), []byte(commit1))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, first, second []byte) {
		p, err := newInProgress(dir)
		require.NoError(t, err)
		for _, m := range [][]byte{[]byte(startOne), first, second} {
			_, done, _, err := p.take(1, m)
			if err != nil && fault.Classify(err) != fault.Integrity {
				t.Fatalf("%v", err)
			}
			if done != nil {
				require.NoError(t, done.each(func(_ change.LSN, msg []byte) error {
					require.NotEmpty(t, msg)
					return nil
				}))
				require.NoError(t, done.close())
			}
		}
		require.NoError(t, p.close())
	})
}
