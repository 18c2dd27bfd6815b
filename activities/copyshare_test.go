package activities

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// four streams run here when a second worker comes.
func fourStreams(now time.Time) *copyShare {
	var all copyShares
	s := all.of("shop")
	for range 4 {
		if !s.begin(now) {
			panic("a stream that nobody gave away")
		}
	}
	return s
}

func TestStreamsAreGivenAwayOneAtATime(t *testing.T) {
	now := time.Now()
	s := fourStreams(now)
	require.True(t, s.due(now))
	require.False(t, s.due(now), "one stream looks for all")
	require.True(t, s.give(now, 4, 2))
	s.end()
	now = now.Add(shareEvery)
	require.True(t, s.due(now))
	require.True(t, s.give(now, 4, 2))
	s.end()
	now = now.Add(shareEvery)
	require.True(t, s.due(now))
	require.False(t, s.give(now, 4, 2), "an even share")
	require.False(t, s.give(now, 3, 2), "two of three: the other cannot have less than one")
	require.True(t, s.begin(now), "it has one more than it gave: others may have died")
}

func TestAStreamThatComesBackIsKept(t *testing.T) {
	now := time.Now()
	s := fourStreams(now)
	for wait := keepTime; wait <= 2*maxKeepTime; wait *= 2 {
		require.True(t, s.due(now))
		require.True(t, s.give(now, 4, 2))
		s.end()
		for range maxReturns {
			now = now.Add(time.Second)
			require.False(t, s.begin(now))
			s.end()
		}
		require.True(t, s.begin(now.Add(time.Second)))
		now = now.Add(time.Second)
		require.False(t, s.due(now.Add(min(wait, maxKeepTime)-time.Second)))
		now = now.Add(min(wait, maxKeepTime))
	}
	require.True(t, s.due(now))
	require.False(t, s.give(now, 4, 1))
	require.Equal(t, keepTime, s.keep, "the other worker is gone: the next that comes is not kept waiting")
}
