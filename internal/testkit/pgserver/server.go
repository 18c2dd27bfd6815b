package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
)

// Options of a server. The zero value is a temporary server on a free port.
type Options struct {
	Major    int               // PostgreSQL's major version; 0: whatever this machine has, Debian's first
	Dir      string            // where the data is kept, made if missing; empty: a temporary directory, removed by Stop
	Port     int               // 0: a free one
	Settings map[string]string // for postgresql.conf, on top of this package's own
	TLS      *TLS              // nil: the server speaks no TLS
	Log      io.Writer         // what this package does, a line each; nil: nowhere. The server's own log is in LogFile.
}

// Server is one running or stopped PostgreSQL cluster. Its methods are safe for concurrent use, one at a time.
type Server struct {
	flavour  *flavour
	log      io.Writer
	dir      string // password, log and, on the machine itself, data
	data     string
	temp     bool
	port     int
	anyPort  bool
	password string
	tls      *TLS
	lock     *os.File // held while this process may use dir

	mu       sync.Mutex
	settings map[string]string
	proc     *process // nil when stopped
}

// How long a server may take. A fast shutdown waits for logical walsenders whose receivers have gone silent.
const (
	startTimeout = 60 * time.Second
	stopTimeout  = 10 * time.Second
	quitTimeout  = 5 * time.Second
)

// StartSource starts a plain PostgreSQL with wal_level=logical unless the settings say otherwise. The error has
// ErrUnavailable in its chain when none of that version is installed.
func StartSource(ctx context.Context, o Options) (*Server, error) {
	return start(ctx, findSourceOf, o)
}

// StartTarget starts a PostgreSQL with TimescaleDB preloaded. The error has ErrUnavailable in its chain when none of that
// version is installed.
func StartTarget(ctx context.Context, o Options) (*Server, error) {
	return start(ctx, findTargetOf, o)
}

func start(ctx context.Context, find func(major int) (*flavour, error), o Options) (*Server, error) {
	f, err := find(o.Major)
	if err != nil {
		return nil, err
	}
	s := &Server{flavour: f, log: o.Log, port: o.Port, anyPort: o.Port == 0, tls: o.TLS, settings: maps.Clone(f.settings)}
	if s.log == nil {
		s.log = io.Discard
	}
	maps.Copy(s.settings, o.Settings)
	if err := s.prepare(ctx, o.Dir); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare a %s server: %w", f.kind, err), s.release())
	}
	if s.tls != nil {
		if err := s.prepareTLS(); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare TLS of a %s server: %w", f.kind, err), s.release())
		}
	}
	if err := s.Start(ctx); err != nil {
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

// Host is the address that the server listens on.
func (s *Server) Host() string { return "127.0.0.1" }

// Port is the port that the server listens on; it stays the same over restarts.
func (s *Server) Port() int { return s.port }

// LogFile is the server's own log.
func (s *Server) LogFile() string { return filepath.Join(s.dir, logName) }

// DataDir is the server's data directory as this process sees it.
func (s *Server) DataDir() string { return s.data }

// Superuser is how to log in to db as the user postgres. With TLS the certificate is checked, but not for whom it is:
// it may be made for another host.
func (s *Server) Superuser(db string) pgkit.Endpoint {
	e := pgkit.Endpoint{Host: s.Host(), Port: s.port, Database: db, User: "postgres", Password: s.password, SSLMode: "disable"}
	if s.tls != nil {
		e.SSLMode, e.SSLRootCert = "verify-ca", s.RootCert()
	}
	return e
}

// Running says whether the server's process lives.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc != nil && !s.proc.ended()
}

// Start starts a server that was stopped by Kill, or by itself, and waits until it accepts connections. It does nothing
// to one that runs.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.start(ctx)
}

// Restart stops the server, changes settings on top of those it has, and starts it on the same port. When it does not
// start, the error holds the end of its log, and the server stays stopped with the new settings.
func (s *Server) Restart(ctx context.Context, settings map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.shutdown(ctx); err != nil {
		return err
	}
	maps.Copy(s.settings, settings)
	return s.start(ctx)
}

// Kill ends the server and all its sessions as a power cut would, and waits until they are gone. Start brings it back.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return nil
	}
	fmt.Fprintf(s.log, "killing the %s server on port %d\n", s.flavour.kind, s.port)
	err := s.proc.killTree()
	s.proc = nil
	return err
}

// Stop shuts the server down and gives up its directory, which is removed if it was temporary. The server cannot be
// started again. Stopping twice is harmless.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.shutdown(ctx), s.release())
}

// Remove stops the server and removes its directory and data, temporary or not.
func (s *Server) Remove(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.shutdown(ctx)
	if err == nil && s.lock != nil {
		s.temp = true
	}
	return errors.Join(err, s.release())
}

func (s *Server) start(ctx context.Context) error {
	if s.proc != nil && !s.proc.ended() {
		return nil
	}
	if s.lock == nil {
		return fault.New(fault.Bug, "start the server of the", s.flavour.kind, "", "it was stopped for good")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("it did not accept connections within %s", startTimeout))
	defer cancel()
	if err := s.writeSettings(); err != nil {
		return fmt.Errorf("write settings of the %s server: %w", s.flavour.kind, err)
	}
	for attempt := 0; ; attempt++ {
		err := s.startOnce(ctx)
		if err == nil {
			s.anyPort = false // from now on others know the port
			return nil
		}
		if !s.anyPort || attempt == 10 || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
		s.port = 0 // someone was quicker: another port
	}
}

func (s *Server) startOnce(ctx context.Context) error {
	if s.port == 0 {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.port = port
	}
	began := time.Now()
	proc, err := s.spawn()
	if err != nil {
		return fmt.Errorf("start the %s server on port %d: %w", s.flavour.kind, s.port, err)
	}
	s.proc = proc
	if err := s.awaitReady(ctx); err != nil {
		stopErr := s.proc.stop(context.WithoutCancel(ctx), syscall.SIGQUIT)
		s.proc = nil
		return errors.Join(err, stopErr)
	}
	fmt.Fprintf(s.log, "started the %s server on port %d in %s\n", s.flavour.kind, s.port, time.Since(began).Round(time.Millisecond))
	return nil
}

func (s *Server) shutdown(ctx context.Context) error {
	if s.proc == nil {
		return nil
	}
	err := s.proc.stop(ctx, syscall.SIGINT)
	s.proc = nil
	if err != nil {
		return fmt.Errorf("stop the %s server on port %d: %w", s.flavour.kind, s.port, err)
	}
	fmt.Fprintf(s.log, "stopped the %s server on port %d\n", s.flavour.kind, s.port)
	return nil
}
