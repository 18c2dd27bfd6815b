package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/relay"
	"timeferry/internal/source/capture"
	preparation "timeferry/internal/source/prepare" // a move of the workload has the name, too
	"timeferry/internal/spool"
	"timeferry/internal/target/apply"
	"timeferry/internal/target/ledger"
)

// config is a pipeline, in a form that a child process can be given.
type config struct {
	Source, Target     pgkit.Endpoint
	Slot, Publication  string
	Dir                string
	SegmentBytes       int64
	BatchChanges       int
	BatchBytes         int64
	Silence            time.Duration
	Tables, Hypertable []ident.Table
	combination
}

// pipeline is what activities/stream.go makes of a slot, a spool and a target: the receiver and the apply share the spool, which
// is pruned as the target's disk has it.
type pipeline struct {
	config
	log   *slog.Logger
	spool *spool.Spool
	relay *relay.Relay // in its place, if Direct

	mu        sync.Mutex
	applied   apply.Progress
	received  capture.Progress
	receiving *task
	applying  *task
}

// task is something that runs until it is stopped.
type task struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // read it after done only
}

func run(do func(context.Context) error) *task {
	ctx, cancel := context.WithCancel(context.Background())
	t := &task{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		t.err = do(ctx)
	}()
	return t
}

// failure is why the task ended by itself, or nil.
func (t *task) failure() error {
	if t == nil {
		return nil
	}
	select {
	case <-t.done:
		return t.err
	default:
		return nil
	}
}

// stop ends the task; the error is nil when it ended because of that.
func (t *task) stop() error {
	if t == nil {
		return nil
	}
	t.cancel()
	select {
	case <-t.done:
	case <-time.After(30 * time.Second):
		return errors.New("it does not end within 30s of its context")
	}
	if errors.Is(t.err, context.Canceled) {
		return nil
	}
	return t.err
}

func openPipeline(c config, log *slog.Logger) (*pipeline, error) {
	if c.Direct {
		between, err := openRelay(c.Target)
		return &pipeline{config: c, log: log, relay: between}, err
	}
	s, err := spool.Open(c.Dir, spool.Options{SegmentBytes: c.SegmentBytes, Compress: c.Compress})
	if err != nil {
		return nil, err
	}
	return &pipeline{config: c, log: log, spool: s}, nil
}

// openRelay begins where the target is.
func openRelay(target pgkit.Endpoint) (*relay.Relay, error) {
	m := relay.Memory{Keep: func(note string) error {
		return asAdmin(target, func(ctx context.Context, conn *pgx.Conn) error { return ledger.SetStreamSource(ctx, conn, note) })
	}}
	err := asAdmin(target, func(ctx context.Context, conn *pgx.Conn) error {
		applied, err := ledger.FlushedPosition(ctx, conn)
		if err != nil {
			return err
		}
		m.Applied = applied.LSN
		m.Source, err = ledger.StreamSource(ctx, conn)
		return err
	})
	return relay.New(m), err
}

// asAdmin does something over a connection of its own.
func asAdmin(target pgkit.Endpoint, do func(context.Context, *pgx.Conn) error) error {
	ctx := context.Background()
	conn, err := pgkit.Dial(ctx, target, "relay")
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, conn), conn.Close(ctx))
}

// reopened makes an interruption what the applier opens a new feed for, as activities/direct.go does.
type reopened struct{ *relay.Reader }

func (r reopened) Next(ctx context.Context) (spool.Record, error) {
	record, err := r.Reader.Next(ctx)
	if errors.Is(err, relay.ErrInterrupted) {
		return record, apply.Again("the stream begins again", err)
	}
	return record, err
}

func (p *pipeline) receive() {
	r := capture.Receiver{Source: p.Source, Slot: p.Slot, Plugin: p.Plugin, Publications: []string{p.Publication}, Spool: p.spool, Silence: p.Silence, Log: p.log}
	if p.Direct {
		r.Spool = p.relay
	}
	p.receiving = run(func(ctx context.Context) error {
		return r.Run(ctx, func(progress capture.Progress) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.received = progress
		})
	})
}

func (p *pipeline) apply() {
	o := apply.Options{Target: p.Target, Starts: map[ident.Table]change.LSN{}, Hypertables: map[ident.Table]bool{}, ReplicaRole: true, Source: preparation.Catalogue{Source: p.Source}, FollowDDL: p.Follow,
		BatchChanges: p.BatchChanges, Lanes: p.Lanes, LaneChanges: 1, BatchBytes: p.BatchBytes, Silence: p.Silence, Log: p.log}
	for _, t := range p.Tables {
		o.Starts[t] = 0
	}
	for _, t := range p.Hypertable {
		o.Hypertables[t] = true
	}
	open := func(from change.LSN) (apply.Feed, error) {
		if p.Direct {
			return apply.NewSpoolFeed(reopened{p.relay.NewReader(from)}), nil
		}
		reader, err := p.spool.NewReader(from)
		if err != nil {
			return nil, err
		}
		return apply.NewSpoolFeed(reader), nil
	}
	p.applying = run(func(ctx context.Context) error {
		return apply.Run(ctx, o, open, func(progress apply.Progress) {
			p.mu.Lock()
			p.applied = progress
			p.mu.Unlock()
			if p.Direct {
				p.relay.Confirm(progress.FlushedLSN)
				return
			}
			if err := p.spool.Prune(progress.FlushedLSN); err != nil {
				p.log.Error("prune", "err", err)
			}
		})
	})
}

// failure is why one of both ended by itself.
func (p *pipeline) failure() error {
	if err := p.receiving.failure(); err != nil {
		return fmt.Errorf("the receiver ended: %w", err)
	}
	if err := p.applying.failure(); err != nil {
		return fmt.Errorf("the apply ended: %w", err)
	}
	return nil
}

func (p *pipeline) stopApply() error {
	err := p.applying.stop()
	p.applying = nil
	return err
}

func (p *pipeline) stopReceive() error {
	err := p.receiving.stop()
	p.receiving = nil
	return err
}

// stop ends both and closes the spool.
func (p *pipeline) stop() error {
	err := errors.Join(p.stopApply(), p.stopReceive())
	if p.Direct {
		return err
	}
	return errors.Join(err, p.spool.Close())
}
