package segment_test

import (
	"bytes"
	"sort"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/segment"
)

func TestHeaderRoundTrip(t *testing.T) {
	h := segment.Header{Version: segment.Blocks, Sequence: 7, Base: 0x1_0000_0002, Created: time.Unix(1_700_000_000, 5).UTC(), HeadBytes: 1234}
	b := segment.AppendHeader([]byte("before"), h)[len("before"):]
	require.Len(t, b, segment.HeaderSize)
	got, err := segment.ParseHeader(append(b, "more"...))
	require.NoError(t, err)
	require.Equal(t, h, got)
	for i := range b {
		damaged := bytes.Clone(b)
		damaged[i] ^= 0x10
		_, err := segment.ParseHeader(damaged)
		require.ErrorIs(t, err, segment.ErrNoHeader, "byte %d", i)
		_, err = segment.ParseHeader(b[:i])
		require.ErrorIs(t, err, segment.ErrNoHeader, "cut at %d", i)
	}
}

// A later version's header keeps magic, version and checksum in place, so that this one can say why it refuses.
func TestHeaderOfLaterVersion(t *testing.T) {
	_, err := segment.ParseHeader(laterVersion)
	require.ErrorIs(t, err, segment.ErrVersion)
	require.ErrorContains(t, err, "5, this program knows 1 to 4")
}

// laterVersion was made from docs/spool-format.md with another implementation of CRC32C: version 5, everything else zero.
var laterVersion = append(append([]byte("TFSPOOL\n\x00\x00\x00\x05"), make([]byte, 32)...), 0xad, 0x96, 0x55, 0xf3)

func TestNames(t *testing.T) {
	name := segment.Name(255, 0x16_0000_00ff)
	require.Equal(t, "00000000000000ff-00000016000000ff.seg", name)
	sequence, base, ok := segment.ParseName(name)
	require.True(t, ok)
	require.Equal(t, uint64(255), sequence)
	require.Equal(t, change.LSN(0x16_0000_00ff), base)
	for _, bad := range []string{"", "lock", ".seg", "00000000000000FF-00000016000000ff.seg", name + "x", "x" + name, name[1:],
		"00000000000000ff_00000016000000ff.seg", "+0000000000000ff-00000016000000ff.seg"} {
		_, _, ok := segment.ParseName(bad)
		require.False(t, ok, bad)
	}
	names := []string{segment.Name(1, 9), segment.Name(2, 9), segment.Name(16, 1<<40), segment.Name(17, 1<<63)}
	require.True(t, sort.StringsAreSorted(names))
}

func TestFrameRoundTrip(t *testing.T) {
	for _, f := range []segment.Frame{
		{LSN: 1 << 63, Kind: segment.Message, Payload: []byte("payload")},
		{LSN: 5, Kind: segment.Progress, Payload: []byte{}},
		{Kind: segment.Relation, Payload: bytes.Repeat([]byte("r"), 100_000)},
	} {
		b := segment.AppendFrame(nil, f)
		got, size, err := segment.DecodeFrame(append(b, 1, 2, 3))
		require.NoError(t, err)
		require.Equal(t, len(b), size)
		require.Equal(t, f, got)
		_, need, err := segment.DecodeFrame(b[:len(b)-1])
		require.ErrorIs(t, err, segment.ErrShort)
		require.Equal(t, max(len(b), segment.FrameOverhead), need)
	}
}

func TestFrameFindsEveryDamage(t *testing.T) {
	b := segment.AppendFrame(nil, segment.Frame{LSN: 77, Kind: segment.Message, Payload: []byte("some payload")})
	for i := range b {
		for bit := range 8 {
			damaged := bytes.Clone(b)
			damaged[i] ^= 1 << bit
			_, _, err := segment.DecodeFrame(damaged)
			require.Error(t, err, "byte %d bit %d", i, bit)
		}
		_, _, err := segment.DecodeFrame(b[:i])
		require.ErrorIs(t, err, segment.ErrShort, "cut at %d", i)
	}
	_, _, err := segment.DecodeFrame(make([]byte, 100))
	require.ErrorIs(t, err, segment.ErrBad, "zeros, which a crash may leave")
}

func TestFindFrame(t *testing.T) {
	frame := segment.AppendFrame(nil, segment.Frame{LSN: 77, Kind: segment.Progress})
	require.Equal(t, 0, segment.FindFrame(frame))
	require.Equal(t, 5, segment.FindFrame(append([]byte("MKRMK"), frame...)))
	require.Equal(t, 300, segment.FindFrame(append(make([]byte, 300), frame...)))
	require.Equal(t, -1, segment.FindFrame(frame[1:]))
	require.Equal(t, -1, segment.FindFrame(frame[:len(frame)-1]))
	require.Equal(t, -1, segment.FindFrame(bytes.Repeat([]byte{'M'}, 1000)))
	require.Equal(t, -1, segment.FindFrame(nil))
}

func FuzzDecodeFrame(f *testing.F) {
	f.Add([]byte{})
	f.Add(segment.AppendFrame(nil, segment.Frame{LSN: 77, Kind: segment.Message, Payload: []byte("some payload")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, size, err := segment.DecodeFrame(b)
		if err == nil && !bytes.Equal(segment.AppendFrame(nil, frame), b[:size]) {
			t.Fatalf("%x decodes to what does not encode to it", b)
		}
	})
}
