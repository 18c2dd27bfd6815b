package stream

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/testkit/pgtest"
)

// mostMemory is what a process that streams may take, whatever the source does.
const mostMemory = 300 << 20

// One transaction of a great many rows, which the source sends in one piece, goes through a process of bounded memory, by way of the
// spool and without it.
func TestGreatTransaction(t *testing.T) {
	for _, buffer := range []string{"disk", "source"} {
		t.Run(buffer, func(t *testing.T) { greatTransaction(t, buffer == "source") })
	}
}

func greatTransaction(t *testing.T, direct bool) {
	rows := 150_000
	if soak() > 0 {
		rows = 5_000_000
	}
	v := newVictim(t, firstSeed(t), pgtest.OwnSource)
	v.config.SegmentBytes, v.config.BatchChanges, v.config.Direct = 0, 0, direct
	c := startChild(t, order{Config: v.config})
	began := time.Now()
	for _, sql := range []string{
		"INSERT INTO full_keyed SELECT i, md5(i::text), NULL FROM generate_series(1, %d) i",
		"UPDATE full_keyed SET v = 'changed' WHERE id <= %d; DELETE FROM full_keyed WHERE id %% 3 = 0",
	} {
		_, err := v.onSource.Exec(t.Context(), "BEGIN; "+fmt.Sprintf(sql, rows)+"; COMMIT")
		require.NoError(t, err)
	}
	written := time.Since(began)
	deadline := time.Now().Add(max(soak(), patience))
	v.barriers++
	_, err := v.onSource.Exec(t.Context(), "INSERT INTO barrier VALUES ($1)", v.barriers)
	require.NoError(t, err)
	for err = v.arrived(v.barriers); err != nil && time.Now().Before(deadline); {
		err = v.arrived(v.barriers)
	}
	require.NoError(t, err, c.output.String())
	took := time.Since(began)
	require.NoError(t, v.same())
	most := peakMemory(t, c.cmd.Process.Pid)
	t.Logf("%d rows, written in %s, on the target after %s, at most %d MiB", rows, written.Round(time.Second), took.Round(time.Second), most>>20)
	require.Less(t, most, int64(mostMemory))
	require.NoError(t, c.kill())
}

// peakMemory is the most memory that a process has had at once.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	var kilobytes int64
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); err == nil {
			return kilobytes << 10
		}
	}
	t.Skip("this system does not tell")
	return 0
}
