package pgkit

import (
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGiveUpUnanswered(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	config, _, err := Endpoint{Host: "127.0.0.1", Database: "d", User: "u", Port: 1}.config(t.Context(), "test")
	require.NoError(t, err)
	conn, err := config.DialFunc(t.Context(), "tcp", listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		value, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
		require.NoError(t, err)
		require.Equal(t, int(unansweredFor.Milliseconds()), value)
	}))
}
