package activities

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/relay"
	"timeferry/internal/source/capture"
	"timeferry/internal/spool"
	"timeferry/internal/target/apply"
	"timeferry/internal/target/ledger"
)

// applyFromSlot receives and applies side by side, with nothing but memory between: buffer: source.
func (a *Activities) applyFromSlot(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		options, err := a.applyOptions(ctx, spec)
		if err != nil {
			return err
		}
		source, err := a.source(ctx, spec)
		if err != nil {
			return err
		}
		publications, version, err := a.published(ctx, spec)
		if err != nil {
			return err
		}
		memory, err := a.relayMemory(ctx, spec)
		if err != nil {
			return err
		}
		between := relay.New(memory)
		beat := newStreamBeat(nil, report)
		receiver := capture.Receiver{Source: source, Slot: contract.SlotName(spec.Name), Plugin: spec.Replication.Plugin, Publications: publications,
			LocalOnly: spec.Replication.Origin == "none", Spool: between, Log: a.Log, ServerVersion: version}
		return together(ctx, beat.run,
			func(ctx context.Context) error {
				return receiver.Run(ctx, func(p capture.Progress) { beat.received(p, waitingWords(p.Paused)) })
			},
			func(ctx context.Context) error {
				return apply.Run(ctx, options, relayFeeds(between, options), func(p apply.Progress) {
					between.Confirm(p.FlushedLSN)
					beat.applied(p)
				})
			})
	})
}

// relayMemory reads from the target where the stream goes on.
func (a *Activities) relayMemory(ctx context.Context, spec contract.Spec) (m relay.Memory, err error) {
	m.Keep = func(note string) error {
		return a.withTarget(ctx, spec, "stream source", func(conn *pgx.Conn) error { return ledger.SetStreamSource(ctx, conn, note) })
	}
	err = a.withTarget(ctx, spec, "applied position", func(conn *pgx.Conn) error {
		flushed, err := ledger.FlushedPosition(ctx, conn)
		if err != nil {
			return err
		}
		m.Applied = flushed.LSN
		m.Source, err = ledger.StreamSource(ctx, conn)
		return err
	})
	return m, err
}

// waitingWords leaves out that there is no room for more: that is how a slow target slows the source's sending down.
func waitingWords(paused string) string {
	if strings.HasPrefix(paused, "reconnecting") {
		return paused
	}
	return ""
}

// relayFeeds opens feeds of the relay. One that is interrupted is opened again at the position that the target has.
func relayFeeds(between *relay.Relay, options apply.Options) func(change.LSN) (apply.Feed, error) {
	return func(from change.LSN) (apply.Feed, error) {
		if from == 0 { // nothing was applied yet: the slot must reach back to the first table's copy
			from = firstStart(options)
		}
		return apply.NewSpoolFeed(reopened{between.NewReader(from)}), nil
	}
}

func firstStart(options apply.Options) change.LSN {
	var first change.LSN
	for _, start := range options.Starts {
		if first == 0 || start < first {
			first = start
		}
	}
	return first
}

// reopened makes an interruption what the applier opens a new feed for.
type reopened struct{ *relay.Reader }

func (r reopened) Next(ctx context.Context) (spool.Record, error) {
	record, err := r.Reader.Next(ctx)
	if errors.Is(err, relay.ErrInterrupted) {
		return record, apply.Again("the stream begins again", err)
	}
	return record, err
}

// together runs both until the first ends, ends the other one too, and returns the error of the first.
func together(ctx context.Context, both ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	var once sync.Once
	var first error
	for _, do := range both {
		wait.Go(func() {
			err := do(ctx)
			once.Do(func() { first = err })
			cancel()
		})
	}
	wait.Wait()
	return first
}
