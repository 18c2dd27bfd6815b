package spool

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/failpoint"
	"timeferry/internal/fault"
	"timeferry/internal/segment"
)

// Options of a spool. The zero value is good.
type Options struct {
	// SegmentBytes is the size from which on the next transaction begins a new segment. A transaction is never divided, so
	// a segment is as great as its last transaction makes it. 0: 64 MiB, or an eighth of Limit if that is less.
	SegmentBytes int64
	// Limit is how many bytes all segments together may take; 0: as much as the disk has. It must hold the greatest
	// transaction, because readers are given whole transactions only. Files beside the segments take what they leave of it.
	Limit int64
	// Compress writes new segments in blocks compressed by zstd. Segments that are there already are read, and the last one gone
	// on with, as they are.
	Compress bool
}

// defaultSegmentBytes keeps the number of files small (16 per GiB) and the scan at the start under a second.
const defaultSegmentBytes = 64 << 20

func (o Options) withDefaults() Options {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = defaultSegmentBytes
		if o.Limit > 0 {
			o.SegmentBytes = min(o.SegmentBytes, o.Limit/8)
		}
	}
	return o
}

// Kind says what a Record is.
type Kind byte

const (
	// Message is a replication message (pgoutput) as it came.
	Message = Kind(segment.Message)
	// Progress has no data: the source has nothing more before LSN.
	Progress = Kind(segment.Progress)
)

// Record is one step of the stream. LSN is the position of a Progress; for a Message it is what the sender noted.
type Record struct {
	LSN  change.LSN
	Kind Kind
	Data []byte
}

// Stats describes a spool. FirstLSN is where it begins: everything in it ends after that. LastLSN is the end of the last
// transaction that readers can see, DurableLSN that of the last one that survives a crash. BesideBytes are not among Bytes.
type Stats struct {
	Bytes         int64
	BesideBytes   int64 // of files beside the segments, see Beside
	Segments      int
	OldestSegment time.Time // when the oldest segment was begun; zero when there is none
	FirstLSN      change.LSN
	LastLSN       change.LSN
	DurableLSN    change.LSN
}

// Spool is one migration's change log. One goroutine appends; every method is safe for concurrent use. Close it.
type Spool struct {
	dir     string
	options Options
	disk    disk
	lock    *os.File

	// writing guards the writer's side and is held during its disk work; the fields down to shared belong to it.
	writing   sync.Mutex
	active    file
	buf       []byte // encoded frames, or a block's records, that are not in the file yet
	ready     int    // bytes of buf that end with a whole transaction
	written   int64  // bytes in the active file
	synced    int64  // of those, how many survive a crash
	whole     int64  // where the last whole transaction in the file ends
	track     tracker
	blocks    blockWriter
	marks     bool // the active segment has them
	wholeLSN  change.LSN
	relations relationIndex // as of whole
	pending   relationIndex // of the transaction under way
	used      int64         // bytes of all files

	// shared guards what readers and Stats look at; held for moments only. Taken after writing, never before.
	shared   sync.Mutex
	segments []*segmentFile // oldest first; the last one is active
	visible  change.LSN
	durable  change.LSN
	bytes    int64
	beside   int64 // bytes of files that are not the spool's own
	broken   error
	changed  chan struct{} // closed and replaced whenever readers may find something new
}

// segmentFile is what is known of one segment. limit is guarded by Spool.shared.
type segmentFile struct {
	name     string
	sequence uint64
	base     change.LSN
	version  uint32
	created  time.Time
	head     int64 // where the records begin
	limit    int64 // where the whole transactions end: readers go no further
}

// Open makes the directory if need be, takes its lock, and cuts what an interrupted writer left behind the last whole
// transaction. A second owner gets an Operator fault with CodeLocked. What is kept is fsynced before Open returns.
func Open(dir string, o Options) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, diskError("make spool directory", dir, err)
	}
	failpoint.At(failpoint.BeforeHomeFsync)
	if err := syncDirectory(filepath.Dir(dir)); err != nil {
		return nil, diskError("make spool directory", dir, err)
	}
	failpoint.At(failpoint.AfterHomeFsync)
	lock, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	s, err := openOn(directory(dir), dir, o)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	return s, nil
}

// openOn is Open on any disk, without the lock.
func openOn(d disk, dir string, o Options) (*Spool, error) {
	s := &Spool{dir: dir, options: o.withDefaults(), disk: d, changed: make(chan struct{})}
	if err := s.recover(); err != nil {
		if s.active != nil {
			err = errors.Join(err, s.active.Close())
		}
		return nil, err
	}
	return s, nil
}

// Durable is the position from which the receiver has to go on: the end of the last durable transaction, or the last
// durable Progress. 0 when the spool is empty and StartAt was not called.
func (s *Spool) Durable() change.LSN {
	s.shared.Lock()
	defer s.shared.Unlock()
	return s.durable
}

// Stats says how much there is.
func (s *Spool) Stats() Stats {
	s.shared.Lock()
	defer s.shared.Unlock()
	st := Stats{Bytes: s.bytes, BesideBytes: s.beside, Segments: len(s.segments), LastLSN: s.visible, DurableLSN: s.durable}
	if len(s.segments) > 0 {
		st.OldestSegment, st.FirstLSN = s.segments[0].created, s.segments[0].base
	}
	return st
}

// Close makes what was appended durable, ends all readers, and gives the directory free. Closing twice does nothing.
func (s *Spool) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	failed := s.failure()
	if errors.Is(failed, errClosed) {
		return nil
	}
	var err error
	if failed == nil {
		if _, err = s.sync(); err == nil {
			s.lastMark()
		}
	}
	s.fail(errClosed)
	if s.active != nil {
		err = errors.Join(err, s.active.Close())
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// lastMark lets the next start see that all of the file was on the disk. It is worth a write and no fsync, and an error is none: it
// is cut off then, as in the end it is in any case, and the slot's position still says what must be there.
func (s *Spool) lastMark() {
	if s.active != nil && s.marks && s.written > s.current().head {
		_, _ = s.active.WriteAt(s.appendMark(nil), s.written)
	}
}

var errClosed = errors.New("spool is closed")

// failure is why the spool takes no more work, or nil.
func (s *Spool) failure() error {
	s.shared.Lock()
	defer s.shared.Unlock()
	return s.broken
}

// usable is failure as an error for the caller of op.
func (s *Spool) usable(op string) error {
	switch err := s.failure(); {
	case err == nil:
		return nil
	case errors.Is(err, errClosed):
		return bug(op, s.dir, "%w", err)
	default:
		return err
	}
}

// fail ends all work with err; a closed spool stays closed.
func (s *Spool) fail(err error) {
	s.shared.Lock()
	defer s.shared.Unlock()
	if !errors.Is(s.broken, errClosed) {
		s.broken = err
	}
	s.wake()
}

// broke notes that the disk did not do what it must, and returns the error that every later call gets.
func (s *Spool) broke(op string, cause error) error {
	err := fault.New(fault.Operator, op, s.dir, "check the worker's disk; what was not written yet comes again from the source", "%w", cause).WithCode(CodeBroken)
	s.fail(err)
	return err
}

// wake tells all readers to look again. Call it with shared held.
func (s *Spool) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}
