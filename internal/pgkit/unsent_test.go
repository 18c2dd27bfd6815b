package pgkit

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUnsentCountsWhatWaits(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("not to be known here")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	other, err := listener.Accept()
	require.NoError(t, err)
	defer other.Close()
	require.Zero(t, unsent(conn))
	require.NoError(t, conn.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
	_, err = conn.Write(make([]byte, 64<<20)) // nobody reads it
	require.Error(t, err)
	require.Positive(t, unsent(conn))
}
