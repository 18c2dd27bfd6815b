package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"

	"timeferry/internal/redirect"
)

// hookKey signs the calls.
const hookKey = "key-of-the-benchmark"

// hook is where clients read the address, and what cutover.switch calls to change it.
type hook struct {
	server *http.Server
	url    string
	mu     sync.Mutex
	host   string
	port   int
}

func openHook() (*hook, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &hook{url: "http://" + l.Addr().String() + "/switch"}
	h.server = &http.Server{Handler: http.HandlerFunc(h.change)}
	go func() { _ = h.server.Serve(l) }() // it ends with Close
	return h, nil
}

func (h *hook) change(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var c redirect.Call
	if err != nil || r.Header.Get(redirect.HeaderSignature) != redirect.Sign(hookKey, r.Header.Get(redirect.HeaderTimestamp), body) || json.Unmarshal(body, &c) != nil {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	h.set(c.Host, c.Port)
	w.WriteHeader(http.StatusNoContent)
}

func (h *hook) set(host string, port int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.host, h.port = host, port
}

func (h *hook) address() (host string, port int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.host, h.port
}
