package activities

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/bulk"
	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// CopyParts is one stream of the initial copy: it takes part after part until none is left.
//
//	Does: copies rows under the epoch's snapshot; each part commits together with its mark in the ledger.
//	Safe to repeat because: a part that did not commit is copied again, one that did is never taken again.
//	Heartbeats: the copy's progress.
//	Undone by: CleanTarget.
func (a *Activities) CopyParts(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		source, err := a.source(ctx, spec)
		if err != nil {
			return err
		}
		target, err := a.target(ctx, spec)
		if err != nil {
			return err
		}
		return withConn(ctx, target, "copy progress", func(conn *pgx.Conn) error {
			replica, err := pgkit.CanSetReplicationRole(ctx, conn)
			if err != nil {
				return err
			}
			progress := copyReporter(ctx, conn, report)
			o := bulk.Options{Source: source, Target: target, ReplicaRole: replica, Log: a.Log}
			_, err = bulk.CopyParts(ctx, o, progress)
			return err
		})
	})
}

// copyReporter asks the ledger for the whole copy's progress now and then, and adds what this stream has under way.
func copyReporter(ctx context.Context, conn *pgx.Conn, report func(contract.Beat)) func(bulk.Progress) {
	started := time.Now()
	var asked time.Time
	var status contract.CopyStatus
	var doneAtStart int64 = -1
	return func(p bulk.Progress) {
		if time.Since(asked) > time.Second {
			asked = time.Now()
			fresh, err := copyStatus(ctx, conn)
			if err != nil {
				slog.DebugContext(ctx, "read copy progress", "err", err) // a display: the next one will do
				return
			}
			status = fresh
			if doneAtStart < 0 {
				doneAtStart = status.BytesDone
			}
		}
		shown := status
		shown.Rows += p.Rows
		shown.BytesDone = min(shown.BytesDone+p.Bytes, shown.Bytes)
		if done := shown.BytesDone - doneAtStart; done > 0 {
			shown.ETASeconds = int64(time.Since(started).Seconds() * float64(shown.Bytes-shown.BytesDone) / float64(done))
		}
		report(contract.Beat{Copy: &shown})
	}
}

// CopyProgress reads from the ledger how far the copy is.
//
//	Does: one query.
//	Safe to repeat because: it only reads.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) CopyProgress(ctx context.Context, spec contract.Spec) (out contract.CopyStatus, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withTarget(ctx, spec, "copy progress", func(conn *pgx.Conn) error {
			out, err = copyStatus(ctx, conn)
			return err
		})
	})
	return out, err
}

func copyStatus(ctx context.Context, q pgkit.Querier) (contract.CopyStatus, error) {
	p, err := ledger.Progress(ctx, q)
	return contract.CopyStatus{Tables: p.Tables, TablesDone: p.TablesDone, Parts: p.Parts, PartsDone: p.PartsDone,
		Bytes: p.Bytes, BytesDone: p.BytesDone, Rows: p.CopiedRows}, err
}
