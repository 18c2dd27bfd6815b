package spool

import (
	"errors"
	"io"

	"timeferry/internal/change"
	"timeferry/internal/segment"
)

// scanBuffer is how much is read at once. Measured with BenchmarkRead: more gains nothing.
const scanBuffer = 256 << 10

// scanner reads frames from a file, one after the other, those of blocks one by one. Its memory is bounded by scanBuffer or the
// greatest frame, twice where it is compressed.
type scanner struct {
	file  io.ReaderAt
	name  string
	buf   []byte
	start int64 // the file's offset of buf[0]
	next  int   // of the next frame in buf

	// blocks and marks allow them: those of the segment's version may have some. The block that is open began at blockAt; its records
	// from inside on are still to come, and count their LSN from before.
	blocks  bool
	marks   bool
	opener  *segment.Decompressor
	records []byte
	inside  int
	before  change.LSN
	blockAt int64
}

// place is where a scanner stands: before the frame at offset, or before the record at inside of the block there.
type place struct {
	offset int64
	inside int
	before change.LSN
	block  bool
}

func newScanner(f io.ReaderAt, name string, offset int64, version uint32) *scanner {
	s := &scanner{}
	s.enter(f, name, offset, version)
	return s
}

// enter goes to a place in another file.
func (s *scanner) enter(f io.ReaderAt, name string, offset int64, version uint32) {
	s.file, s.name, s.blocks, s.marks = f, name, segment.HasBlocks(version), segment.HasMarks(version)
	s.start, s.next, s.buf = offset, 0, s.buf[:0]
	s.leave()
}

// leave forgets the open block.
func (s *scanner) leave() { s.records, s.inside = nil, 0 }

// open tells whether a block's records are still to come: they are all in the file.
func (s *scanner) open() bool { return s.inside < len(s.records) }

// more tells whether something comes before limit.
func (s *scanner) more(limit int64) bool { return s.open() || s.offset() < limit }

// offset is where the next frame begins, that of an open block being behind it.
func (s *scanner) offset() int64 { return s.start + int64(s.next) }

// at is where it stands, for errors: inside of a block, its beginning.
func (s *scanner) at() int64 {
	if s.open() {
		return s.blockAt
	}
	return s.offset()
}

// place is where the scanner stands, for seek.
func (s *scanner) place() place {
	if s.open() {
		return place{s.blockAt, s.inside, s.before, true}
	}
	return place{offset: s.offset()}
}

// seek goes back to a place that it has been at, in the same file and before limit.
func (s *scanner) seek(to place, limit int64) error {
	s.leave()
	if to.offset >= s.start && to.offset <= s.start+int64(len(s.buf)) {
		s.next = int(to.offset - s.start)
	} else {
		s.start, s.next, s.buf = to.offset, 0, s.buf[:0]
	}
	if !to.block {
		return nil
	}
	f, err := s.whole(limit)
	if err == nil {
		err = s.unpack(f, to.offset)
	}
	s.inside, s.before = to.inside, to.before
	return err
}

// frame returns the next frame, which must end at or before limit, or the next record of a block; a mark, too. The payload is valid until the
// next call. Errors are segment.ErrShort and segment.ErrBad, after which the scanner stands before the frame, or those of
// the file.
func (s *scanner) frame(limit int64) (segment.Frame, error) {
	for {
		if s.open() {
			return s.record()
		}
		at := s.offset()
		f, err := s.whole(limit)
		if err == nil && f.Kind == segment.Durable {
			err = s.checkMark(f, at)
		}
		if err != nil || f.Kind != segment.Block {
			return f, err
		}
		if err := s.unpack(f, at); err != nil {
			return segment.Frame{}, err
		}
	}
}

// checkMark refuses a mark that nobody can have written there.
func (s *scanner) checkMark(f segment.Frame, at int64) error {
	if _, ok := segment.ParseMark(f, at); !ok || !s.marks {
		return corruptError(s.name, at, "a mark that does not belong there")
	}
	return nil
}

// record returns the next record of the open block.
func (s *scanner) record() (segment.Frame, error) {
	f, size, err := segment.DecodeRecord(s.records[s.inside:], s.before)
	if err != nil {
		return f, s.badBlock(err)
	}
	s.inside, s.before = s.inside+size, f.LSN
	return f, nil
}

// unpack opens the block that began at offset.
func (s *scanner) unpack(f segment.Frame, at int64) (err error) {
	s.leave()
	s.blockAt = at
	if !s.blocks {
		return s.badBlock(errors.New("a segment of this version has none"))
	}
	if s.opener == nil {
		if s.opener, err = segment.NewDecompressor(); err != nil {
			return bug("read spool", s.name, "%w", err)
		}
	}
	if s.records, err = s.opener.Open(f.Payload); err != nil {
		return s.badBlock(err)
	}
	s.before = f.LSN
	return nil
}

// badBlock: its checksum is right, so it was written like this, and is no torn tail.
func (s *scanner) badBlock(err error) error {
	return corruptError(s.name, s.blockAt, "a block whose content is none: %v", err)
}

// whole returns the next frame as it is in the file.
func (s *scanner) whole(limit int64) (segment.Frame, error) {
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

// anotherFrame tells whether a valid frame, but for those of a head, lies anywhere between from and limit.
func anotherFrame(f io.ReaderAt, name string, from, limit int64) (bool, error) {
	const longest = segment.MaxFound + segment.FrameOverhead
	return search(f, name, from, limit, longest, func(b []byte, _ int64) bool { return segment.FindFrame(b) >= 0 })
}

// anotherMark returns a mark between from and limit that says that more than the first beyond bytes were on the disk.
func anotherMark(f io.ReaderAt, name string, from, limit, beyond int64) (mark segment.Mark, found bool, err error) {
	found, err = search(f, name, from, limit, segment.MarkBytes, func(b []byte, offset int64) (ok bool) {
		mark, ok = segment.FindMark(b, offset, beyond)
		return ok
	})
	return mark, found, err
}

// search gives the bytes between from and limit, in parts, to found until it is true. What is at most longest bytes long is whole in
// one of them.
func search(f io.ReaderAt, name string, from, limit int64, longest int, found func(b []byte, offset int64) bool) (bool, error) {
	const window = 4 * segment.MaxFound
	buf := make([]byte, min(window, max(limit-from, 0)))
	for from < limit {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), limit-from)], from)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, diskError("read spool", name, err)
		}
		if found(buf[:n], from) {
			return true, nil
		}
		if n < len(buf) || from+int64(n) >= limit {
			return false, nil
		}
		from += int64(n - longest) // it may lie across the parts' border
	}
	return false, nil
}
