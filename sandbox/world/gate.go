package world

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"timeferry/internal/awssim"
)

// Gate stands in front of a server as its security group does: who is not let in gets no answer at all, not even a refusal.
// Connections that stand when a rule goes stay, as they do in a VPC. Close it.
//
// While no rule lets anybody on this machine in, packets to the port are dropped by the kernel: the listening socket has room
// for one connection in its queue, and the gate's own is in it. An address that no rule names while another is let in gets a
// connection on which nothing ever comes.
type Gate struct {
	listener *net.TCPListener
	target   string
	plug     net.Conn // fills the queue while the gate is shut

	mu     sync.Mutex
	change *sync.Cond
	rules  []awssim.Rule
	open   bool
	parked bool // nobody is accepting
	closed bool
	held   map[net.Conn]bool
}

const gateQueue = 128

// openGate listens on a port of Host, shut, in front of the address target.
func openGate(port int, target string) (*Gate, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the gate: %w", err)
	}
	file := os.NewFile(uintptr(fd), "gate")
	defer file.Close() // the listener has its own
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0))
	if err != nil {
		return nil, fmt.Errorf("open the gate: %w", err)
	}
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("open the gate: %w", err)
	}
	g := &Gate{listener: listener.(*net.TCPListener), target: target, held: map[net.Conn]bool{}}
	g.change = sync.NewCond(&g.mu)
	go g.serve()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g, g.shut()
}

// Allow makes the gate follow rules, of which those count that are for its port.
func (g *Gate) Allow(rules []awssim.Rule) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rules = slices.Clone(rules)
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	wanted := slices.ContainsFunc(rules, func(r awssim.Rule) bool {
		p, err := netip.ParsePrefix(r.CIDR)
		return err == nil && g.forPort(r) && p.Overlaps(loopback)
	})
	switch {
	case g.closed || wanted == g.open:
		return nil
	case wanted:
		return g.unshut()
	}
	return g.shut()
}

func (g *Gate) forPort(r awssim.Rule) bool {
	port := g.listener.Addr().(*net.TCPAddr).Port
	return r.Protocol == "-1" || r.Protocol == "tcp" && r.FromPort <= port && port <= r.ToPort
}

// allowed says whether a rule lets the address in. The caller holds the lock.
func (g *Gate) allowed(from net.Addr) bool {
	address := from.(*net.TCPAddr).AddrPort().Addr().Unmap()
	return slices.ContainsFunc(g.rules, func(r awssim.Rule) bool {
		p, err := netip.ParsePrefix(r.CIDR)
		return err == nil && g.forPort(r) && p.Contains(address)
	})
}

// shut waits until nobody accepts, and fills the queue. The caller holds the lock.
func (g *Gate) shut() error {
	g.open = false
	if err := errors.Join(g.queue(0), g.listener.SetDeadline(time.Unix(1, 0))); err != nil {
		return err
	}
	for !g.parked {
		g.change.Wait()
	}
	// It fails when others fill the queue already: that is as good.
	g.plug, _ = net.DialTimeout("tcp", g.listener.Addr().String(), time.Second)
	return nil
}

func (g *Gate) unshut() error {
	if err := errors.Join(g.queue(gateQueue), g.listener.SetDeadline(time.Time{})); err != nil {
		return err
	}
	if g.plug != nil {
		_ = g.plug.Close() // nothing was sent on it
	}
	g.open = true
	g.change.Broadcast()
	return nil
}

func (g *Gate) queue(length int) error {
	raw, err := g.listener.SyscallConn()
	if err != nil {
		return err
	}
	var listenErr error
	err = raw.Control(func(fd uintptr) { listenErr = unix.Listen(int(fd), length) })
	return errors.Join(err, listenErr)
}

func (g *Gate) serve() {
	for g.awaitOpen() {
		conn, err := g.listener.Accept()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return // closed
		}
		go g.pass(conn)
	}
}

// awaitOpen returns true when the gate is open, and false when it is closed for good.
func (g *Gate) awaitOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for !g.open && !g.closed {
		g.parked = true
		g.change.Broadcast()
		g.change.Wait()
	}
	g.parked = false
	return !g.closed
}

// pass joins a connection with the server's, or holds it in silence.
func (g *Gate) pass(conn net.Conn) {
	if !g.hold(conn) {
		return
	}
	defer g.drop(conn)
	server, err := net.Dial("tcp", g.target)
	if err != nil {
		return // the server is down: its clients see their connection end
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, conn) // an end on one side is an end on the other, whatever its reason
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(conn, server)
}

// hold keeps the connection for Close, and says whether it may pass.
func (g *Gate) hold(conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		_ = conn.Close() // nobody waits for it any more
		return false
	}
	g.held[conn] = true
	return g.allowed(conn.RemoteAddr())
}

func (g *Gate) drop(conn net.Conn) {
	_ = conn.Close() // its end was seen already
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.held, conn)
}

// Close ends the gate and all connections through it.
func (g *Gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	g.change.Broadcast()
	for conn := range g.held {
		_ = conn.Close() // they go with the world
	}
	if g.plug != nil {
		_ = g.plug.Close() // nothing was sent on it
	}
	return g.listener.Close()
}
