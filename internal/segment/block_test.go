package segment_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/segment"
)

func mustCompressor(t testing.TB) *segment.Compressor {
	t.Helper()
	c, err := segment.NewCompressor()
	require.NoError(t, err)
	return c
}

func mustDecompressor(t testing.TB) *segment.Decompressor {
	t.Helper()
	d, err := segment.NewDecompressor()
	require.NoError(t, err)
	return d
}

// records are n frames as a block has them, the first after base.
func records(frames []segment.Frame, base change.LSN) []byte {
	var b []byte
	for _, f := range frames {
		b = segment.AppendRecord(b, f, base)
		base = f.LSN
	}
	return b
}

func TestBlockRoundTrip(t *testing.T) {
	var many []segment.Frame
	for i := range 1000 {
		many = append(many, segment.Frame{LSN: change.LSN(1<<40 + i*7), Kind: segment.Message, Payload: fmt.Appendf(nil, "Irow %d of many", i)})
	}
	c, d := mustCompressor(t), mustDecompressor(t)
	for name, frames := range map[string][]segment.Frame{
		"one":                {{LSN: 5, Kind: segment.Progress, Payload: []byte{}}},
		"down and up again":  {{LSN: 1 << 63, Kind: segment.Message, Payload: []byte("a")}, {LSN: 0, Kind: segment.Message, Payload: []byte("b")}, {LSN: 1<<64 - 1, Kind: segment.Message, Payload: []byte("c")}},
		"many":               many,
		"not to be shrunk":   {{LSN: 9, Kind: segment.Message, Payload: noise(5000)}},
		"too great for zstd": {{LSN: 9, Kind: segment.Message, Payload: make([]byte, segment.MaxCompressed)}},
	} {
		raw := records(frames, 77)
		b := c.AppendBlock([]byte("before"), raw, 77)[len("before"):]
		require.LessOrEqual(t, len(b), segment.FrameOverhead+1+len(raw), name)
		f, size, err := segment.DecodeFrame(b)
		require.NoError(t, err, name)
		require.Equal(t, len(b), size, name)
		require.Equal(t, segment.Block, f.Kind, name)
		opened, err := d.Open(f.Payload)
		require.NoError(t, err, name)
		before := f.LSN
		for _, want := range frames {
			got, size, err := segment.DecodeRecord(opened, before)
			require.NoError(t, err, name)
			require.Equal(t, want.LSN, got.LSN, name)
			require.Equal(t, want.Kind, got.Kind, name)
			require.True(t, bytes.Equal(want.Payload, got.Payload), name)
			opened, before = opened[size:], got.LSN
		}
		require.Empty(t, opened, name)
	}
	b := c.AppendBlock(nil, records(many, 0), 0)
	require.Less(t, len(b), len(records(many, 0))/3)
}

// noise is what nothing makes smaller.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

// What a block says is never more than MaxCompressed: a file must not be able to take the worker's memory.
func TestABombIsRefused(t *testing.T) {
	c, d := mustCompressor(t), mustDecompressor(t)
	b := c.AppendBlock(nil, make([]byte, segment.MaxCompressed), 0)
	f, _, err := segment.DecodeFrame(b)
	require.NoError(t, err)
	_, err = d.Open(f.Payload)
	require.NoError(t, err)
	_, err = d.Open(append(f.Payload[:len(f.Payload):len(f.Payload)], f.Payload[1:]...)) // two zstd frames in one block
	require.ErrorIs(t, err, segment.ErrBad)
}

func FuzzOpenBlock(f *testing.F) {
	c := mustCompressor(f)
	frame, _, _ := segment.DecodeFrame(c.AppendBlock(nil, records([]segment.Frame{{LSN: 3, Kind: segment.Message, Payload: bytes.Repeat([]byte("payload "), 40)}}, 0), 0))
	f.Add(frame.Payload)
	f.Add([]byte{0, 'M', 1, 0, 'x'})
	f.Add([]byte{})
	d := mustDecompressor(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		rest, err := d.Open(payload)
		var before change.LSN
		for err == nil && len(rest) > 0 {
			var got segment.Frame
			var size int
			if got, size, err = segment.DecodeRecord(rest, before); err != nil {
				return
			}
			again, n, err := segment.DecodeRecord(segment.AppendRecord(nil, got, before), before)
			if err != nil || n == 0 || again.LSN != got.LSN || again.Kind != got.Kind || !bytes.Equal(again.Payload, got.Payload) {
				t.Fatalf("%v is not what comes of %v again: %v", again, got, err)
			}
			rest, before = rest[size:], got.LSN
		}
	})
}
