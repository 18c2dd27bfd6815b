package segment_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/segment"
)

func TestMark(t *testing.T) {
	m := segment.Mark{At: 5000, Durable: 4000}
	b := segment.AppendMark(nil, m)
	require.Len(t, b, segment.MarkBytes)
	f, size, err := segment.DecodeFrame(b)
	require.NoError(t, err)
	require.Equal(t, len(b), size)
	got, ok := segment.ParseMark(f, 5000)
	require.True(t, ok)
	require.Equal(t, m, got)
	_, ok = segment.ParseMark(f, 5001)
	require.False(t, ok, "it belongs elsewhere")
	for _, impossible := range []segment.Mark{{At: 5000, Durable: 5001}, {At: 5000, Durable: -1}} {
		f, _, err := segment.DecodeFrame(segment.AppendMark(nil, impossible))
		require.NoError(t, err)
		_, ok := segment.ParseMark(f, 5000)
		require.False(t, ok)
	}
}

func TestFindMark(t *testing.T) {
	low, high := segment.Mark{At: 1300, Durable: 1000}, segment.Mark{At: 1400, Durable: 1350}
	b := make([]byte, 300)
	b = append(segment.AppendMark(b, low), bytes.Repeat([]byte{'D'}, 100-segment.MarkBytes)...)
	b = append(segment.AppendMark(b, high), "more"...)
	for beyond, want := range map[int64]segment.Mark{0: low, 999: low, 1000: high, 1349: high} {
		got, ok := segment.FindMark(b, 1000, beyond)
		require.True(t, ok, beyond)
		require.Equal(t, want, got, beyond)
	}
	_, ok := segment.FindMark(b, 1000, 1350)
	require.False(t, ok)
	_, ok = segment.FindMark(b, 1001, 0)
	require.False(t, ok, "none lies where it says")
}
