package spool

import (
	"timeferry/internal/change"
	"timeferry/internal/segment"
)

// blockWriter is what the writer of a segment with blocks keeps besides its buffer. A record counts its LSN from the one before
// it, and a block from where its first record does.
type blockWriter struct {
	on         bool // the active segment has blocks
	compressor *segment.Compressor
	out        []byte
	base       change.LSN // before the buffer's first record
	readyLSN   change.LSN // of the last record that belongs to a whole transaction
	last       change.LSN // of the buffer's last record
}

func (o Options) version() uint32 {
	if o.Compress {
		return segment.BlocksMarked
	}
	return segment.PlainMarked
}

// begin starts anew, with an empty buffer.
func (w *blockWriter) begin(version uint32) {
	w.on = segment.HasBlocks(version)
	w.base, w.readyLSN, w.last = 0, 0, 0
}

// written notes that the buffer is in the file.
func (w *blockWriter) written() { w.base = w.last }

// rewind forgets the records after the last whole transaction in the buffer, which has ready bytes then.
func (w *blockWriter) rewind(ready int) {
	w.last = w.base
	if ready > 0 {
		w.last = w.readyLSN
	}
}

// encode puts a frame into the buffer. Where the buffer goes into the file as it is, it begins with the mark: neither what is
// written nor what is synced changes before it is in the file.
func (s *Spool) encode(f segment.Frame) {
	if !s.blocks.on {
		if len(s.buf) == 0 {
			s.buf = s.appendMark(s.buf)
		}
		s.buf = segment.AppendFrame(s.buf, f)
		return
	}
	s.buf = segment.AppendRecord(s.buf, f, s.blocks.last)
	s.blocks.last = f.LSN
}

// appendMark appends what says, at the end of the file, how much of it survives a crash.
func (s *Spool) appendMark(dst []byte) []byte {
	if !s.marks {
		return dst
	}
	return segment.AppendMark(dst, segment.Mark{At: s.written, Durable: s.synced})
}

// packed is the buffer as it goes into the file, and how much of that ends with a whole transaction. What is whole has a block of
// its own, so that readers may go to its end, and a broken connection cuts the file there.
func (s *Spool) packed() (out []byte, ready int, err error) {
	w := &s.blocks
	if !w.on {
		return s.buf, s.ready, nil
	}
	if w.compressor == nil {
		if w.compressor, err = segment.NewCompressor(); err != nil {
			return nil, 0, bug("write spool", s.dir, "%w", err)
		}
	}
	if cap(w.out) > 4*writeBuffer {
		w.out = nil
	}
	w.out = s.appendMark(w.out[:0])
	base := w.base
	if s.ready > 0 {
		w.out = w.compressor.AppendBlock(w.out, s.buf[:s.ready], base)
		ready, base = len(w.out), w.readyLSN
	}
	if s.ready < len(s.buf) {
		w.out = w.compressor.AppendBlock(w.out, s.buf[s.ready:], base)
	}
	return w.out, ready, nil
}
