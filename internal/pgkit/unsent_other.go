//go:build !linux

package pgkit

import "net"

// unsent is not to be known here.
func unsent(net.Conn) int { return 0 }
