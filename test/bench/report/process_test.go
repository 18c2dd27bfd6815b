package report

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseStatCopesWithAnyName(t *testing.T) {
	const tail = " S 7 1 1 0 -1 4194304 100 200 0 0 11 22 33 44 20 0 1 0 5000"
	for _, name := range []string{"(postgres)", "(a) b (c)", "( 1 2 3)"} {
		pid, parent, taken, err := parseStat("42 " + name + tail)
		require.NoError(t, err)
		require.Equal(t, []int64{42, 7, 110}, []int64{int64(pid), int64(parent), taken}, name)
	}
	_, _, _, err := parseStat("42 (short) S 7")
	require.Error(t, err)
}

func TestTreeCPUOfThisProcessGrows(t *testing.T) {
	before, err := TreeCPU(os.Getpid())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		for i, end := 0, time.Now().Add(20*time.Millisecond); time.Now().Before(end); i++ {
			_ = i * i // only to take time
		}
		now, err := TreeCPU(os.Getpid())
		return err == nil && now > before
	}, 10*time.Second, time.Millisecond)
	_, err = TreeCPU(1 << 30)
	require.ErrorContains(t, err, "is gone")
}

func TestPeakMemoryNeverFalls(t *testing.T) {
	before, err := PeakMemory(os.Getpid())
	require.NoError(t, err)
	const much = 64 << 20
	touched := make([]byte, before+much)
	for i := 0; i < len(touched); i += 4096 {
		touched[i] = 1
	}
	after, err := PeakMemory(os.Getpid())
	require.NoError(t, err)
	require.GreaterOrEqual(t, after, before+much)
	_, err = PeakMemory(1 << 30)
	require.Error(t, err)
}
