package spool

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"timeferry/internal/segment"
)

// recover reads what is on the disk and makes it fit for more: the segments' headers, and all of the last segment. The
// others were fsynced before the last one began; their frames are checked as they are read.
func (s *Spool) recover() error {
	names, err := s.disk.list()
	if err != nil {
		return diskError("list spool", s.dir, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if !segment.IsSegment(name) {
			continue
		}
		if err := s.recoverSegment(name, name == lastSegment(names)); err != nil {
			return err
		}
	}
	if len(s.segments) == 0 {
		return nil
	}
	for _, sg := range s.segments[:len(s.segments)-1] {
		s.used += sg.limit
	}
	if err := s.recoverTail(s.current(), len(s.segments) > 0 && lastSegment(names) == s.current().name); err != nil {
		return err
	}
	s.used += s.written
	s.bytes, s.visible, s.durable = s.used, s.wholeLSN, s.wholeLSN
	return nil
}

func lastSegment(sorted []string) string {
	last := ""
	for _, name := range sorted {
		if segment.IsSegment(name) {
			last = name
		}
	}
	return last
}

// recoverSegment checks one segment's name and header and adds it to the list. The last one, if its head is not complete,
// was begun by a writer that died before anything was put into it: it is removed.
func (s *Spool) recoverSegment(name string, last bool) error {
	sequence, base, ok := segment.ParseName(name)
	if !ok {
		return corruptError(name, 0, "not a segment's name")
	}
	if n := len(s.segments); n > 0 && (sequence != s.segments[n-1].sequence+1 || base < s.segments[n-1].base) {
		return corruptError(name, 0, "does not follow segment %s: one is missing", s.segments[n-1].name)
	}
	f, size, err := s.disk.open(name)
	if err != nil {
		return diskError("open segment", name, err)
	}
	h, complete, err := readHead(f, name, size)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if !complete && !last {
		return corruptError(name, 0, "the header is damaged")
	}
	if !complete {
		return s.dropUnborn(name)
	}
	if h.Sequence != sequence || h.Base != base {
		return corruptError(name, 0, "the header is another segment's")
	}
	s.segments = append(s.segments, &segmentFile{name: name, sequence: sequence, base: base, version: h.Version, created: h.Created, head: int64(h.HeadBytes), limit: size})
	return nil
}

func (s *Spool) dropUnborn(name string) error {
	if err := s.disk.remove(name); err != nil {
		return diskError("remove segment", name, err)
	}
	if err := s.disk.syncDir(); err != nil {
		return diskError("remove segment", name, err)
	}
	return nil
}

// readHead reads the header and checks the head's frames. complete is false when the head is not all there and no record
// is either.
func readHead(f file, name string, size int64) (h segment.Header, complete bool, err error) {
	b := make([]byte, min(size, segment.HeaderSize))
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return h, false, diskError("read spool", name, err)
	}
	h, err = segment.ParseHeader(b)
	switch {
	case errors.Is(err, segment.ErrVersion):
		return h, false, versionError(name, err)
	case err != nil:
		written, err := anotherFrame(f, name, 0, size) // the head was durable before any record came
		if err == nil && written {
			err = corruptError(name, 0, "the header is damaged")
		}
		return h, false, err
	case size < int64(h.HeadBytes):
		return h, false, nil
	}
	sc := newScanner(f, name, segment.HeaderSize, segment.Plain)
	for sc.offset() < int64(h.HeadBytes) {
		frame, err := sc.frame(int64(h.HeadBytes))
		if err == nil && frame.Kind == segment.Relation {
			continue
		}
		if err == nil || size > int64(h.HeadBytes) { // records follow, so the head was durable once
			return h, false, corruptError(name, sc.offset(), "the head is damaged")
		}
		return h, false, ignoreTorn(err)
	}
	return h, true, nil
}

// ignoreTorn keeps errors other than those of a frame.
func ignoreTorn(err error) error {
	if errors.Is(err, segment.ErrBad) || errors.Is(err, segment.ErrShort) {
		return nil
	}
	return err
}

// recoverTail reads the last segment, cuts it after its last whole transaction, and makes it the active one. When mayTear
// is false it was sealed, and every byte must be good.
func (s *Spool) recoverTail(sg *segmentFile, mayTear bool) error {
	f, size, err := s.disk.open(sg.name)
	if err != nil {
		return diskError("open segment", sg.name, err)
	}
	s.active = f
	s.track.end, s.wholeLSN, s.whole = sg.base, sg.base, sg.head
	if err := s.replay(sg, size, mayTear); err != nil {
		return err
	}
	if s.whole < size {
		if err := f.Truncate(s.whole); err != nil {
			return diskError("cut segment", sg.name, err)
		}
	}
	// What a process left in the kernel's memory is seen now, but is durable only after this.
	if err := errors.Join(f.Sync(), s.disk.syncDir()); err != nil {
		return diskError("sync segment", sg.name, err)
	}
	sg.limit = s.whole
	s.blocks.begin(sg.version)
	s.marks = segment.HasMarks(sg.version)
	s.written, s.synced = s.whole, s.whole
	s.track = tracker{end: s.wholeLSN}
	s.pending.clear()
	return nil
}

// replay follows a segment's frames to the last whole transaction.
func (s *Spool) replay(sg *segmentFile, size int64, mayTear bool) error {
	sc := newScanner(s.active, sg.name, segment.HeaderSize, sg.version)
	wholeLSN := s.wholeLSN
	for sc.more(size) {
		at := sc.at()
		frame, err := sc.frame(size)
		if err != nil {
			return s.judgeTail(sg, at, size, mayTear, err)
		}
		if frame.Kind == segment.Durable {
			continue
		}
		if frame.Kind == segment.Relation && at < sg.head {
			s.relations.put(frame.Payload)
			continue
		}
		r := Record{LSN: frame.LSN, Kind: Kind(frame.Kind), Data: frame.Payload}
		whole, err := s.track.step(r)
		if err != nil {
			return corruptError(sg.name, at, "%w", err)
		}
		if r.Kind == Message {
			s.pending.put(r.Data)
		}
		if whole {
			s.wholeLSN = s.track.end
			s.relations.merge(&s.pending)
			s.pending.clear()
		}
		if sc.open() {
			continue
		}
		switch {
		case whole:
			s.whole = sc.offset()
		case s.wholeLSN > wholeLSN: // a block ends with a whole transaction, or has no end of one
			return corruptError(sg.name, at, "the block ends inside of a transaction that began after another one's end")
		}
		wholeLSN = s.wholeLSN
	}
	return nil
}

// judgeTail tells a torn tail, which is cut, from damage in what was on the disk, which is not ours to repair.
func (s *Spool) judgeTail(sg *segmentFile, at, size int64, mayTear bool, cause error) error {
	if ignoreTorn(cause) != nil {
		return cause
	}
	if !mayTear {
		return corruptError(sg.name, at, "%w", cause)
	}
	proof, err := provenDurable(s.active, sg.name, sg.version, at, size)
	if err != nil {
		return err
	}
	if proof != "" {
		return corruptError(sg.name, at, "%w, and %s", cause, proof)
	}
	return nil
}

// provenDurable says how it is known that the bad frame at offset at was on the disk once; "" when it is not known. Valid frames
// behind it prove nothing by themselves: of what was not synced, a loss of power may leave the end without the middle. Without
// marks there is nothing better. What no mark behind it covers is not lost silently either: the receiver does not go on when
// the slot was confirmed past what is left.
func provenDurable(f io.ReaderAt, name string, version uint32, at, size int64) (proof string, err error) {
	if !segment.HasMarks(version) {
		valid, err := anotherFrame(f, name, at+1, size)
		if err != nil || !valid {
			return "", err
		}
		return "more follows it", nil
	}
	mark, found, err := anotherMark(f, name, at+1, size, at)
	if err != nil || !found {
		return "", err
	}
	return fmt.Sprintf("it was on the disk when what is at byte %d was written", mark.At), nil
}
