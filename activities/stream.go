package activities

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/capture"
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
		s, release, err := a.Spools.Acquire(spec.Name, spool.Options{})
		if err != nil {
			return err
		}
		defer release()
		r := capture.Receiver{Source: source, Slot: contract.SlotName(spec.Name), Publications: publications, Spool: s, Log: a.Log, ServerVersion: version}
		return r.Run(ctx, func(p capture.Progress) {
			report(contract.Beat{Message: p.Paused, Replication: &contract.ReplicationStatus{ReceivedLSN: p.ReceivedLSN, SpooledBytes: s.Stats().Bytes}})
		})
	})
}

// published names the publications to ask the stream for, as they are on the source, and the server's version.
func (a *Activities) published(ctx context.Context, spec contract.Spec) (names []string, version int, err error) {
	err = a.withSource(ctx, spec, "publication", func(conn *pgx.Conn) error {
		p, err := publicationOf(ctx, conn, spec)
		if err != nil {
			return err
		}
		names = p.Names(contract.PublicationName(spec.Name))
		version, err = pgkit.Version(ctx, conn)
		return err
	})
	return names, version, err
}

// Apply brings the spooled changes to the target. It runs on the worker that owns the spool.
//
//	Does: applies whole transactions; the position commits together with the changes.
//	Safe to repeat because: it goes on from the position that the target holds.
//	Heartbeats: applied position, transactions and changes.
//	Undone by: CleanTarget.
func (a *Activities) Apply(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		options, err := a.applyOptions(ctx, spec)
		if err != nil {
			return err
		}
		s, release, err := a.Spools.Acquire(spec.Name, spool.Options{})
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
		return apply.Run(ctx, options, open, func(p apply.Progress) {
			if err := s.Prune(p.FlushedLSN); err != nil {
				a.Log.WarnContext(ctx, "prune spool", "migration_id", spec.Name, "err", err) // the next one tries again
			}
			report(contract.Beat{Replication: &contract.ReplicationStatus{AppliedLSN: p.AppliedLSN, Transactions: p.Transactions, Changes: p.Changes}})
		})
	})
}

func (a *Activities) applyOptions(ctx context.Context, spec contract.Spec) (apply.Options, error) {
	target, err := a.target(ctx, spec)
	if err != nil {
		return apply.Options{}, err
	}
	o := apply.Options{Target: target, Hypertables: map[ident.Table]bool{}, Log: a.Log}
	err = withConn(ctx, target, "apply options", func(conn *pgx.Conn) error {
		if o.Starts, err = ledger.StartLSNs(ctx, conn); err != nil {
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

// lagPoll is how often WatchLag looks: a person watching the cutover sees it move.
const lagPoll = 500 * time.Millisecond

// WatchLag compares the end of the source's WAL with the applied position.
//
//	Does: one small query on each side, again and again until the input says to end.
//	Safe to repeat because: it only reads.
//	Heartbeats: the lag.
//	Undone by: nothing to undo.
func (a *Activities) WatchLag(ctx context.Context, input contract.LagInput) (out contract.ReplicationStatus, err error) {
	spec := input.Spec
	err = a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "lag", func(source, target *pgx.Conn) error {
			deadline := time.Now().Add(time.Duration(input.Seconds) * time.Second)
			for {
				if out, err = measureLag(ctx, source, target, spec); err != nil {
					return err
				}
				seen := out
				report(contract.Beat{Replication: &seen})
				if !time.Now().Before(deadline) || (input.UntilInSync && out.InSync) {
					return nil
				}
				if err := pgkit.Sleep(ctx, lagPoll); err != nil {
					return err
				}
			}
		})
	})
	return out, err
}

// measureLag reads both ends. The source's clock tells how old the last applied commit is, so that no two clocks meet.
func measureLag(ctx context.Context, source, target *pgx.Conn, spec contract.Spec) (contract.ReplicationStatus, error) {
	applied, err := ledger.Applied(ctx, target)
	if err != nil {
		return contract.ReplicationStatus{}, err
	}
	var endText string
	var now time.Time
	if err := source.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text, clock_timestamp()").Scan(&endText, &now); err != nil {
		return contract.ReplicationStatus{}, err
	}
	end, err := change.ParseLSN(endText)
	if err != nil {
		return contract.ReplicationStatus{}, err
	}
	lag := contract.ReplicationStatus{ReceivedLSN: applied.LSN, AppliedLSN: applied.LSN, LagBytes: applied.LSN.BytesBehind(end)}
	lag.InSync = applied.LSN != 0 && lag.LagBytes <= spec.Cutover.MaxLagBytes()
	if applied.CommitTime != nil && lag.LagBytes > 0 {
		lag.LagSeconds = max(now.Sub(*applied.CommitTime).Seconds(), 0)
	}
	return lag, nil
}
