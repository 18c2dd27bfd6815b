package capture

import (
	"errors"
	"sync/atomic"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/spool"
)

const (
	// chunkBytes and chunkCount bound what lies between the connection and the disk: 4 MiB, plus one message of any size.
	chunkBytes = 256 << 10
	chunkCount = 16
	// A sync is due when the stream pauses for syncPause, but syncGap after the one before, or after syncBytes or syncEvery.
	// Readers do not wait for it.
	syncPause = 2 * time.Millisecond
	syncGap   = 20 * time.Millisecond
	syncBytes = 8 << 20
	syncEvery = 100 * time.Millisecond
)

// chunk is a number of records on their way to the disk.
type chunk struct {
	data    []byte
	records []record
}

type record struct {
	kind spool.Kind
	lsn  change.LSN
	end  int // in data; it begins where the one before ends
}

// add copies a record into the chunk.
func (c *chunk) add(kind spool.Kind, lsn change.LSN, data []byte) {
	c.data = append(c.data, data...)
	c.records = append(c.records, record{kind: kind, lsn: lsn, end: len(c.data)})
}

// writer is the goroutine that puts chunks into the spool and decides when to sync.
type writer struct {
	spool Buffer
	wake  func() // called when Durable, the pause or the failure changed
	in    chan *chunk
	free  chan *chunk
	stop  chan struct{} // closed when nobody waits for room any more
	done  chan struct{}

	paused atomic.Pointer[string]
	err    error // read it after done only

	unsynced int64       // bytes appended since the last sync
	since    time.Time   // when the first of them was appended
	synced   time.Time   // when the last sync was done
	pausing  *time.Timer // of next, kept to be used again
}

func newWriter(s Buffer, wake func()) *writer {
	return &writer{spool: s, wake: wake, in: make(chan *chunk, chunkCount), free: make(chan *chunk, chunkCount+2),
		stop: make(chan struct{}), done: make(chan struct{}), pausing: time.NewTimer(syncPause)}
}

// empty gives a chunk to fill.
func (w *writer) empty() *chunk {
	select {
	case c := <-w.free:
		return c
	default:
		return &chunk{}
	}
}

// recycle gives a chunk back, unless one great message made it great.
func (w *writer) recycle(c *chunk) {
	if cap(c.data) > 4*chunkBytes {
		return
	}
	c.data, c.records = c.data[:0], c.records[:0]
	select {
	case w.free <- c:
	default:
	}
}

// failed tells whether the writer has ended by itself.
func (w *writer) failed() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// pausedBy says why the writer waits, or "".
func (w *writer) pausedBy() string {
	if p := w.paused.Load(); p != nil {
		return *p
	}
	return ""
}

// finish writes what is left, with last, and returns the writer's error. A transaction that is not whole is dropped; so
// is everything that there is no room for: it comes again.
func (w *writer) finish(last *chunk) error {
	close(w.stop)
	select {
	case w.in <- last:
	case <-w.done:
	}
	close(w.in)
	<-w.done
	if w.err != nil {
		return w.err
	}
	if err := w.spool.Rewind(); err != nil {
		return err
	}
	if _, err := w.spool.Sync(); err != nil && !spool.HasCode(err, spool.CodeFull) {
		return err
	}
	return nil
}

// run takes chunks until in is closed or something fails.
func (w *writer) run() {
	defer w.wake() // after done was closed
	defer close(w.done)
	for {
		c, ok, err := w.next()
		if err == nil && ok {
			err = w.append(c)
		}
		if errors.Is(err, errNoRoom) {
			return
		}
		if err != nil {
			w.err = err
			return
		}
		if !ok {
			return
		}
		w.recycle(c)
	}
}

// next gives the next chunk; ok is false after the last one. Syncs happen here, between chunks.
func (w *writer) next() (c *chunk, ok bool, err error) {
	if w.unsynced > 0 && (w.unsynced >= syncBytes || time.Since(w.since) >= syncEvery) {
		if err := w.sync(); err != nil {
			return nil, false, err
		}
	}
	select {
	case c, ok := <-w.in:
		return c, ok, nil
	default:
	}
	if w.unsynced > 0 {
		if err := w.patiently(w.spool.Flush); err != nil {
			return nil, false, err
		}
		w.pausing.Reset(max(syncPause, time.Until(w.synced.Add(syncGap))))
		select {
		case c, ok := <-w.in:
			return c, ok, nil
		case <-w.pausing.C:
		}
		if err := w.sync(); err != nil {
			return nil, false, err
		}
	}
	return w.idle()
}

// idle waits for the next chunk when all is written. A relay whose applier begins again has dropped what it was given, and says so to who
// asks: without that, nobody would before something new comes.
func (w *writer) idle() (c *chunk, ok bool, err error) {
	for {
		w.pausing.Reset(roomPause)
		select {
		case c, ok = <-w.in:
			return c, ok, nil
		case <-w.pausing.C:
		}
		if err := w.patiently(w.spool.Flush); err != nil {
			return nil, false, err
		}
	}
}

func (w *writer) append(c *chunk) error {
	if w.unsynced == 0 {
		w.since = time.Now()
	}
	start := 0
	for _, rec := range c.records {
		r := spool.Record{LSN: rec.lsn, Kind: rec.kind, Data: c.data[start:rec.end]}
		if err := w.patiently(func() error { return w.spool.Append(r) }); err != nil {
			return err
		}
		w.unsynced += int64(rec.end-start) + 1
		start = rec.end
	}
	return nil
}

func (w *writer) sync() error {
	before := w.spool.Durable()
	err := w.patiently(func() error {
		_, err := w.spool.Sync()
		return err
	})
	if err != nil {
		return err
	}
	w.unsynced, w.synced = 0, time.Now()
	if w.spool.Durable() != before {
		w.wake()
	}
	return nil
}

// errNoRoom ends a writer that waits for room when the session is over.
var errNoRoom = errors.New("no room, and nobody waits")

// patiently repeats do while the disk is full. What was appended before is made durable and visible meanwhile, because
// room comes from its being applied and removed.
func (w *writer) patiently(do func() error) error {
	err := do()
	if err == nil || !spool.HasCode(err, spool.CodeFull) {
		return err
	}
	defer w.pause("")
	for {
		w.pause(pausedBy(err))
		if _, syncErr := w.spool.Sync(); syncErr != nil && !spool.HasCode(syncErr, spool.CodeFull) {
			return syncErr
		}
		timer := time.NewTimer(roomPause)
		select {
		case <-w.stop:
			timer.Stop()
			return errNoRoom
		case <-timer.C:
		}
		if err = do(); err == nil || !spool.HasCode(err, spool.CodeFull) {
			return err
		}
	}
}

func (w *writer) pause(why string) {
	if w.pausedBy() != why {
		w.paused.Store(&why)
		w.wake()
	}
}
