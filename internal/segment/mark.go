package segment

import (
	"encoding/binary"

	"timeferry/internal/change"
)

// A mark is a frame that says how far its segment was on the disk when it was written: in segments with marks only, after the head. It
// tells damage from what a loss of power leaves of pages that were never synced, which the kernel writes in any order: with a mark
// behind it, a bad frame lies in what was on the disk, or it does not. A mark also says where it lies itself, so that bytes
// that look like one in the middle of other data are none.

// MarkBytes is what a mark takes.
const MarkBytes = FrameOverhead + 8

// Mark lies at offset At of its segment. All bytes before Durable were on the disk before the mark was written.
type Mark struct{ At, Durable int64 }

// AppendMark appends m to dst.
func AppendMark(dst []byte, m Mark) []byte {
	payload := binary.BigEndian.AppendUint64(nil, uint64(m.Durable))
	return AppendFrame(dst, Frame{LSN: change.LSN(m.At), Kind: Durable, Payload: payload})
}

// ParseMark reads the mark in f, a frame at offset at; ok is false for every other frame, and for a mark that belongs elsewhere.
func ParseMark(f Frame, at int64) (m Mark, ok bool) {
	if f.Kind != Durable || len(f.Payload) != 8 || int64(f.LSN) != at {
		return Mark{}, false
	}
	m = Mark{At: at, Durable: int64(binary.BigEndian.Uint64(f.Payload))}
	return m, m.Durable >= 0 && m.Durable <= at
}

// FindMark returns the first mark in b, which lies at offset of its segment, that says that more than the first beyond bytes were on
// the disk.
func FindMark(b []byte, offset, beyond int64) (m Mark, ok bool) {
	for i := 0; i+MarkBytes <= len(b); i++ {
		if Kind(b[i+16]) != Durable || binary.BigEndian.Uint32(b[i:]) != 8 || int64(binary.BigEndian.Uint64(b[i+8:])) != offset+int64(i) {
			continue
		}
		f, _, err := DecodeFrame(b[i:])
		if err != nil {
			continue
		}
		if m, ok := ParseMark(f, offset+int64(i)); ok && m.Durable > beyond {
			return m, true
		}
	}
	return Mark{}, false
}
