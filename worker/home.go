package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"timeferry/internal/fault"
)

// home is the worker's data directory: its identity and its spools. One process owns it at a time.
type home struct {
	dir    string
	hostID string
	lock   *os.File
}

var validHostID = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,64}$`)

// openHome makes the directory if need be, locks it, and reads or makes the identity. A restarted worker finds its
// identity again, and so its spools. The caller closes the home.
func openHome(dir, hostID string) (*home, error) {
	if dir == "" {
		return nil, fault.New(fault.Operator, "open", "data directory", "name one with --data-dir", "none is given")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.New(fault.Operator, "make data directory", dir, "choose another with --data-dir", "%w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.New(fault.Operator, "lock data directory", dir, "choose another with --data-dir", "%w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close() // nothing was written
		return nil, fault.New(fault.Operator, "lock data directory", dir, "stop the other worker, or give this one its own --data-dir", "another worker uses it")
	}
	h := &home{dir: dir, lock: lock}
	if h.hostID, err = identity(filepath.Join(dir, "host-id"), hostID); err != nil {
		_ = lock.Close() // nothing was written
		return nil, err
	}
	return h, nil
}

// Close gives the directory free.
func (h *home) Close() error { return h.lock.Close() }

func (h *home) spoolDir() string { return filepath.Join(h.dir, "spool") }

// identity returns the wanted host ID, or the one kept in file, or a new one.
func identity(file, wanted string) (string, error) {
	kept, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	id := strings.TrimSpace(string(kept))
	switch {
	case wanted != "" && id != "" && wanted != id:
		return "", fault.New(fault.Operator, "use host ID", wanted, "leave --host-id out, or use another --data-dir", "the data directory belongs to host %s", id)
	case id != "":
		return id, nil
	case wanted == "":
		wanted = randomID()
	}
	if !validHostID.MatchString(wanted) {
		return "", fault.New(fault.Operator, "use host ID", wanted, "choose 1 to 64 letters, digits, dots, dashes and underscores", "it cannot name a task queue")
	}
	if err := os.WriteFile(file, []byte(wanted+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep host ID in %s: %w", file, err)
	}
	return wanted, nil
}

func randomID() string {
	name, err := os.Hostname()
	if err != nil || !validHostID.MatchString(name) || len(name) > 40 {
		name = "host"
	}
	var b [4]byte
	_, _ = rand.Read(b[:]) // documented never to fail
	return name + "-" + hex.EncodeToString(b[:])
}
