package spool

import (
	"context"
	"errors"

	"timeferry/internal/change"
	"timeferry/internal/pgoutput"
	"timeferry/internal/segment"
)

// Reader goes through a spool from some position on. Use it from one goroutine, and close it.
type Reader struct {
	spool *Spool
	from  change.LSN
	at    *segmentFile
	file  file
	scan  *scanner
	limit int64 // as far as we know that at may be read
	// track follows what was read: a segment must end where the next one begins, or something was lost from its end.
	track tracker

	// Until the first record is found, relations collects what was passed over. It is yielded before that record.
	seeking   bool
	relations relationIndex
	passed    [][]byte
}

// NewReader starts at the first transaction that ends after from, preceded by the relations described before it. With from
// 0 it starts at the oldest one there is; any other position that is older than what is kept gives CodeGap.
func (s *Spool) NewReader(from change.LSN) (*Reader, error) {
	if err := s.usable("read spool"); err != nil {
		return nil, err
	}
	r := &Reader{spool: s, from: from, seeking: true}
	if _, err := r.advance(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Next returns the next record, and blocks until there is one. Data is valid until the next call.
func (r *Reader) Next(ctx context.Context) (Record, error) {
	for {
		r.spool.shared.Lock()
		changed := r.spool.changed
		r.spool.shared.Unlock()
		rec, ok, err := r.try()
		if ok || err != nil {
			return rec, err
		}
		if err := r.spool.usable("read spool"); err != nil {
			return Record{}, err
		}
		select {
		case <-ctx.Done():
			return Record{}, ctx.Err()
		case <-changed:
		}
	}
}

// Ready tells whether Next would return at once. It leaves the last record's Data valid.
func (r *Reader) Ready() bool {
	if r.seeking {
		if found, err := r.seek(); err != nil || !found {
			return err != nil
		}
	}
	if len(r.passed) > 0 || r.scan.more(r.limit) {
		return true
	}
	r.spool.shared.Lock()
	defer r.spool.shared.Unlock()
	if r.spool.broken != nil {
		return true
	}
	if r.at.limit > r.scan.offset() {
		return true
	}
	for _, sg := range r.spool.segments {
		if sg.sequence > r.at.sequence && sg.limit > sg.head {
			return true
		}
	}
	return false
}

// Close frees the reader's file.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file = nil
	return f.Close()
}

// try is Next without waiting.
func (r *Reader) try() (rec Record, ok bool, err error) {
	if r.seeking {
		if found, err := r.seek(); err != nil || !found {
			return Record{}, false, err
		}
	}
	if len(r.passed) > 0 {
		msg := r.passed[0]
		r.passed = r.passed[1:]
		return Record{Kind: Message, Data: msg}, true, nil
	}
	return r.record()
}

// seek goes to the first transaction that ends after from. Transactions are in commit order, so only one that begins its
// commit before from can end before it; those are read to their end to know.
func (r *Reader) seek() (found bool, err error) {
	for {
		if more, err := r.advance(); err != nil || !more {
			return false, err
		}
		start, before := r.scan.place(), r.track
		skipped, err := r.skip()
		if err != nil {
			return false, err
		}
		if !skipped {
			if err := r.scan.seek(start, r.limit); err != nil {
				return false, err
			}
			r.track = before
			break
		}
	}
	r.seeking = false
	for _, oid := range r.relations.order {
		r.passed = append(r.passed, r.relations.byOID[oid])
	}
	r.relations.clear()
	return true, nil
}

// skip reads one transaction, progress or loose message, and keeps its relations. It is false, wherever it then stands,
// when that one ends after from.
func (r *Reader) skip() (bool, error) {
	start := r.scan.at()
	track := tracker{}
	var inside relationIndex
	for whole := false; !whole; {
		rec, ok, err := r.record()
		if err != nil {
			return false, err
		}
		if !ok {
			return false, corruptError(r.at.name, r.scan.at(), "a segment ends inside of a transaction")
		}
		if final, begins := pgoutput.IsBegin(rec.Data); begins && final >= r.from {
			return false, nil
		}
		if whole, err = track.step(rec); err != nil {
			return false, corruptError(r.at.name, start, "%w", err)
		}
		inside.put(rec.Data)
	}
	if track.end > r.from {
		return false, nil
	}
	r.relations.merge(&inside)
	return true, nil
}

// record reads the next record that is visible. A mark always has one behind it.
func (r *Reader) record() (rec Record, ok bool, err error) {
	if more, err := r.advance(); err != nil || !more {
		return Record{}, false, err
	}
	frame, err := r.scan.frame(r.limit)
	for err == nil && frame.Kind == segment.Durable {
		frame, err = r.scan.frame(r.limit)
	}
	if err != nil {
		if failed := r.spool.usable("read spool"); failed != nil { // it may have cut the file
			return Record{}, false, failed
		}
		if ignoreTorn(err) == nil {
			err = corruptError(r.at.name, r.scan.at(), "%w", err)
		}
		return Record{}, false, err
	}
	if frame.Kind == segment.Relation {
		return Record{}, false, corruptError(r.at.name, r.scan.at(), "a carried relation outside of the head")
	}
	rec = Record{LSN: frame.LSN, Kind: Kind(frame.Kind), Data: frame.Payload}
	if _, err := r.track.step(rec); err != nil {
		return Record{}, false, corruptError(r.at.name, r.scan.at(), "%w", err)
	}
	return rec, true, nil
}

// advance sees to it that something visible follows the scanner, in the next segment if need be; more is false when there
// is nothing yet.
func (r *Reader) advance() (more bool, err error) {
	for r.at == nil || !r.scan.more(r.limit) {
		next, moved, err := r.refresh()
		if err != nil {
			return false, err
		}
		if next != nil {
			if err := r.enter(next); err != nil {
				return false, err
			}
			continue
		}
		if !moved {
			return false, nil
		}
	}
	return true, nil
}

// refresh looks at the spool: moved is true when the segment's limit went on, next is the segment to go on with otherwise.
func (r *Reader) refresh() (next *segmentFile, moved bool, err error) {
	s := r.spool
	s.shared.Lock()
	defer s.shared.Unlock()
	if errors.Is(s.broken, errClosed) {
		return nil, false, bug("read spool", s.dir, "%w", errClosed)
	}
	if len(s.segments) == 0 {
		return nil, false, nil
	}
	if r.at == nil {
		if oldest := s.segments[0]; r.from != 0 && oldest.base > r.from {
			return nil, false, gapError(s.dir, r.from, oldest.base)
		}
		return s.segments[r.startIndex()], false, nil
	}
	if r.at.limit > r.limit {
		r.limit = r.at.limit
		return nil, true, nil
	}
	for _, sg := range s.segments {
		if sg.sequence <= r.at.sequence {
			continue
		}
		if sg.sequence > r.at.sequence+1 {
			return nil, false, bug("read spool", s.dir, "segments after %s were removed before they were read", r.at.name)
		}
		return sg, false, nil
	}
	return nil, false, nil
}

// startIndex is the last segment that begins at or before from: everything in the ones before it ends there too.
func (r *Reader) startIndex() int {
	index := 0
	for i, sg := range r.spool.segments {
		if sg.base <= r.from {
			index = i
		}
	}
	return index
}

// enter opens a segment. Its head is read only where reading begins: later, everything in it has been seen.
func (r *Reader) enter(next *segmentFile) error {
	if r.at == nil {
		r.track = tracker{end: next.base}
	} else if r.track.inTx || r.track.end != next.base {
		return corruptError(r.at.name, r.scan.at(), "it ends at %s, and the next segment begins at %s", r.track.end, next.base)
	}
	f, _, err := r.spool.disk.open(next.name)
	if err != nil {
		return diskError("open segment", next.name, err)
	}
	first := r.at == nil
	err = r.Close()
	r.file, r.at, r.limit = f, next, next.head
	if err != nil {
		return diskError("close segment", next.name, err)
	}
	if !first {
		r.scan.enter(f, next.name, next.head, next.version)
		return nil
	}
	r.scan = newScanner(f, next.name, segment.HeaderSize, next.version)
	for r.scan.offset() < next.head {
		frame, err := r.scan.frame(next.head)
		if err != nil {
			if ignoreTorn(err) == nil {
				err = corruptError(next.name, r.scan.offset(), "%w", err)
			}
			return err
		}
		r.relations.put(frame.Payload)
	}
	return nil
}
