package netproxy_test

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/netproxy"
)

// newEcho is a server that answers with what it is sent.
func newEcho(t *testing.T) pgkit.Endpoint {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return pgkit.Endpoint{Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port}
}

type client struct {
	net.Conn
	read *bufio.Reader
}

func dial(t *testing.T, e pgkit.Endpoint) *client {
	t.Helper()
	conn, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.ParseIP(e.Host), Port: e.Port})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &client{conn, bufio.NewReader(conn)}
}

// echo sends a line and waits for it.
func (c *client) echo(within time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("hello\n")); err != nil {
		return err
	}
	_, err := c.read.ReadString('\n')
	return err
}

func TestNetworkMisbehavesAsAsked(t *testing.T) {
	proxy, e := netproxy.To(t, newEcho(t))
	c := dial(t, e)
	require.NoError(t, c.echo(10*time.Second))

	proxy.Slow(50*time.Millisecond, 0)
	began := time.Now()
	require.NoError(t, c.echo(10*time.Second))
	require.GreaterOrEqual(t, time.Since(began), 100*time.Millisecond)
	proxy.Calm()

	proxy.Silence()
	require.ErrorContains(t, c.echo(300*time.Millisecond), "timeout", "silent, not ended")
	require.NoError(t, dial(t, e).echo(10*time.Second), "new connections get through")
	require.ErrorContains(t, c.echo(300*time.Millisecond), "timeout", "still silent")

	fresh := dial(t, e)
	require.NoError(t, fresh.echo(10*time.Second))
	proxy.Cut()
	require.Error(t, fresh.echo(10*time.Second))
	require.Error(t, dial(t, e).echo(10*time.Second))
	proxy.Mend()
	require.NoError(t, dial(t, e).echo(10*time.Second))

	proxy.CutAfter(8)
	limited := dial(t, e)
	require.NoError(t, limited.echo(10*time.Second))
	require.Error(t, limited.echo(10*time.Second))
}
