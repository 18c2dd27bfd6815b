package activities

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/shape"
	"timeferry/internal/source/prepare"
	"timeferry/internal/source/slot"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/provision"
)

// slotPatience is how long a slot may still be in use by a receiver that is being stopped, before its session is ended.
const slotPatience = 10 * time.Second

// CleanSource removes from the source what the migration made there, and sets back what it changed.
//
//	Does: drops slot and publications, restores replica identities as recorded in the ledger.
//	Safe to repeat because: what is gone stays gone; an identity that a person changed meanwhile is left alone.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) CleanSource(ctx context.Context, input contract.UndoInput) (out contract.UndoResult, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withSource(ctx, input.Spec, "cleanup", func(source *pgx.Conn) error {
			// The slot goes first, whatever is the matter with the target: it is what can hurt.
			if err := slot.Drop(ctx, source, contract.SlotName(input.Spec.Name), slotPatience); err != nil {
				return err
			}
			if err := prepare.DropPublication(ctx, source, contract.PublicationName(input.Spec.Name)); err != nil {
				return err
			}
			return a.withTarget(ctx, input.Spec, "cleanup", func(target *pgx.Conn) error {
				out, err = restoreIdentities(ctx, input.Spec, source, target)
				return err
			})
		})
	})
	return out, err
}

func restoreIdentities(ctx context.Context, spec contract.Spec, source, target *pgx.Conn) (contract.UndoResult, error) {
	owner, err := ledger.Owner(ctx, target)
	if err != nil || owner != spec.Name {
		return contract.UndoResult{}, err // no ledger of ours: no identity was ever changed, or all are set back
	}
	recorded, err := ledger.Identities(ctx, target)
	if err != nil {
		return contract.UndoResult{}, err
	}
	previous := make([]prepare.PreviousIdentity, len(recorded))
	for i, r := range recorded {
		previous[i] = prepare.PreviousIdentity{Table: r.Table, Previous: shape.Identity{Kind: r.PreviousKind[0], Index: r.PreviousIndex},
			Chosen: shape.Identity{Kind: r.ChosenKind[0], Index: r.ChosenIndex}}
	}
	left, err := prepare.RestoreIdentities(ctx, source, previous)
	return contract.UndoResult{Left: boundNames(left, "replica identities")}, err
}

// CleanTarget removes the bookkeeping and, on abort, what the migration made on the target.
//
//	Does: drops what is recorded as created (unless KeepTarget), then the ledger.
//	Safe to repeat because: what is gone stays gone; without a ledger there is nothing to do.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) CleanTarget(ctx context.Context, input contract.UndoInput) (out contract.UndoResult, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withTarget(ctx, input.Spec, "cleanup", func(target *pgx.Conn) error {
			owner, err := ledger.Owner(ctx, target)
			if err != nil || owner != input.Spec.Name {
				return err
			}
			if !input.KeepTarget {
				left, err := provision.DropCreated(ctx, target)
				if err != nil {
					return err
				}
				out.Left = boundNames(left, "things on the target")
			}
			return ledger.Drop(ctx, target, input.Spec.Name)
		})
	})
	return out, err
}

// RemoveSpool deletes the migration's spool directory. It runs on the worker that owns it.
//
//	Does: removes the directory.
//	Safe to repeat because: a directory that is gone stays gone.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) RemoveSpool(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(context.Context, func(contract.Beat)) error {
		a.Metrics.Forget(spec.Name)
		return a.Spools.Remove(spec.Name)
	})
}
