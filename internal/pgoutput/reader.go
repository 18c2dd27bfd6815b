package pgoutput

import (
	"bytes"
	"encoding/binary"
	"time"

	"timeferry/internal/fault"
)

// reader takes values off the front of a message. Its first failure sticks: every later read gives zero, so a decoder
// needs to look at err only before it trusts a value.
type reader struct {
	rest []byte
	err  error
}

func malformed(format string, args ...any) error {
	return fault.New(fault.Integrity, "decode replication message", "", "", format, args...)
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = malformed(format, args...)
	}
	r.rest = nil
}

// take gives the next n bytes without copying them, or nil. The capacity ends with the bytes, so that an append by a
// consumer cannot reach the next value.
func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.rest) {
		r.fail("message ends %d bytes early", n-len(r.rest))
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(len(r.rest)) {
		r.fail("message ends before a value of %d bytes", n)
		return nil
	}
	return r.take(int(n))
}

func (r *reader) uint8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// time reads microseconds since 2000, which span more than a time.Duration holds.
func (r *reader) time() time.Time {
	micros := int64(r.uint64())
	if r.err != nil {
		return time.Time{}
	}
	return time.UnixMicro(micros + epoch.UnixMicro()).UTC()
}

// string reads up to and over a zero byte.
func (r *reader) string() string {
	end := bytes.IndexByte(r.rest, 0)
	if end < 0 {
		r.fail("a string without an end")
		return ""
	}
	s := string(r.rest[:end])
	r.rest = r.rest[end+1:]
	return s
}
