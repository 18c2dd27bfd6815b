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
		last                   lookback
		upTo                   change.LSN
		ok                     bool
	}{
		{"close", 100 * mib, 100 * mib, 101*mib - 1, drainTo, lookback{}, 0, false},
		{"nothing left", 100 * mib, 100 * mib, 100 * mib, 0, lookback{}, 0, false},
		{"a first call is small", 100 * mib, 90 * mib, 5000 * mib, drainTo, lookback{}, 108 * mib, true},
		{"twice the one before", 100 * mib, 90 * mib, 5000 * mib, drainTo, lookback{bytes: 16 * mib, ratio: 1}, 132 * mib, true},
		{"all of a small rest", 100 * mib, 100 * mib, 130 * mib, drainTo, lookback{bytes: 64 * mib, ratio: 1}, 130 * mib, true},
		{"as much as the result may take", 100 * mib, 90 * mib, 5000 * mib, drainTo, lookback{bytes: 256 * mib, ratio: 4}, 164 * mib, true},
		{"a dense stream", 100 * mib, 90 * mib, 5000 * mib, drainTo, lookback{bytes: 256 * mib, ratio: 1000}, 108 * mib, true},
		{"a thin stream is not trusted", 100 * mib, 90 * mib, 5000 * mib, drainTo, lookback{bytes: 256 * mib}, 356 * mib, true},
		{"not watched", 100 * mib, 90 * mib, 5000 * mib, drainTo, lookback{bytes: 256 * mib, ratio: 1, blind: true}, 164 * mib, true},
		{"bounded by where the slot restarts", 1000 * mib, 100 * mib, 5000 * mib, drainTo, lookback{bytes: 256 * mib, ratio: 1}, 1124 * mib, true},
		{"restarts too far back", 1200 * mib, 100 * mib, 5000 * mib, drainTo, lookback{}, 0, false},
		{"little, and much to read again", 1000 * mib, 900 * mib, 1001 * mib, drainTo, lookback{}, 0, false},
		{"more, and as much to read again", 1000 * mib, 900 * mib, 1002 * mib, drainTo, lookback{}, 1002 * mib, true},
		{"restarts at nobody knows where", 1200 * mib, 0, 5000 * mib, drainTo, lookback{}, 0, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			upTo, ok := usualRule.window(c.from, c.restart, c.flushed, c.least, c.last)
			require.Equal(t, c.ok, ok)
			require.Equal(t, c.upTo, upTo)
		})
	}
}

func TestAStreamThatCatchesUpIsNotLeft(t *testing.T) {
	woken := 0
	l := &lookout{wake: func() { woken++ }}
	for i, far := range []bool{true, false, true, true, true, false} {
		l.saw(far)
		require.Equal(t, i == 3 || i == 4, l.pays.Load(), "look %d", i)
	}
	require.Equal(t, 2, woken)
}
