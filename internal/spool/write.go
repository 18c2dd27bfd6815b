package spool

import (
	"errors"
	"io"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/segment"
)

// writeBuffer is how many bytes Append collects before it writes by itself. Larger writes gain nothing (BenchmarkAppend).
const writeBuffer = 512 << 10

// Append takes one record. It is neither durable nor seen by readers yet. A full disk or quota gives a fault with CodeFull,
// and the record is not taken: the caller may try again. A transaction that is there already gives a Bug fault.
func (s *Spool) Append(r Record) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.usable("append to spool"); err != nil {
		return err
	}
	track := s.track
	whole, err := track.step(r)
	if err != nil {
		return err
	}
	if err := s.makeRoom(int64(segment.FrameOverhead + len(r.Data))); err != nil {
		return err
	}
	s.encode(segment.Frame{LSN: r.LSN, Kind: segment.Kind(r.Kind), Payload: r.Data})
	s.track = track
	if r.Kind == Message {
		s.pending.put(r.Data)
	}
	if whole {
		s.ready, s.wholeLSN = len(s.buf), track.end
		s.blocks.readyLSN = r.LSN
		s.relations.merge(&s.pending)
		s.pending.clear()
	}
	return nil
}

// makeRoom sees to it that a frame of size bytes can be put into the buffer.
func (s *Spool) makeRoom(size int64) error {
	if s.active == nil {
		if err := s.begin(0); err != nil {
			return err
		}
	}
	if limit := s.options.Limit; limit > 0 && s.used+int64(len(s.buf))+segment.MarkBytes+size > limit {
		return fullError(s.dir, errQuota)
	}
	if s.mayRotate() && (!s.marks || s.written+int64(len(s.buf)) >= s.options.SegmentBytes) { // one without marks is an earlier version's
		if err := s.rotate(); err != nil {
			return err
		}
	}
	if len(s.buf) > 0 && int64(len(s.buf))+size > writeBuffer {
		return s.write()
	}
	return nil
}

var errQuota = errors.New("the quota for buffered changes is used up")

// mayRotate tells whether a new segment can begin here: between transactions, and not after an empty one.
func (s *Spool) mayRotate() bool {
	if s.track.inTx {
		return false
	}
	if len(s.buf) > 0 {
		return s.ready == len(s.buf)
	}
	return s.written == s.whole && s.whole > s.current().head
}

// current is the active segment. Only the writer changes the list, so reading it needs no more than writing.
func (s *Spool) current() *segmentFile { return s.segments[len(s.segments)-1] }

// write puts the buffer into the file. When the disk is full the file is cut back, and the buffer stays.
func (s *Spool) write() error {
	if len(s.buf) == 0 {
		return nil
	}
	out, ready, err := s.packed()
	if err != nil {
		return err
	}
	n, err := s.active.WriteAt(out, s.written)
	if err == nil && n < len(out) {
		err = io.ErrShortWrite
	}
	if err != nil {
		if cut := s.active.Truncate(s.written); cut != nil || !isFull(err) {
			return s.broke("write spool", errors.Join(err, cut))
		}
		return fullError(s.dir, err)
	}
	if s.ready > 0 {
		s.whole = s.written + int64(ready)
	}
	s.written += int64(n)
	s.used += int64(n)
	s.ready = 0
	s.blocks.written()
	if cap(s.buf) > 4*writeBuffer { // one great value came: give its memory back
		s.buf = nil
	}
	s.buf = s.buf[:0]
	s.publish()
	return nil
}

// publish lets readers see what is whole. Everything before whole is in the file whenever it is called.
func (s *Spool) publish() {
	s.shared.Lock()
	defer s.shared.Unlock()
	s.bytes = s.used
	if current := s.current(); current.limit != s.whole {
		current.limit, s.visible = s.whole, s.wholeLSN
		s.wake()
	}
}

// Flush hands what was appended to the readers: whole transactions, durable or not.
func (s *Spool) Flush() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.usable("write spool"); err != nil {
		return err
	}
	return s.write()
}

// Sync makes everything that was appended survive a crash, and returns Durable. After an fsync that failed, the spool
// is broken: Linux may report a failed write-back once only, so trying again would succeed without the data on disk.
func (s *Spool) Sync() (durable change.LSN, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.usable("sync spool"); err != nil {
		return s.Durable(), err
	}
	return s.sync()
}

func (s *Spool) sync() (change.LSN, error) {
	if err := s.write(); err != nil {
		return s.Durable(), err
	}
	if s.active != nil && s.synced < s.written {
		if err := s.active.Sync(); err != nil {
			err = s.broke("sync spool", err) // first, so that a reader knows why the file got shorter
			// Cut off what the disk may not have: a reopened spool must not take it for durable. A failure here changes nothing.
			_ = s.active.Truncate(s.synced)
			return s.Durable(), err
		}
		s.synced = s.written
	}
	s.shared.Lock()
	defer s.shared.Unlock()
	if s.active != nil {
		s.durable = s.wholeLSN
	}
	return s.durable, nil
}

// Rewind drops the transaction that is not whole, if there is one: the connection it came by is gone, and it comes again.
// Readers have not seen anything of it.
func (s *Spool) Rewind() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.usable("rewind spool"); err != nil {
		return err
	}
	if s.active == nil {
		return nil
	}
	s.track.inTx = false
	s.pending.clear()
	s.buf = s.buf[:s.ready]
	s.blocks.rewind(s.ready)
	if s.ready > 0 || s.whole == s.written {
		return nil
	}
	// The fsync keeps pages with what was cut off from coming back between those of what comes next. There is one for a broken
	// connection only.
	if err := errors.Join(s.active.Truncate(s.whole), s.active.Sync()); err != nil {
		return s.broke("rewind spool", err)
	}
	s.used -= s.written - s.whole
	s.written, s.synced = s.whole, s.whole
	s.publish()
	return nil
}

// StartAt notes on an empty spool that the stream begins at lsn: nothing that ends before is or will be here, and a reader
// that asks for it is told so. On a spool that has begun it does nothing. Durable is lsn then.
func (s *Spool) StartAt(lsn change.LSN) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.usable("start spool"); err != nil || s.active != nil {
		return err
	}
	if err := s.begin(lsn); err != nil {
		return err
	}
	s.shared.Lock()
	defer s.shared.Unlock()
	s.durable = lsn
	return nil
}

// rotate seals the active segment and begins the next one. It returns with both durable, so that only the last segment of
// a spool can be torn.
func (s *Spool) rotate() error {
	if _, err := s.sync(); err != nil {
		return err
	}
	sealed := s.active
	if err := s.begin(s.wholeLSN); err != nil {
		return err
	}
	if err := sealed.Close(); err != nil {
		return s.broke("close segment", err)
	}
	return nil
}

// begin creates a segment whose transactions all end after base, with the relations known, and makes it the active one.
// A crash in here leaves a segment with an incomplete head, which recovery removes.
func (s *Spool) begin(base change.LSN) error {
	next := &segmentFile{sequence: 1, base: base, version: s.options.version(), created: time.Now()}
	if len(s.segments) > 0 {
		next.sequence = s.current().sequence + 1
	}
	next.name = segment.Name(next.sequence, base)
	head := s.head(next)
	f, err := s.disk.create(next.name)
	if err != nil {
		return diskError("create segment", next.name, err)
	}
	if _, err := f.WriteAt(head, 0); err != nil {
		cleanup := errors.Join(f.Close(), s.disk.remove(next.name))
		if isFull(err) && cleanup == nil {
			return fullError(s.dir, err)
		}
		return s.broke("write segment", errors.Join(err, cleanup))
	}
	if err := errors.Join(f.Sync(), s.disk.syncDir()); err != nil {
		return s.broke("sync segment", errors.Join(err, f.Close()))
	}
	s.activate(next, f, int64(len(head)))
	return nil
}

// head encodes the header and the relations carried over.
func (s *Spool) head(of *segmentFile) []byte {
	size := segment.HeaderSize
	for _, msg := range s.relations.byOID {
		size += segment.FrameOverhead + len(msg)
	}
	of.head, of.limit = int64(size), int64(size)
	b := segment.AppendHeader(make([]byte, 0, size), segment.Header{Version: of.version, Sequence: of.sequence, Base: of.base, Created: of.created, HeadBytes: uint32(size)})
	for _, oid := range s.relations.order {
		b = segment.AppendFrame(b, segment.Frame{LSN: of.base, Kind: segment.Relation, Payload: s.relations.byOID[oid]})
	}
	return b
}

func (s *Spool) activate(next *segmentFile, f file, size int64) {
	s.active, s.written, s.synced, s.whole = f, size, size, size
	s.blocks.begin(next.version)
	s.marks = segment.HasMarks(next.version)
	s.wholeLSN, s.track.end = next.base, next.base
	s.used += size
	s.shared.Lock()
	defer s.shared.Unlock()
	s.segments = append(s.segments, next)
	s.visible, s.bytes = next.base, s.used
	s.wake()
}

// Prune removes the segments whose transactions all end at or before upTo, oldest first. The active one goes only when it
// has reached its size: it is sealed then, so that a full spool gets free.
func (s *Spool) Prune(upTo change.LSN) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.usable("prune spool"); err != nil || s.active == nil {
		return err
	}
	if s.mayRotate() && s.wholeLSN <= upTo && s.written+int64(len(s.buf)) >= s.options.SegmentBytes {
		if err := s.rotate(); err != nil && !HasCode(err, CodeFull) { // without room the older ones go first
			return err
		}
	}
	removed := false
	for len(s.segments) > 1 && s.segments[1].base <= upTo {
		oldest := s.segments[0]
		if err := s.disk.remove(oldest.name); err != nil {
			return diskError("remove segment", oldest.name, err)
		}
		removed = true
		s.used -= oldest.limit
		s.shared.Lock()
		s.segments = append([]*segmentFile(nil), s.segments[1:]...)
		s.bytes = s.used
		s.shared.Unlock()
	}
	if !removed {
		return nil
	}
	if err := s.disk.syncDir(); err != nil {
		return diskError("remove segments", s.dir, err)
	}
	return nil
}
