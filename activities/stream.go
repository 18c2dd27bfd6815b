package activities

import (
	"context"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/temporal"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/capture"
	"timeferry/internal/source/prepare"
	"timeferry/internal/spool"
	"timeferry/internal/target/apply"
	"timeferry/internal/target/ledger"
)

// Receive reads the slot into the spool. It runs on the worker that owns the spool.
//
//	Does: streams, fsyncs, and confirms to the source only what is on disk.
//	Safe to repeat because: the spool keeps whole transactions, and the stream goes on after the last one.
//	Heartbeats: received position, size of the spool.
//	Undone by: CleanSource (the slot) and RemoveSpool.
func (a *Activities) Receive(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		source, err := a.source(ctx, spec)
		if err != nil {
			return err
		}
		publications, version, err := a.published(ctx, spec)
		if err != nil {
			return err
		}
		s, release, err := a.Spools.Acquire(spec.Name, spoolOptions(spec))
		if err != nil {
			return err
		}
		defer release()
		r := capture.Receiver{Source: source, Slot: contract.SlotName(spec.Name), Plugin: spec.Replication.Plugin, Publications: publications,
			LocalOnly: spec.Replication.Origin == "none", Spool: s, Log: a.Log, ServerVersion: version}
		beat := newStreamBeat(s, report)
		return beat.beside(ctx, func(ctx context.Context) error {
			return r.Run(ctx, func(p capture.Progress) { beat.received(p, p.Paused) })
		})
	})
}

// spoolOptions are the same for whoever opens the migration's spool first.
func spoolOptions(spec contract.Spec) spool.Options {
	return spool.Options{Compress: spec.Replication.Compress == contract.CompressZstd}
}

// published names the publications to ask the stream for, as they are on the source, and the server's version.
func (a *Activities) published(ctx context.Context, spec contract.Spec) (names []string, version int, err error) {
	err = a.withBoth(ctx, spec, "publication", func(source, target *pgx.Conn) error {
		p, err := publicationOf(ctx, source, target, spec)
		if err != nil {
			return err
		}
		names = p.Names(contract.PublicationName(spec.Name))
		version, err = pgkit.Version(ctx, source)
		return err
	})
	return names, version, err
}

// Apply brings the changes to the target: the spooled ones, on the worker that owns the spool, or with buffer: source those of the
// slot, on any worker.
//
//	Does: applies whole transactions; the position commits together with the changes. With buffer: source it confirms to the
//	slot what is on the target's disk.
//	Safe to repeat because: it goes on from the position that the target holds.
//	Heartbeats: applied position, transactions and changes.
//	Undone by: CleanTarget.
func (a *Activities) Apply(ctx context.Context, spec contract.Spec) error {
	if spec.Replication.Buffer == contract.BufferSource {
		return a.applyFromSlot(ctx, spec)
	}
	return a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		options, err := a.applyOptions(ctx, spec)
		if err != nil {
			return err
		}
		s, release, err := a.Spools.Acquire(spec.Name, spoolOptions(spec))
		if err != nil {
			return err
		}
		defer release()
		open := func(from change.LSN) (apply.Feed, error) {
			reader, err := s.NewReader(from)
			if err != nil {
				return nil, err
			}
			return apply.NewSpoolFeed(reader), nil
		}
		beat := newStreamBeat(nil, report)
		return beat.beside(ctx, func(ctx context.Context) error {
			return apply.Run(ctx, options, open, func(p apply.Progress) {
				if err := s.Prune(p.FlushedLSN); err != nil {
					a.Log.WarnContext(ctx, "prune spool", "migration_id", spec.Name, "err", err) // the next one tries again
				}
				beat.applied(p)
			})
		})
	})
}

func (a *Activities) applyOptions(ctx context.Context, spec contract.Spec) (apply.Options, error) {
	target, err := a.target(ctx, spec)
	if err != nil {
		return apply.Options{}, err
	}
	source, err := a.source(ctx, spec)
	if err != nil {
		return apply.Options{}, err
	}
	o := apply.Options{Target: target, Hypertables: map[ident.Table]bool{}, Log: a.Log, Source: prepare.Catalogue{Source: source}, FollowDDL: spec.Replication.DDL == contract.DDLFollow,
		Lanes: spec.Replication.Lanes, ServerToast: spec.Copy.Toast == contract.ToastServer}
	if err := a.withBoth(ctx, spec, "names", func(source, target *pgx.Conn) error { return a.followNames(ctx, source, target) }); err != nil {
		a.Log.WarnContext(ctx, "it cannot be told whether tables have new names", "migration_id", spec.Name, "err", err) // a source that is away keeps nothing from being applied
	}
	err = withConn(ctx, target, "apply options", func(conn *pgx.Conn) error {
		if err := ledger.UpgradeCounters(ctx, conn); err != nil {
			return err
		}
		if o.Starts, err = starts(ctx, conn); err != nil {
			return err
		}
		if o.Leaves, err = ledger.Leaves(ctx, conn); err != nil {
			return err
		}
		tables, err := ledger.TablesInScope(ctx, conn)
		if err != nil {
			return err
		}
		for _, t := range tables {
			if t.Hypertable {
				o.Hypertables[t.Table] = true
			}
		}
		o.ReplicaRole, err = pgkit.CanSetReplicationRole(ctx, conn)
		return err
	})
	return o, err
}

// starts are where the changes of each table begin to count. Those of a table that was to join, and is not there any more, never do.
func starts(ctx context.Context, conn *pgx.Conn) (map[ident.Table]change.LSN, error) {
	if err := ledger.UpgradeJoining(ctx, conn); err != nil {
		return nil, err
	}
	starts, err := ledger.StartLSNs(ctx, conn)
	if err != nil {
		return nil, err
	}
	forgone, err := ledger.Forgone(ctx, conn)
	for _, t := range forgone {
		if _, joined := starts[t]; !joined {
			starts[t] = math.MaxUint64
		}
	}
	return starts, err
}

// lagPoll is how often WatchLag looks: a person watching the cutover sees it move.
const lagPoll = 500 * time.Millisecond

// WatchLag compares the end of the source's WAL with the applied position.
//
//	Does: one small query on each side, again and again until the input says to end.
//	Safe to repeat because: it only reads.
//	Heartbeats: the lag.
//	Undone by: nothing to undo.
//
// When it is cancelled, what it saw is in the cancellation's details.
func (a *Activities) WatchLag(ctx context.Context, input contract.LagInput) (out contract.LagWatch, err error) {
	spec := input.Spec
	err = a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "lag", func(source, target *pgx.Conn) error {
			if err := ledger.UpgradeCounters(ctx, target); err != nil {
				return err
			}
			deadline := time.Now().Add(time.Duration(input.Seconds) * time.Second)
			tables := newTableAlarm{input: input, asked: time.Now()}
			for meter := (lagMeter{}); ; {
				if out.ReplicationStatus, err = meter.measure(ctx, source, target, spec); err != nil {
					return err
				}
				seen := out.ReplicationStatus
				report(contract.Beat{Replication: &seen})
				out.Samples = addLook(out.Samples, seen, a.now())
				if !time.Now().Before(deadline) || (input.UntilInSync && out.InSync) {
					return nil
				}
				if out.NewTables, err = tables.ring(ctx, source, target); err != nil || out.NewTables {
					return err
				}
				if err := pgkit.Sleep(ctx, lagPoll); err != nil {
					return err
				}
			}
		})
	})
	if temporal.IsCanceledError(err) {
		err = temporal.NewCanceledError(out)
	}
	return out, err
}

// newTableAlarm looks for new tables on the source now and then.
type newTableAlarm struct {
	input contract.LagInput
	asked time.Time // last
}

// ring says whether there are others than those that are known.
func (a *newTableAlarm) ring(ctx context.Context, source, target *pgx.Conn) (bool, error) {
	every := time.Duration(a.input.NewTablesEvery) * time.Second
	if every == 0 || time.Since(a.asked) < every {
		return false, nil
	}
	a.asked = time.Now()
	names, err := newTableNames(ctx, a.input.Spec, source, target)
	return fingerprint(names) != a.input.NewTables, err
}

// addLook keeps a look at the lag for the report, where anything was applied yet.
func addLook(samples []contract.LagSample, seen contract.ReplicationStatus, now time.Time) []contract.LagSample {
	if seen.AppliedLSN == 0 {
		return samples
	}
	s := contract.LagSample{At: now.UTC().Truncate(time.Millisecond), Span: lagPoll.Seconds(), Lag: math.Round(seen.LagSeconds*1000) / 1000, Bytes: seen.LagBytes}
	return contract.AddLag(samples, []contract.LagSample{s}, contract.LookLagSamples)
}
