package activities

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/cutover"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/provision"
	"timeferry/internal/verify"
)

// Fence keeps new writes out of the source database and ends the sessions that could still write.
//
//	Does: default_transaction_read_only on the database, then ends other sessions.
//	Safe to repeat because: both may be done again; it is recorded before it is done.
//	Heartbeats: nothing of its own.
//	Undone by: Unfence.
func (a *Activities) Fence(ctx context.Context, spec contract.Spec) (out contract.FenceResult, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "fence", func(source, target *pgx.Conn) error {
			if err := ledger.RecordSourceObject(ctx, target, "fence", spec.Source.Database, ""); err != nil {
				return err
			}
			r, err := cutover.Fence(ctx, source, spec.Source.Database)
			if err != nil {
				return err
			}
			out = contract.FenceResult{Ended: len(r.Ended)}
			for _, s := range r.Spared {
				out.Spared = append(out.Spared, s.String())
			}
			return nil
		})
	})
	return out, err
}

// Unfence opens the source for writes again.
//
//	Does: sets default_transaction_read_only back to what it was.
//	Safe to repeat because: setting it twice is setting it once.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) Unfence(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withSource(ctx, spec, "unfence", func(source *pgx.Conn) error {
			return cutover.Unfence(ctx, source, spec.Source.Database)
		})
	})
}

// EmitMarker writes our message into the source's WAL and says how far the stream has to be applied to contain everything
// before it.
//
//	Does: pg_logical_emit_message in a transaction of its own.
//	Safe to repeat because: a later marker proves more, not less.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) EmitMarker(ctx context.Context, spec contract.Spec) (lsn change.LSN, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withSource(ctx, spec, "marker", func(source *pgx.Conn) error {
			lsn, err = cutover.Marker(ctx, source, "cutover "+spec.Name)
			return err
		})
	})
	return lsn, err
}

// drainPoll is short: the application waits.
const drainPoll = 3 * time.Millisecond

// Drain waits until everything up to an LSN is on the target.
//
//	Does: reads the ledger's position until it is there.
//	Safe to repeat because: it only reads.
//	Heartbeats: the position.
//	Undone by: nothing to undo.
func (a *Activities) Drain(ctx context.Context, input contract.DrainInput) (out contract.ReplicationStatus, err error) {
	err = a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		return a.withTarget(ctx, input.Spec, "drain", func(target *pgx.Conn) error {
			return awaitApplied(ctx, target, input.LSN, &out, report)
		})
	})
	return out, err
}

// awaitApplied waits until the applier stands at an LSN, and keeps the position in out.
func awaitApplied(ctx context.Context, target *pgx.Conn, until change.LSN, out *contract.ReplicationStatus, report func(contract.Beat)) error {
	for {
		applied, err := ledger.Applied(ctx, target)
		if err != nil {
			return err
		}
		*out = contract.ReplicationStatus{ReceivedLSN: applied.LSN, AppliedLSN: applied.LSN, LagBytes: applied.LSN.BytesBehind(until), InSync: true}
		if applied.LSN >= until {
			counters, err := ledger.ReadCounters(ctx, target)
			out.Transactions, out.Changes = counters.Transactions, counters.Changes
			return err
		}
		seen := *out
		report(contract.Beat{Replication: &seen})
		if err := pgkit.Sleep(ctx, drainPoll); err != nil {
			return err
		}
	}
}

// CopySequences sets every sequence of the target to where the source's stands.
//
//	Does: setval for each.
//	Safe to repeat because: it sets, it does not count.
//	Heartbeats: nothing of its own.
//	Undone by: CleanTarget.
func (a *Activities) CopySequences(ctx context.Context, spec contract.Spec) (count int, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "sequences", func(source, target *pgx.Conn) error {
			count, err = cutover.Sequences(ctx, source, target, spec.Tables.Includes)
			return err
		})
	})
	return count, err
}

// RestoreAtCutover makes on the target what must not be there while changes are applied: triggers that fire in every
// session, and the like.
//
//	Does: each entry in a transaction of its own with its mark.
//	Safe to repeat because: entries that are marked are left out.
//	Heartbeats: nothing of its own.
//	Undone by: CleanTarget.
func (a *Activities) RestoreAtCutover(ctx context.Context, spec contract.Spec) (problems []contract.Problem, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withTarget(ctx, spec, "schema", func(target *pgx.Conn) error {
			problems, err = provision.AtCutover(ctx, target)
			return err
		})
	})
	return problems, err
}

// compareParallel is how many tables are compared at once; each takes a connection on either side.
const compareParallel = 4

// Compare holds every table in scope of both sides against each other.
//
//	Does: reads both sides; keeps each table's result in the ledger.
//	Safe to repeat because: results of the same run replace each other.
//	Heartbeats: how many tables are done.
//	Undone by: nothing to undo.
func (a *Activities) Compare(ctx context.Context, input contract.CompareInput) (out contract.Verification, err error) {
	started := time.Now()
	err = a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		out = contract.Verification{Method: input.Method, Equal: true}
		return a.withTarget(ctx, input.Spec, "compare", func(target *pgx.Conn) error {
			o, tables, err := a.comparison(ctx, input)
			if err != nil {
				return err
			}
			return verify.Compare(ctx, o, tables, func(r verify.Result) error {
				addResult(&out, r)
				report(contract.Beat{Message: fmt.Sprintf("compared %d of %d tables", out.Tables, len(tables))})
				return ledger.RecordVerification(ctx, target, ledger.Verification{Run: input.Run, Table: r.Table, Method: input.Method,
					SourceRows: r.SourceRows, TargetRows: r.TargetRows, SourceDigest: r.SourceDigest, TargetDigest: r.TargetDigest, Equal: r.Equal})
			})
		})
	})
	sort.Slice(out.Differences, func(i, j int) bool { return out.Differences[i].Table < out.Differences[j].Table })
	out.Seconds = time.Since(started).Seconds()
	return out, err
}

func (a *Activities) comparison(ctx context.Context, input contract.CompareInput) (verify.Options, []verify.Table, error) {
	source, err := a.source(ctx, input.Spec)
	if err != nil {
		return verify.Options{}, nil, err
	}
	e, err := a.target(ctx, input.Spec)
	if err != nil {
		return verify.Options{}, nil, err
	}
	tables, err := a.comparedTables(ctx, input.Spec)
	if err != nil {
		return verify.Options{}, nil, err
	}
	sort.SliceStable(tables, func(i, j int) bool { return tables[i].Bytes > tables[j].Bytes })
	return verify.Options{Source: source, Target: e, Method: input.Method, Parallel: compareParallel}, tables, nil
}

func addResult(v *contract.Verification, r verify.Result) {
	v.Tables++
	v.Rows += r.SourceRows
	if r.Equal {
		return
	}
	v.Equal = false
	message := "the contents differ"
	if r.SourceRows != r.TargetRows {
		message = fmt.Sprintf("%d rows on the source, %d on the target", r.SourceRows, r.TargetRows)
	}
	v.Differences = append(v.Differences, contract.TableDifference{Table: r.Table.String(), SourceRows: r.SourceRows, TargetRows: r.TargetRows, Message: message})
}
