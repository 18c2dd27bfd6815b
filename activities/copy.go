package activities

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/bulk"
	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// CopyParts is one stream of the initial copy: it takes part after part until none is left, until the steering wants it no
// more, or until another worker should take it up.
//
//	Does: copies rows under the epoch's snapshot; each part commits together with its mark in the ledger.
//	Safe to repeat because: a part that did not commit is copied again, one that did is never taken again.
//	Heartbeats: the copy's progress, the part under way, and why it waits.
//	Undone by: CleanTarget.
func (a *Activities) CopyParts(ctx context.Context, input contract.CopyInput) (out contract.CopyResult, err error) {
	err = a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		out, err = a.copyParts(ctx, input, report)
		return err
	})
	return out, err
}

func (a *Activities) copyParts(ctx context.Context, input contract.CopyInput, report func(contract.Beat)) (out contract.CopyResult, err error) {
	carried := a.shares.of(input.Name)
	defer carried.end()
	if !carried.begin(time.Now()) {
		return contract.CopyResult{Stopped: true}, nil
	}
	source, err := a.source(ctx, input.Spec)
	if err != nil {
		return out, err
	}
	target, err := a.target(ctx, input.Spec)
	if err != nil {
		return out, err
	}
	s := newCopyStream(input, source, target, a.Metrics, report)
	defer s.close(ctx)
	s.credits = func(ctx context.Context) (float64, bool, error) { return a.cpuCredits(ctx, input.Spec) }
	s.givesAway = func(ctx context.Context, streams int) bool { return a.givesAway(ctx, carried, streams) }
	limit := a.copyLimits.join(input.Name, input.Copy.RateBytes())
	defer limit.leave()
	s.limit = limit
	replica := false
	err = s.onLedger(ctx, func(conn *pgx.Conn) error {
		a.offerSecondHolder(ctx, conn)
		if replica, err = pgkit.CanSetReplicationRole(ctx, conn); err != nil {
			return err
		}
		return limit.look(ctx, conn)
	})
	if err != nil {
		return out, err
	}
	_, err = bulk.CopyParts(ctx, bulk.Options{Source: source, Target: target, ReplicaRole: replica, ServerToast: input.Copy.Toast == contract.ToastServer, Worker: a.HostID, Log: a.Log,
		Limit: limit.shared(), Between: s.between}, func(p bulk.Progress) { s.progressed(ctx, p) })
	return contract.CopyResult{Stopped: s.stopped}, err
}

// CopyProgress reads from the ledger how far the copy is, and once it is complete how each table was copied.
//
//	Does: a query or two.
//	Safe to repeat because: it only reads.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) CopyProgress(ctx context.Context, spec contract.Spec) (out contract.CopyDone, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withTarget(ctx, spec, "progress", func(conn *pgx.Conn) error {
			out.CopyStatus, err = copyStatus(ctx, conn)
			if err != nil || out.PartsDone < out.Parts {
				return err
			}
			copied, err := ledger.CopiedTables(ctx, conn, contract.MaxCopiedTables)
			out.Copied = &copied
			return err
		})
	})
	return out, err
}

func copyStatus(ctx context.Context, q pgkit.Querier) (contract.CopyStatus, error) {
	p, err := ledger.Progress(ctx, q)
	return statusOf(p), err
}

func statusOf(p ledger.CopyProgress) contract.CopyStatus {
	return contract.CopyStatus{Tables: p.Tables, TablesDone: p.TablesDone, Parts: p.Parts, PartsDone: p.PartsDone,
		Bytes: p.Bytes, BytesDone: p.BytesDone, Rows: p.CopiedRows}
}
