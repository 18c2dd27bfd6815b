package spool

import (
	"errors"
	"io"

	"timeferry/internal/segment"
)

// scanBuffer is how much is read at once. Measured with BenchmarkRead: more gains nothing.
const scanBuffer = 256 << 10

// scanner reads frames from a file, one after the other. Its memory is bounded by scanBuffer or the greatest frame.
type scanner struct {
	file  io.ReaderAt
	name  string
	buf   []byte
	start int64 // the file's offset of buf[0]
	next  int   // of the next frame in buf
}

func newScanner(f io.ReaderAt, name string, offset int64) *scanner {
	return &scanner{file: f, name: name, start: offset}
}

// offset is where the next frame begins.
func (s *scanner) offset() int64 { return s.start + int64(s.next) }

// seek goes to offset.
func (s *scanner) seek(offset int64) {
	if offset >= s.start && offset <= s.start+int64(len(s.buf)) {
		s.next = int(offset - s.start)
		return
	}
	s.start, s.next, s.buf = offset, 0, s.buf[:0]
}

// frame returns the next frame, which must end at or before limit. The payload is valid until the next call. Errors are
// segment.ErrShort and segment.ErrBad, after which the scanner stands before the frame, or those of the file.
func (s *scanner) frame(limit int64) (segment.Frame, error) {
	for {
		f, size, err := segment.DecodeFrame(s.buf[s.next:])
		if err == nil {
			if s.offset()+int64(size) > limit {
				return segment.Frame{}, segment.ErrShort
			}
			s.next += size
			return f, nil
		}
		if !errors.Is(err, segment.ErrShort) || s.offset()+int64(size) > limit {
			return segment.Frame{}, err
		}
		if err := s.fill(size, limit); err != nil {
			return segment.Frame{}, err
		}
	}
}

// fill reads on until at least need bytes from the next frame on are in the buffer; never beyond limit.
func (s *scanner) fill(need int, limit int64) error {
	rest := copy(s.buf, s.buf[s.next:])
	s.start, s.next = s.offset(), 0
	want := max(need, scanBuffer)
	if cap(s.buf) < want || (cap(s.buf) > 16*scanBuffer && want == scanBuffer) { // grown for one great value: give it back
		grown := make([]byte, rest, want)
		copy(grown, s.buf[:rest])
		s.buf = grown
	}
	upTo := int(min(int64(cap(s.buf)), limit-s.start))
	n, err := s.file.ReadAt(s.buf[rest:upTo], s.start+int64(rest))
	s.buf = s.buf[:rest+n]
	if err != nil && rest+n < need {
		if errors.Is(err, io.EOF) {
			return corruptError(s.name, s.start+int64(rest+n), "the file ends before what was written to it")
		}
		return diskError("read spool", s.name, err)
	}
	return nil
}

// anotherFrame tells whether a valid frame lies anywhere between from and limit.
func anotherFrame(f io.ReaderAt, name string, from, limit int64) (bool, error) {
	const window = 4 * segment.MaxFound
	buf := make([]byte, min(window, max(limit-from, 0)))
	for from < limit {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), limit-from)], from)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, diskError("read spool", name, err)
		}
		if segment.FindFrame(buf[:n]) >= 0 {
			return true, nil
		}
		if n < len(buf) || from+int64(n) >= limit {
			return false, nil
		}
		from += int64(n - segment.MaxFound - segment.FrameOverhead) // a frame may lie across the windows' border
	}
	return false, nil
}
