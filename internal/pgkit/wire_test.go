package pgkit

import (
	"bufio"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A wire gives every byte in order, whatever is asked for at a time, and its deadlines are the connection's.
func TestWire(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	w := &wire{Conn: client, in: bufio.NewReaderSize(client, readAhead)}
	sent := make([]byte, 3*readAhead)
	for i := range sent {
		sent[i] = byte(i * 7)
	}
	go func() {
		for rest := sent; len(rest) > 0; rest = rest[min(len(rest), 1000):] {
			if _, err := server.Write(rest[:min(len(rest), 1000)]); err != nil {
				return
			}
		}
	}()
	got := make([]byte, len(sent))
	for at, size := 0, 1; at < len(got); size = size%300 + 1 {
		n, err := io.ReadFull(w, got[at:min(at+size, len(got))])
		require.NoError(t, err)
		at += n
	}
	require.Equal(t, sent, got)

	require.NoError(t, w.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err := w.Read(got)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, w.SetReadDeadline(time.Time{}))
	go func() { _, _ = server.Write([]byte("more")) }()
	n, err := w.Read(got)
	require.NoError(t, err, "a deadline that has passed does no harm")
	require.Equal(t, "more", string(got[:n]))
	require.Equal(t, client, w.NetConn())
}
