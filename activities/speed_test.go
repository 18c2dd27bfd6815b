package activities

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSpeedIsThatOfTheLastWhile(t *testing.T) {
	var s speed
	at := time.Unix(1000, 0)
	require.Zero(t, s.perSecond(at))
	s.add(at, 0)
	require.Zero(t, s.perSecond(at), "no time has passed")
	value := int64(0)
	for range 600 { // five minutes at 100 a second
		at = at.Add(500 * time.Millisecond)
		value += 50
		s.add(at, value)
	}
	require.InDelta(t, 100, s.perSecond(at), 3)
	require.LessOrEqual(t, len(s.samples), 24, "memory is bounded")
	for range 60 { // then half a minute at 1,000
		at = at.Add(500 * time.Millisecond)
		value += 500
		s.add(at, value)
	}
	require.InDelta(t, 1000, s.perSecond(at), 30)
	require.InDelta(t, 500, s.perSecond(at.Add(20*time.Second)), 30, "it falls while nothing is told")
}
