// Package netproxy puts a network that misbehaves between a test and a real server.
//
// In: the address of a server. Out: an address that leads there, over a network that can be slow, narrow, cut, or silent.
// Invariants: every connection belongs to the network as it was when it was made; a silent one stays silent when the network is
// well again, as after a router has forgotten it, while new ones get through.
//
// The misbehaviour itself is Toxiproxy's, used as a package in this process.
//
// Not here: what a program makes of it.
package netproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"timeferry/internal/pgkit"
)

// Proxy is the network to one server. Its methods fail the test on error, and are safe for concurrent use.
type Proxy struct {
	t        testing.TB
	server   *toxiproxy.ApiServer
	upstream string
	entry    net.Listener // what the program under test connects to

	mu      sync.Mutex
	current *toxiproxy.Proxy   // leads new connections to the server; nil while the network is cut
	all     []*toxiproxy.Proxy // those with silent connections too
	conns   map[net.Conn]bool  // of entry
}

// New makes the network to upstream, "host:port". It is taken down with the test.
func New(t testing.TB, upstream string) *Proxy {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // some of Toxiproxy logs past the logger that it is given
	p := &Proxy{t: t, upstream: upstream, conns: map[net.Conn]bool{},
		server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
	entry, err := net.Listen("tcp", "127.0.0.1:0")
	p.must("listen", err)
	p.entry = entry
	p.Mend()
	go p.accept()
	t.Cleanup(p.close)
	return p
}

// To makes the network to a database, and gives the endpoint by which it is reached.
func To(t testing.TB, e pgkit.Endpoint) (*Proxy, pgkit.Endpoint) {
	t.Helper()
	p := New(t, net.JoinHostPort(e.Host, fmt.Sprint(e.Port)))
	address := p.entry.Addr().(*net.TCPAddr)
	e.Host, e.Port = address.IP.String(), address.Port
	return p, e
}

func (p *Proxy) must(what string, err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("network: %s: %v", what, err)
	}
}

// Mend makes the network well for new connections. Those that were made before stay as they are.
func (p *Proxy) Mend() {
	p.t.Helper()
	next := toxiproxy.NewProxy(p.server, "", "127.0.0.1:0", p.upstream)
	p.must("start", next.Start())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = next
	p.all = append(p.all, next)
}

// Cut ends all connections and refuses new ones, until Mend.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = nil
	for _, proxy := range p.all {
		proxy.Stop()
	}
	p.all = nil
	for conn := range p.conns {
		_ = conn.Close() // the other half of what Stop has ended
	}
}

// Silence loses everything that is sent in either direction over the connections that there are, without ending them. New
// connections get through.
func (p *Proxy) Silence() {
	p.t.Helper()
	p.both("timeout", `{"timeout": 0}`)
	p.Mend()
}

// Slow delays everything by latency, and by up to jitter more.
func (p *Proxy) Slow(latency, jitter time.Duration) {
	p.t.Helper()
	p.both("latency", fmt.Sprintf(`{"latency": %d, "jitter": %d}`, latency.Milliseconds(), jitter.Milliseconds()))
}

// Narrow lets kilobytes a second through in each direction.
func (p *Proxy) Narrow(kilobytes int) {
	p.t.Helper()
	p.both("bandwidth", fmt.Sprintf(`{"rate": %d}`, kilobytes))
}

// CutAfter ends each connection after so many bytes from the server, wherever in a message that is.
func (p *Proxy) CutAfter(bytes int) {
	p.t.Helper()
	p.add("limit_data", "downstream", fmt.Sprintf(`{"bytes": %d}`, bytes))
}

// Slice hands the server's bytes on in small pieces, so that messages come apart.
func (p *Proxy) Slice(bytes int) {
	p.t.Helper()
	p.add("slicer", "downstream", fmt.Sprintf(`{"average_size": %d, "size_variation": %d, "delay": 10}`, bytes, bytes/2))
}

// Calm takes all misbehaviour from the network that new connections use, and from theirs.
func (p *Proxy) Calm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil {
		p.current.Toxics.ResetToxics(context.Background())
	}
}

func (p *Proxy) both(kind, attributes string) {
	p.t.Helper()
	p.add(kind, "upstream", attributes)
	p.add(kind, "downstream", attributes)
}

func (p *Proxy) add(kind, direction, attributes string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		p.t.Fatalf("network: %s on a network that is cut", kind)
	}
	_, err := p.current.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"type": %q, "stream": %q, "attributes": %s}`, kind, direction, attributes)))
	p.must(kind, err)
}

func (p *Proxy) accept() {
	for {
		client, err := p.entry.Accept()
		if err != nil {
			return // closed with the test
		}
		if server, err := p.join(client); err != nil {
			_ = client.Close() // it sees a refused connection
		} else {
			go p.pass(client, server)
			go p.pass(server, client)
		}
	}
}

var errCut = errors.New("the network is cut")

// join connects a new client to the network as it is now.
func (p *Proxy) join(client net.Conn) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return nil, errCut
	}
	server, err := net.Dial("tcp", p.current.Listen)
	if err != nil {
		return nil, err
	}
	p.conns[client], p.conns[server] = true, true
	return server, nil
}

// pass hands bytes on until one end closes, and then closes both.
func (p *Proxy) pass(from, to net.Conn) {
	_, _ = io.Copy(to, from) // an end, expected or not, is what the other side shall see
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range []net.Conn{from, to} {
		_ = conn.Close()
		delete(p.conns, conn)
	}
}

func (p *Proxy) close() {
	_ = p.entry.Close()
	p.Cut()
}
