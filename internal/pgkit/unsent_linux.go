package pgkit

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsent is how many bytes the other host has not taken yet; 0 if that is not to be known.
func unsent(conn net.Conn) (bytes int) {
	for inside, ok := conn.(interface{ NetConn() net.Conn }); ok; inside, ok = conn.(interface{ NetConn() net.Conn }) { // TLS, a stream's wire
		conn = inside.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0
	}
	// An error leaves it at zero: the connection is closed.
	_ = raw.Control(func(fd uintptr) {
		if n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			bytes = n
		}
	})
	return bytes
}
