package bulk

import (
	"errors"
	"io"
	"sync"
)

// The server sends one message per row: carried one by one through io.Pipe, copying takes more than ten times as long as
// with these buffers between. Several, so that both sides work at the same time; few, since every stream has its own.
const (
	bufferBytes = 1 << 20
	bufferCount = 4
)

var (
	errSourceStopped = errors.New("the source stopped sending")
	errTargetStopped = errors.New("the target stopped reading")
)

// newBuffers returns the buffers that the pipes of one stream share, one pipe after the other. They are made when first used.
func newBuffers() chan []byte {
	buffers := make(chan []byte, bufferCount)
	for range bufferCount {
		buffers <- nil
	}
	return buffers
}

// pipe is a byte queue of bounded size between one writer and one reader, which are different goroutines.
type pipe struct {
	free chan []byte   // empty buffers
	full chan []byte   // closed by closeWrite
	gone chan struct{} // closed by closeRead

	writing []byte // the writer's

	buffer  []byte // the reader's
	reading []byte // what is left of buffer

	mu           sync.Mutex
	sourceFailed bool // the writer ended with an error
	sourceFirst  bool // and did so while the reader was still there
	readerGone   bool
}

func newPipe(buffers chan []byte) *pipe {
	return &pipe{free: buffers, full: make(chan []byte, bufferCount), gone: make(chan struct{})}
}

// write takes a piece of the rows, mostly one row.
func (p *pipe) write(b []byte) error {
	for len(b) > 0 {
		if p.writing == nil {
			if err := p.takeBuffer(); err != nil {
				return err
			}
		}
		n := min(len(b), cap(p.writing)-len(p.writing))
		p.writing = append(p.writing, b[:n]...)
		b = b[n:]
		if len(p.writing) == cap(p.writing) {
			p.flush()
		}
	}
	return nil
}

func (p *pipe) takeBuffer() error {
	select {
	case <-p.gone:
		return errTargetStopped
	case b := <-p.free:
		if b == nil {
			b = make([]byte, 0, bufferBytes)
		}
		p.writing = b[:0]
		return nil
	}
}

// flush never blocks: full has room for all buffers.
func (p *pipe) flush() {
	p.full <- p.writing
	p.writing = nil
}

// closeWrite ends the stream: the reader gets what was written and then the end, or an error if err is not nil.
func (p *pipe) closeWrite(err error) {
	p.mu.Lock()
	p.sourceFailed = err != nil
	p.sourceFirst = err != nil && !p.readerGone
	p.mu.Unlock()
	if p.writing != nil {
		p.flush()
	}
	close(p.full)
}

// closeRead lets the writer fail, if it is still writing.
func (p *pipe) closeRead() {
	p.mu.Lock()
	p.readerGone = true
	p.mu.Unlock()
	close(p.gone)
}

// brokenBySource is true when the writer failed of itself. Ask when both sides have ended.
func (p *pipe) brokenBySource() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sourceFirst
}

// Read gives what is there, up to a whole buffer.
func (p *pipe) Read(b []byte) (int, error) {
	for len(p.reading) == 0 {
		if p.buffer != nil {
			p.free <- p.buffer
			p.buffer = nil
		}
		var ok bool
		select {
		case <-p.gone:
			return 0, errTargetStopped
		case p.buffer, ok = <-p.full:
		}
		if !ok {
			return 0, p.end()
		}
		p.reading = p.buffer
	}
	n := copy(b, p.reading)
	p.reading = p.reading[n:]
	return n, nil
}

func (p *pipe) end() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sourceFailed {
		return errSourceStopped
	}
	return io.EOF
}
