package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"timeferry/internal/change"
)

const (
	// HeaderSize is the number of bytes that a segment's header takes.
	HeaderSize = 48
	// Plain is the version of segments whose records are a frame each, Blocks of those that have them in blocks. New ones are
	// PlainMarked or BlocksMarked, which have marks as well.
	Plain        = 1
	Blocks       = 2
	PlainMarked  = 3
	BlocksMarked = 4

	magic     = "TFSPOOL\n"
	extension = ".seg"
)

// Header is the beginning of a segment.
type Header struct {
	// Version is one of those above; zero is written as Plain.
	Version uint32
	// Sequence counts the segments of one spool from 1.
	Sequence uint64
	// Base separates the segment from those before it: every transaction before it ends at or before Base, every one in it
	// or after it ends after Base.
	Base    change.LSN
	Created time.Time
	// HeadBytes is where the records begin: after the header and the relations carried over.
	HeadBytes uint32
}

// Errors of ParseHeader, for errors.Is.
var (
	ErrNoHeader = errors.New("no valid segment header")
	ErrVersion  = errors.New("unknown version of the segment format")
)

// castagnoli is CRC32C, for which processors have an instruction.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendHeader appends h's HeaderSize bytes to dst.
func AppendHeader(dst []byte, h Header) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = binary.BigEndian.AppendUint32(dst, max(h.Version, Plain))
	dst = binary.BigEndian.AppendUint32(dst, h.HeadBytes)
	dst = binary.BigEndian.AppendUint64(dst, h.Sequence)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Base))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Created.UnixNano()))
	dst = append(dst, 0, 0, 0, 0) // reserved
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// ParseHeader reads a header from the beginning of b.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize || string(b[:len(magic)]) != magic {
		return Header{}, ErrNoHeader
	}
	if crc32.Checksum(b[:HeaderSize-4], castagnoli) != binary.BigEndian.Uint32(b[HeaderSize-4:]) {
		return Header{}, ErrNoHeader
	}
	version := binary.BigEndian.Uint32(b[8:])
	if version < Plain || version > BlocksMarked {
		return Header{}, fmt.Errorf("%w: %d, this program knows %d to %d", ErrVersion, version, Plain, BlocksMarked)
	}
	h := Header{
		Version:   version,
		HeadBytes: binary.BigEndian.Uint32(b[12:]),
		Sequence:  binary.BigEndian.Uint64(b[16:]),
		Base:      change.LSN(binary.BigEndian.Uint64(b[24:])),
		Created:   time.Unix(0, int64(binary.BigEndian.Uint64(b[32:]))).UTC(),
	}
	if h.HeadBytes < HeaderSize {
		return Header{}, ErrNoHeader
	}
	return h, nil
}

// HasBlocks tells whether segments of this version have their records in blocks.
func HasBlocks(version uint32) bool { return version == Blocks || version == BlocksMarked }

// HasMarks tells whether segments of this version have marks.
func HasMarks(version uint32) bool { return version >= PlainMarked }

// Name is the file name of a segment: fixed width, so that names sort like the stream.
func Name(sequence uint64, base change.LSN) string {
	return fmt.Sprintf("%016x-%016x%s", sequence, uint64(base), extension)
}

// ParseName reads what Name wrote; ok is false for every other name.
func ParseName(name string) (sequence uint64, base change.LSN, ok bool) {
	stem, found := strings.CutSuffix(name, extension)
	if !found || len(stem) != 33 || stem[16] != '-' {
		return 0, 0, false
	}
	sequence, err := strconv.ParseUint(stem[:16], 16, 64)
	if err != nil {
		return 0, 0, false
	}
	position, err := strconv.ParseUint(stem[17:], 16, 64)
	if err != nil || Name(sequence, change.LSN(position)) != name {
		return 0, 0, false
	}
	return sequence, change.LSN(position), true
}

// IsSegment tells whether a file's name ends like a segment's.
func IsSegment(name string) bool { return strings.HasSuffix(name, extension) }
