package segment

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"timeferry/internal/change"
)

// A block is one frame that holds many records: in segments with blocks only, after the head. Its frame's LSN is what the
// first record's LSN counts from.

// MaxCompressed is the most that is compressed in one block. Greater ones, which hold one great value, are stored as they are:
// it bounds the memory on both sides.
const MaxCompressed = 32 << 20

// Forms of a block's content, its first byte.
const (
	stored     byte = 0
	compressed byte = 1
)

// minCompressed is below what zstd gains nothing.
const minCompressed = 128

// AppendRecord appends f as a record of a block to dst; before is the LSN of the record before it, or the block's.
func AppendRecord(dst []byte, f Frame, before change.LSN) []byte {
	dst = append(dst, byte(f.Kind))
	dst = binary.AppendUvarint(dst, uint64(len(f.Payload)))
	dst = binary.AppendVarint(dst, int64(f.LSN-before))
	return append(dst, f.Payload...)
}

// DecodeRecord reads the record at the beginning of b, see AppendRecord. Its payload points into b. The error is ErrBad: a block
// has no record that is cut short.
func DecodeRecord(b []byte, before change.LSN) (f Frame, size int, err error) {
	if len(b) == 0 || !inBlock(Kind(b[0])) {
		return Frame{}, 0, ErrBad
	}
	length, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return Frame{}, 0, ErrBad
	}
	delta, m := binary.Varint(b[1+n:])
	if m <= 0 || length > uint64(len(b)-1-n-m) {
		return Frame{}, 0, ErrBad
	}
	start := 1 + n + m
	size = start + int(length)
	return Frame{LSN: before + change.LSN(delta), Kind: Kind(b[0]), Payload: b[start:size:size]}, size, nil
}

func inBlock(k Kind) bool { return k == Message || k == Progress }

// Compressor makes blocks. Not safe for concurrent use.
type Compressor struct {
	encoder *zstd.Encoder
	payload []byte
}

// NewCompressor returns a compressor at zstd's fastest level, since receiving must keep up with the source (BenchmarkForms).
func NewCompressor() (*Compressor, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, err
	}
	return &Compressor{encoder: e}, nil
}

// AppendBlock appends to dst a frame with records, which AppendRecord made, the first one after base. Records that compressing
// does not make smaller are stored.
func (c *Compressor) AppendBlock(dst, records []byte, base change.LSN) []byte {
	c.payload = append(c.payload[:0], compressed)
	if n := len(records); n >= minCompressed && n <= MaxCompressed {
		c.payload = c.encoder.EncodeAll(records, c.payload)
	}
	if len(c.payload) == 1 || len(c.payload) > len(records) {
		c.payload = append(append(c.payload[:0], stored), records...)
	}
	dst = AppendFrame(dst, Frame{LSN: base, Kind: Block, Payload: c.payload})
	if cap(c.payload) > 4<<20 { // one great value came: give its memory back
		c.payload = nil
	}
	return dst
}

// Decompressor opens blocks. Not safe for concurrent use.
type Decompressor struct {
	decoder *zstd.Decoder
	buf     []byte
}

// NewDecompressor returns one that takes no more memory than MaxCompressed asks for.
func NewDecompressor() (*Decompressor, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(MaxCompressed),
		zstd.WithDecoderMaxWindow(MaxCompressed))
	if err != nil {
		return nil, err
	}
	return &Decompressor{decoder: d}, nil
}

// Open returns the records of a block's payload. They are valid until the next call, and those of a stored block as long as
// the payload. The error is ErrBad.
func (d *Decompressor) Open(payload []byte) (records []byte, err error) {
	if len(payload) == 0 {
		return nil, ErrBad
	}
	switch payload[0] {
	case stored:
		return payload[1:], nil
	case compressed:
		if cap(d.buf) > 4<<20 {
			d.buf = nil
		}
		d.buf, err = d.decoder.DecodeAll(payload[1:], d.buf[:0])
		if err != nil {
			return nil, fmt.Errorf("%w: the block cannot be opened: %w", ErrBad, err)
		}
		return d.buf, nil
	}
	return nil, ErrBad
}
