package capture

import (
	"testing"
	"time"

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

func TestOutwrites(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name     string
		source   pace
		streamed float64
		want     bool
	}{
		{"no stream was left", pace{known: true, rate: 100 * mib}, 0, false},
		{"not watched for long enough", pace{}, 10 * mib, true},
		{"as fast as the stream", pace{known: true, rate: 9 * mib}, 10 * mib, true},
		{"the stream can follow", pace{known: true, rate: 7 * mib}, 10 * mib, false},
		{"a stream that was slow for another reason", pace{known: true, rate: mib / 2}, mib / 10, false},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, usualRule.outwrites(c.source, c.streamed)) })
	}
}

func TestPace(t *testing.T) {
	var p pace
	begun := time.Unix(1000, 0)
	p.look(begun, 100, time.Second)
	require.False(t, p.known)
	p.look(begun.Add(900*time.Millisecond), 5000, time.Second)
	require.False(t, p.known, "too soon")
	p.look(begun.Add(2*time.Second), 300, time.Second)
	require.Equal(t, pace{since: begun.Add(2 * time.Second), at: 300, known: true, rate: 100}, p)
}

// Looks that were taken while a great transaction came say nothing once it is there.
func TestAGreatTransactionVoidsLooks(t *testing.T) {
	l := &lookout{wake: func() {}}
	l.saw(true)
	l.saw(true)
	require.True(t, l.pays.Load())
	l.arrived(100, false)
	require.True(t, l.pays.Load())
	l.arrived(200, true)
	require.False(t, l.pays.Load())
	require.Zero(t, l.streamed())
}
