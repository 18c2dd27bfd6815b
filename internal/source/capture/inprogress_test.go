package capture

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/fault"
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
