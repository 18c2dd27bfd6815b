package bulk

import (
	"encoding/binary"
	"errors"
	"io"
)

// feed stands between the source's socket and its session. While a COPY runs it takes the rows out of what the server
// sends, so that the session sees only what is said about them. The session would read 8 KiB at a time, hand each row over
// by itself, and hold it whole, whatever its size: feed has one buffer, and rows of 200 MB pass through it like small ones.
type feed struct {
	r      io.Reader
	buffer []byte
	unread []byte // of buffer
	failed error  // of the last read, due when unread is empty

	header  [5]byte // of the message that is being read: its type, and its length with that of the length itself
	got     int     // bytes of header
	pending []byte  // of header, to be handed on
	left    int     // of the message's body
	taken   bool    // this message is a row

	rows *intake // nil: all goes to the session
}

// feedBytes: with more the kernel's calls do not become fewer, since a socket holds no more at a time.
const feedBytes = 128 << 10

// intake is where rows go instead of to the session.
type intake struct {
	p    *pipe
	m    *meter
	slow func(bytes int) error // waits until so many bytes may pass; nil: no limit
}

// errStrayRow is a bug here: the session got a row that should have been taken out.
var errStrayRow = errors.New("a row went past the pipe")

// noRows is what the session may write rows to.
type noRows struct{}

func (noRows) Write([]byte) (int, error) { return 0, errStrayRow }

func newFeed(r io.Reader) *feed { return &feed{r: r, buffer: make([]byte, feedBytes)} }

// Read gives the session's share. It returns an error of intake's as it is.
func (f *feed) Read(b []byte) (int, error) {
	for {
		if len(f.unread) == 0 {
			if err := f.fill(); err != nil {
				return 0, err
			}
		}
		n, err := f.handOn(b)
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (f *feed) fill() error {
	if err := f.failed; err != nil {
		f.failed = nil // a timeout does not last
		return err
	}
	n, err := f.r.Read(f.buffer)
	f.unread, f.failed = f.buffer[:n], err
	if f.rows != nil && f.rows.slow != nil && n > 0 {
		return f.rows.slow(n)
	}
	return nil
}

// handOn works through unread: rows into the pipe, all else into b, until either is used up. n is what is in b.
func (f *feed) handOn(b []byte) (n int, err error) {
	rows, bytes := 0, 0
	for len(f.unread) > 0 || len(f.pending) > 0 {
		switch {
		case len(f.pending) > 0:
			copied := copy(b[n:], f.pending)
			n, f.pending = n+copied, f.pending[copied:]
		case f.left == 0:
			if f.readHeader() && f.taken {
				rows++
			}
			continue
		case f.taken:
			piece := f.unread[:min(f.left, len(f.unread))]
			f.skip(len(piece))
			bytes += len(piece)
			if err = f.rows.p.write(piece); err != nil {
				return n, err
			}
			continue
		default:
			copied := copy(b[n:], f.unread[:min(f.left, len(f.unread))])
			n += copied
			f.skip(copied)
		}
		if n == len(b) {
			break
		}
	}
	if rows > 0 || bytes > 0 {
		f.rows.m.rows.Add(int64(rows))
		f.rows.m.bytes.Add(int64(bytes))
	}
	return n, nil
}

func (f *feed) skip(n int) { f.unread, f.left = f.unread[n:], f.left-n }

const copyDataMessage = 'd'

// readHeader returns true when the header is whole.
func (f *feed) readHeader() bool {
	copied := copy(f.header[f.got:], f.unread)
	f.got, f.unread = f.got+copied, f.unread[copied:]
	if f.got < len(f.header) {
		return false
	}
	f.got = 0
	f.left = max(0, int(int32(binary.BigEndian.Uint32(f.header[1:])))-4) // the session refuses a wrong length
	if f.taken = f.rows != nil && f.header[0] == copyDataMessage; !f.taken {
		f.pending = f.header[:]
	}
	return true
}
