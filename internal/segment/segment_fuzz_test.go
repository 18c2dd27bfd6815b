package segment_test

import (
	"bytes"
	"testing"
	"time"

	"timeferry/internal/segment"
)

// FuzzParseHeader: what is taken for a header is one, byte for byte.
func FuzzParseHeader(f *testing.F) {
	f.Add([]byte{})
	f.Add(segment.AppendHeader(nil, segment.Header{Sequence: 7, Base: 1 << 40, Created: time.Unix(1_700_000_000, 5), HeadBytes: 1234}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := segment.ParseHeader(b)
		if err == nil && !bytes.Equal(segment.AppendHeader(nil, h), b[:segment.HeaderSize]) {
			t.Fatalf("%x is taken for %+v", b, h)
		}
	})
}

// FuzzFindFrame: what is found is a frame, and none before it was passed over.
func FuzzFindFrame(f *testing.F) {
	frame := segment.AppendFrame(nil, segment.Frame{LSN: 77, Kind: segment.Message, Payload: []byte("some payload")})
	f.Add([]byte("MKR"), []byte{0, 0})
	f.Add(frame[1:], frame[:5])
	f.Fuzz(func(t *testing.T, before, after []byte) {
		b := append(append(bytes.Clone(before), frame...), after...)
		at := segment.FindFrame(b)
		if at < 0 || at > len(before) {
			t.Fatalf("the frame at %d was passed over: found %d", len(before), at)
		}
		if _, _, err := segment.DecodeFrame(b[at:]); err != nil {
			t.Fatalf("what was found at %d: %v", at, err)
		}
	})
}

// FuzzParseName: a name that is taken is the one that would be given.
func FuzzParseName(f *testing.F) {
	f.Add(segment.Name(1, 2))
	f.Add("lock")
	f.Fuzz(func(t *testing.T, name string) {
		if sequence, base, ok := segment.ParseName(name); ok && segment.Name(sequence, base) != name {
			t.Fatalf("%q is taken for %d, %s", name, sequence, base)
		}
	})
}
