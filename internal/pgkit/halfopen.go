package pgkit

import (
	"runtime"
	"syscall"
	"time"
)

// unansweredFor is how long what we sent may stay without the other machine's acknowledgement. Keepalives do not see that case:
// the kernel sends none while data is under way, and would go on for a quarter of an hour. A machine acknowledges by itself,
// however busy its server is.
const unansweredFor = 60 * time.Second

// tcpUserTimeout is Linux's TCP_USER_TIMEOUT, https://man7.org/linux/man-pages/man7/tcp.7.html.
const tcpUserTimeout = 18

// giveUpUnanswered sets it on a socket that is about to connect. Elsewhere than on Linux the kernel's patience stays.
func giveUpUnanswered(_, _ string, raw syscall.RawConn) error {
	if runtime.GOOS != "linux" {
		return nil
	}
	var err error
	control := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(unansweredFor.Milliseconds()))
	})
	if control != nil {
		return control
	}
	return err
}
