package capture

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
)

func TestBacklogWindow(t *testing.T) {
	const mib = 1 << 20
	cases := []struct {
		name                   string
		from, restart, flushed change.LSN
		least                  int64
		ratio                  float64
		upTo                   change.LSN
		ok                     bool
	}{
		{"close", 100 * mib, 100 * mib, 103 * mib, drainTo, 1, 0, false},
		{"nothing left", 100 * mib, 100 * mib, 100 * mib, 0, 1, 0, false},
		{"all of a small rest", 100 * mib, 100 * mib, 130 * mib, drainTo, 1, 130 * mib, true},
		{"as much as the result may take", 100 * mib, 90 * mib, 5000 * mib, drainTo, 4, 164 * mib, true},
		{"a dense stream", 100 * mib, 90 * mib, 5000 * mib, drainTo, 1000, 108 * mib, true},
		{"a thin stream is not trusted", 100 * mib, 90 * mib, 5000 * mib, drainTo, 0, 356 * mib, true},
		{"bounded by where the slot restarts", 1000 * mib, 100 * mib, 5000 * mib, drainTo, 1, 1124 * mib, true},
		{"restarts too far back", 1200 * mib, 100 * mib, 5000 * mib, drainTo, 1, 0, false},
		{"restarts at nobody knows where", 1200 * mib, 0, 5000 * mib, drainTo, 1, 0, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			upTo, ok := usualRule.window(c.from, c.restart, c.flushed, c.least, c.ratio)
			require.Equal(t, c.ok, ok)
			require.Equal(t, c.upTo, upTo)
		})
	}
}
