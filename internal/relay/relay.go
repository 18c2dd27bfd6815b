package relay

import (
	"context"
	"errors"
	"sync"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/spool"
)

const (
	// maxBytes is how much lies between the receiver and the applier, plus one record of any size. More gains nothing: the
	// applier gathers batches of its own.
	maxBytes = 8 << 20
	// blockBytes is how much is handed over at once at the most, and recordBytes what a record takes besides its data.
	blockBytes  = 256 << 10
	recordBytes = 48
	// patience is how long Append waits for room before it says that there is none. The receiver tries again then.
	patience = 250 * time.Millisecond
)

// ErrInterrupted tells the reader that the stream begins again before what it has read last: what was read of a transaction that
// was not whole is void. Open another reader at the applied position.
var ErrInterrupted = errors.New("the stream begins again")

// errRestart tells the receiver that the reader begins again at a position that the relay does not have any more.
var errRestart = errors.New("the applier begins again")

// block is a number of records with their data.
type block struct {
	data    []byte
	records []record
}

type record struct {
	kind spool.Kind
	lsn  change.LSN
	end  int // in data; it begins where the one before ends
}

// Relay lies between one receiver and one applier. Make it with New; every method is safe for concurrent use.
type Relay struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever somebody may go on

	filling *block   // by Append, not handed over yet
	full    []*block // handed over, oldest first
	bytes   int      // of all of them
	free    []*block

	base    change.LSN // where the stream began: nothing that ends at or before it will come
	durable change.LSN // on the target's disk
	begun   bool       // something was appended since the last Rewind
	restart bool       // a reader has begun anew: the receiver must do so too
	reader  *Reader    // the present one
	memory  Memory
}

// Memory is what outlives a relay, since it is kept on the target.
type Memory struct {
	// Applied is what the target has on its disk; 0: nothing yet.
	Applied change.LSN
	// Source is the receiver's note of which server it receives from, as Keep was given it last.
	Source string
	Keep   func(source string) error
}

// New makes a relay that goes on where memory says.
func New(memory Memory) *Relay {
	return &Relay{durable: memory.Applied, memory: memory, changed: make(chan struct{})}
}

// wake lets everybody look again. Call it with mu held.
func (r *Relay) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Append takes one record, as spool.Append does. Without room it waits a moment, and then gives a fault with the code spool-full:
// the record was not taken.
func (r *Relay) Append(rec spool.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.room(len(rec.Data) + recordBytes); err != nil {
		return err
	}
	if r.filling == nil {
		r.filling = r.empty()
	}
	b := r.filling
	b.data = append(b.data, rec.Data...)
	b.records = append(b.records, record{kind: rec.Kind, lsn: rec.LSN, end: len(b.data)})
	r.bytes += len(rec.Data) + recordBytes
	r.begun = true
	if len(b.data) >= blockBytes {
		r.hand()
	}
	return nil
}

// room waits until size more bytes may come. It gives mu back meanwhile.
func (r *Relay) room(size int) error {
	var timeout <-chan time.Time
	for {
		if r.restart {
			return restarting()
		}
		if r.bytes == 0 || r.bytes+size <= maxBytes {
			return nil
		}
		r.hand()
		if timeout == nil {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			timeout = timer.C
		}
		changed := r.changed
		r.mu.Unlock()
		late := false
		select {
		case <-changed:
		case <-timeout:
			late = true
		}
		r.mu.Lock()
		if late {
			return fault.New(fault.Operator, "hand on", "changes", "nothing is lost: they wait in the source's WAL", "the target has more to do than it can").WithCode(spool.CodeFull)
		}
	}
}

func restarting() error {
	return fault.New(fault.Transient, "hand on", "changes", "", "%w", errRestart)
}

func (r *Relay) empty() *block {
	if n := len(r.free); n > 0 {
		b := r.free[n-1]
		r.free = r.free[:n-1]
		return b
	}
	return &block{}
}

// recycle gives a block back, unless one great value made it great. Call it with mu held.
func (r *Relay) recycle(b *block) {
	if cap(b.data) <= 4*blockBytes && len(r.free) < maxBytes/blockBytes {
		b.data, b.records = b.data[:0], b.records[:0]
		r.free = append(r.free, b)
	}
}

// hand makes what was appended visible. Call it with mu held.
func (r *Relay) hand() {
	if r.filling == nil || len(r.filling.records) == 0 {
		return
	}
	r.full = append(r.full, r.filling)
	r.filling = nil
	r.wake()
}

// Flush hands what was appended to the reader.
func (r *Relay) Flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.restart {
		return restarting()
	}
	r.hand()
	return nil
}

// Sync is Flush; it makes nothing durable, since that is the target's doing. It returns Durable.
func (r *Relay) Sync() (change.LSN, error) { return r.Durable(), r.Flush() }

// Durable is what the target has on its disk.
func (r *Relay) Durable() change.LSN {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.durable
}

// Confirm notes that the target has everything up to lsn on its disk.
func (r *Relay) Confirm(lsn change.LSN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.durable = max(r.durable, lsn)
}

// StartAt notes where the slot begins: a reader that asks for something older is told so.
func (r *Relay) StartAt(lsn change.LSN) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.base, r.durable = max(r.base, lsn), max(r.durable, lsn)
	r.wake()
	return nil
}

// Rewind drops all that lies here: the receiver begins again after Durable, and whatever is not there comes again. The reader is
// told, unless it has read nothing yet.
func (r *Relay) Rewind() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.restart = false
	if !r.begun {
		return nil
	}
	r.begun, r.filling, r.full, r.bytes = false, nil, nil, 0
	if r.reader != nil && r.reader.began {
		r.reader.over = true
	}
	r.wake()
	return nil
}

// Dir is empty: nothing is kept on a disk.
func (r *Relay) Dir() string { return "" }

// Beside has nothing to count.
func (r *Relay) Beside(int64) error { return nil }

// Source is the receiver's note of which server it receives from.
func (r *Relay) Source() (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.memory.Source, nil
}

// SetSource keeps the note. Only the receiver calls it.
func (r *Relay) SetSource(note string) error {
	if err := r.memory.Keep(note); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.memory.Source = note
	return nil
}

// Reader takes what the receiver appends. Use it from one goroutine.
type Reader struct {
	relay *Relay
	from  change.LSN
	began bool // it was given something; guarded by the relay's mu, like over
	over  bool // the stream has begun again
	at    *block
	next  int // record of at
	start int // of its data
}

// NewReader reads from the first transaction on that ends after from, and others before it: those are on the target already. The
// reader before it is over. If anything was appended already, the receiver is made to begin again.
func (r *Relay) NewReader(from change.LSN) *Reader {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reader != nil {
		r.reader.over = true
	}
	r.reader = &Reader{relay: r, from: from}
	if r.begun {
		r.restart = true
		r.filling, r.full, r.bytes = nil, nil, 0
	}
	r.wake()
	return r.reader
}

// Next returns the next record, and blocks until there is one. Data is valid until the next call. After ErrInterrupted there is
// no more.
func (d *Reader) Next(ctx context.Context) (spool.Record, error) {
	r := d.relay
	for {
		if rec, ok := d.take(); ok {
			return rec, nil
		}
		r.mu.Lock()
		err := d.fetch()
		changed := r.changed
		r.mu.Unlock()
		if err != nil {
			return spool.Record{}, err
		}
		if d.at != nil {
			continue
		}
		select {
		case <-ctx.Done():
			return spool.Record{}, ctx.Err()
		case <-changed:
		}
	}
}

// take takes a record of the block at hand.
func (d *Reader) take() (spool.Record, bool) {
	if d.at == nil || d.next == len(d.at.records) {
		return spool.Record{}, false
	}
	rec := d.at.records[d.next]
	data := d.at.data[d.start:rec.end:rec.end]
	d.next, d.start = d.next+1, rec.end
	return spool.Record{Kind: rec.kind, LSN: rec.lsn, Data: data}, true
}

// fetch gives the block at hand back and takes the next one, if there is one. Call it with the relay's mu held.
func (d *Reader) fetch() error {
	r := d.relay
	if d.over {
		return ErrInterrupted
	}
	if d.from != 0 && r.base > d.from {
		return fault.New(fault.Integrity, "read changes of", "the slot", "somebody else read from the slot: resync, or abort",
			"it begins after %s, and %s is asked for", r.base, d.from).WithCode(spool.CodeGap)
	}
	if d.at != nil {
		r.bytes -= len(d.at.data) + recordBytes*len(d.at.records)
		r.recycle(d.at)
		d.at = nil
		r.wake()
	}
	if len(r.full) == 0 || r.restart {
		return nil
	}
	d.at, d.next, d.start, d.began = r.full[0], 0, 0, true
	r.full = r.full[1:]
	return nil
}

// Ready tells whether Next would return at once.
func (d *Reader) Ready() bool {
	if d.at != nil && d.next < len(d.at.records) {
		return true
	}
	r := d.relay
	r.mu.Lock()
	defer r.mu.Unlock()
	return d.over || d.from != 0 && r.base > d.from || len(r.full) > 0 && !r.restart
}

// Close ends the reader.
func (d *Reader) Close() error {
	d.relay.mu.Lock()
	defer d.relay.mu.Unlock()
	d.over = true
	return nil
}
