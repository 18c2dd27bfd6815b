package pgkit

import (
	"bufio"
	"context"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// readAhead is how much a stream takes from the network at once. TLS and the protocol ask for a few kilobytes each time.
	readAhead = 64 << 10
	// gatherFor is how long a stream's bytes may gather between two reads.
	gatherFor = time.Millisecond
)

// wire is the network of a stream, below TLS. A server sends every change as a packet and a TLS record of its own, and whoever takes each
// as it comes has the sender wake it each time: so two reads are gatherFor apart at the least, and take all there is. What comes after a
// silence is read at once. Reads are for one goroutine.
type wire struct {
	net.Conn
	in   *bufio.Reader
	last time.Time // that something was read from the network
}

func (w *wire) Read(b []byte) (int, error) {
	if w.in.Buffered() > 0 {
		return w.in.Read(b)
	}
	time.Sleep(gatherFor - time.Since(w.last))
	n, err := w.in.Read(b)
	w.last = time.Now()
	return n, err
}

// NetConn is the connection itself.
func (w *wire) NetConn() net.Conn { return w.Conn }

// gather puts a wire below a connection that streams.
func gather(config *pgx.ConnConfig) {
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &wire{Conn: conn, in: bufio.NewReaderSize(conn, readAhead)}, nil
	}
}
