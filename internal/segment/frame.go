package segment

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"timeferry/internal/change"
)

// Kind says what a frame holds.
type Kind byte

const (
	// Message is a replication message as it came.
	Message Kind = 'M'
	// Progress says that the source has nothing more before the frame's LSN. No payload.
	Progress Kind = 'K'
	// Relation is a relation message carried over from earlier segments; only in a segment's head.
	Relation Kind = 'R'
	// Block is many records in one frame, see AppendBlock.
	Block Kind = 'Z'
	// Durable is a mark, see Mark.
	Durable Kind = 'D'
)

// Frame is one record of a segment.
type Frame struct {
	LSN     change.LSN
	Kind    Kind
	Payload []byte
}

const (
	// FrameOverhead is what a frame takes besides its payload: length, checksum, LSN, kind.
	FrameOverhead = 4 + 4 + 8 + 1
	// MaxPayload is more than any message of PostgreSQL can have.
	MaxPayload = 1<<30 + 1<<20
)

// Errors of DecodeFrame.
var (
	// ErrShort means that the frame goes on after the bytes given.
	ErrShort = errors.New("frame is cut short")
	// ErrBad means that the bytes are not a frame, or not what was written.
	ErrBad = errors.New("frame has a wrong checksum")
)

// AppendFrame appends f's bytes to dst.
func AppendFrame(dst []byte, f Frame) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(f.Payload)))
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(f.LSN))
	dst = append(dst, byte(f.Kind))
	dst = append(dst, f.Payload...)
	binary.BigEndian.PutUint32(dst[start+4:], checksum(dst[start:]))
	return dst
}

// checksum covers a frame's length and everything after the checksum itself.
func checksum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:4], castagnoli), castagnoli, frame[8:])
}

// DecodeFrame reads the frame at the beginning of b. size is its length in bytes, or with ErrShort the number of bytes
// that are needed to say more. The payload points into b.
func DecodeFrame(b []byte) (f Frame, size int, err error) {
	if len(b) < FrameOverhead {
		return Frame{}, FrameOverhead, ErrShort
	}
	length := binary.BigEndian.Uint32(b)
	if length > MaxPayload || !known(Kind(b[16])) {
		return Frame{}, FrameOverhead, ErrBad
	}
	size = FrameOverhead + int(length)
	if len(b) < size {
		return Frame{}, size, ErrShort
	}
	if checksum(b[:size]) != binary.BigEndian.Uint32(b[4:]) {
		return Frame{}, size, ErrBad
	}
	return Frame{
		LSN:     change.LSN(binary.BigEndian.Uint64(b[8:])),
		Kind:    Kind(b[16]),
		Payload: b[FrameOverhead:size:size],
	}, size, nil
}

func known(k Kind) bool { return k == Relation || IsRecord(k) }

// IsRecord tells whether frames of this kind come after a segment's head.
func IsRecord(k Kind) bool { return k == Message || k == Progress || k == Block || k == Durable }

// MaxFound is the greatest payload that FindFrame looks for: it bounds the work, and nearly all frames are smaller.
const MaxFound = 1 << 20

// FindFrame returns the offset of the first valid frame after a head, see IsRecord, anywhere in b, or -1.
func FindFrame(b []byte) int {
	for i := 0; i+FrameOverhead <= len(b); i++ {
		if !IsRecord(Kind(b[i+16])) || binary.BigEndian.Uint32(b[i:]) > MaxFound {
			continue
		}
		if _, _, err := DecodeFrame(b[i:]); err == nil {
			return i
		}
	}
	return -1
}
