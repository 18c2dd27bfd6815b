package world

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

// newGate is a gate in front of a server that greets.
func newGate(t *testing.T) (g *Gate, port int) {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("hello"))
			go func() {
				buffer := make([]byte, 100)
				n, _ := conn.Read(buffer)
				_, _ = conn.Write(buffer[:n])
				conn.Close()
			}()
		}
	}()
	g, err = openGate(0, server.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g, g.listener.Addr().(*net.TCPAddr).Port
}

// knock returns the open connection that was greeted on, nil if there was no greeting, and whether the port answered at all.
func knock(t *testing.T, port int, from string) (conn net.Conn, answered bool) {
	t.Helper()
	d := net.Dialer{Timeout: 700 * time.Millisecond, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		var network net.Error
		require.ErrorAs(t, err, &network)
		require.True(t, network.Timeout(), "dropped, not refused: %v", err)
		return nil, false
	}
	dialled := conn
	t.Cleanup(func() { dialled.Close() })
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(700*time.Millisecond)))
	greeting := make([]byte, 5)
	if _, err := conn.Read(greeting); err != nil {
		return nil, true
	}
	require.Equal(t, "hello", string(greeting))
	require.NoError(t, conn.SetReadDeadline(time.Time{}))
	return conn, true
}

func requireLetIn(t *testing.T, port int, from string) net.Conn {
	t.Helper()
	conn, _ := knock(t, port, from)
	require.NotNil(t, conn)
	return conn
}

func requireDropped(t *testing.T, port int) {
	t.Helper()
	conn, answered := knock(t, port, "127.0.0.1")
	require.Nil(t, conn)
	require.False(t, answered)
}

func TestTheGateFollowsTheRules(t *testing.T) {
	g, port := newGate(t)
	rule := func(cidr string, port int) awssim.Rule {
		return awssim.Rule{Protocol: "tcp", FromPort: port, ToPort: port, CIDR: cidr}
	}
	requireDropped(t, port)
	requireDropped(t, port)
	require.NoError(t, g.Allow([]awssim.Rule{rule("127.0.0.1/32", port+1), rule("10.0.0.0/8", port)}))
	requireDropped(t, port)

	require.NoError(t, g.Allow([]awssim.Rule{rule("127.0.0.1/32", port)}))
	standing := requireLetIn(t, port, "127.0.0.1")
	conn, answered := knock(t, port, "127.0.0.2")
	require.Nil(t, conn, "another address")
	require.True(t, answered)

	require.NoError(t, g.Allow(nil))
	requireDropped(t, port)
	_, err := standing.Write([]byte("still here"))
	require.NoError(t, err)
	buffer := make([]byte, 100)
	n, err := standing.Read(buffer)
	require.NoError(t, err)
	require.Equal(t, "still here", string(buffer[:n]), "a connection that stands stays")

	require.NoError(t, g.Allow([]awssim.Rule{{Protocol: "-1", FromPort: -1, ToPort: -1, CIDR: "0.0.0.0/0"}}))
	requireLetIn(t, port, "127.0.0.2")
}
