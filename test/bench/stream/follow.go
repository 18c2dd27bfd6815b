package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"runtime/pprof"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/capture"
	"timeferry/internal/spool"
	"timeferry/internal/target/apply"
)

// order is what the following process is to do. It comes on standard input, since it holds passwords.
type order struct {
	Source, Target login
	Slot           string
	Publication    string
	Tables         []ident.Table
	Spool          string
	Receive, Apply bool
	Lanes          int    // 0: one
	Profile        string // a file for the processor profile
}

// login is pgkit.Endpoint as far as it can be written down.
type login struct {
	Host     string
	Port     int
	User     string
	Password string
	SSLMode  string
}

func (l login) endpoint() pgkit.Endpoint {
	return pgkit.Endpoint{Host: l.Host, Port: l.Port, Database: "bench", User: l.User, Password: l.Password, SSLMode: l.SSLMode}
}

// progress is what the following process says, a line of JSON each time that it has changed.
type progress struct {
	Durable, Applied      change.LSN
	CommitTime            time.Time
	Transactions, Changes int64
}

// follow is the process: receiver, spool and applier put together as the worker's activities do it.
func follow(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	var o order
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return err
	}
	if o.Profile != "" {
		f, err := os.Create(o.Profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer func() {
			pprof.StopCPUProfile()
			err = errors.Join(err, f.Close())
		}()
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	s, err := spool.Open(o.Spool, spool.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	t := &teller{out: json.NewEncoder(out)}
	group, working := errgroup.WithContext(ctx)
	if o.Receive {
		group.Go(func() error { return receive(working, o, s, log) })
	}
	group.Go(func() error { return watchSpool(working, s, t) })
	if o.Apply {
		group.Go(func() error { return applySpool(working, o, s, log, t) })
	}
	if err := group.Wait(); ctx.Err() == nil {
		return err
	}
	return nil // told to end
}

func receive(ctx context.Context, o order, s *spool.Spool, log *slog.Logger) error {
	r := capture.Receiver{Source: o.Source.endpoint(), Slot: o.Slot, Publications: []string{o.Publication}, Spool: s, Log: log}
	return r.Run(ctx, nil)
}

// watchSpool tells what is durable, more often than the receiver would.
func watchSpool(ctx context.Context, s *spool.Spool, t *teller) error {
	for ticker := time.NewTicker(lookEvery); ; {
		select {
		case <-ctx.Done():
			ticker.Stop()
			return ctx.Err()
		case <-ticker.C:
			t.tell(func(now *progress) { now.Durable = s.Durable() })
		}
	}
}

func applySpool(ctx context.Context, o order, s *spool.Spool, log *slog.Logger, t *teller) error {
	options := apply.Options{Target: o.Target.endpoint(), Starts: map[ident.Table]change.LSN{}, ReplicaRole: true, Lanes: o.Lanes, Log: log}
	for _, name := range o.Tables {
		options.Starts[name] = 0
	}
	open := func(from change.LSN) (apply.Feed, error) {
		r, err := s.NewReader(from)
		if err != nil {
			return nil, err
		}
		return apply.NewSpoolFeed(r), nil
	}
	return apply.Run(ctx, options, open, func(p apply.Progress) {
		if err := s.Prune(p.FlushedLSN); err != nil {
			log.WarnContext(ctx, "prune spool", "err", err)
		}
		t.tell(func(now *progress) {
			now.Applied, now.CommitTime, now.Transactions, now.Changes = p.AppliedLSN, p.CommitTime, p.Transactions, p.Changes
		})
	})
}

// teller writes progress down. Safe for concurrent use.
type teller struct {
	mu  sync.Mutex
	out *json.Encoder
	now progress
}

func (t *teller) tell(change func(*progress)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.now
	change(&t.now)
	if t.now != before {
		_ = t.out.Encode(t.now) // nobody reads it any more: then we are about to be ended
	}
}
