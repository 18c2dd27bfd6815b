package activities

import (
	"context"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/bulk"
	"timeferry/internal/contract"
	"timeferry/internal/source/prepare"
	"timeferry/internal/source/slot"
	"timeferry/internal/target/ledger"
)

// StartOver clears the way for a fresh slot and copy: a resync. The schema on the target stays as it is, with its indexes.
//
//	Does: drops what was made for new tables that have not joined to the end, and our slot, whatever state it is in; then empties the
//	migration's tables, plans their parts anew, and forgets the stream's position, in one transaction.
//	Safe to repeat because: once a later epoch has begun it does nothing; before, there is nothing to lose.
//	Heartbeats: nothing of its own.
//	Undone by: the copy that follows.
func (a *Activities) StartOver(ctx context.Context, input contract.ResyncInput) (out contract.CopyStatus, err error) {
	spec := input.Spec
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "resync", func(source, target *pgx.Conn) error {
			if err := ledger.UpgradeCounters(ctx, target); err != nil {
				return err
			}
			if err := dropJoining(ctx, target); err != nil {
				return err
			}
			epoch, err := ledger.CurrentEpoch(ctx, target)
			if err != nil {
				return err
			}
			if epoch <= input.After {
				if err := startOver(ctx, source, target, input); err != nil {
					return err
				}
			}
			out, err = copyStatus(ctx, target)
			return err
		})
	})
	return out, err
}

func startOver(ctx context.Context, source, target *pgx.Conn, input contract.ResyncInput) error {
	spec := input.Spec
	if err := dropOurSlot(ctx, source, spec); err != nil {
		return err
	}
	facts, err := prepare.ReadFacts(ctx, source, spec.Tables)
	if err != nil {
		return err
	}
	if err := prepare.ReadSplits(ctx, source, facts.Tables, partBytes(spec, facts.Tables)); err != nil {
		return err
	}
	done, err := bulk.StartOver(ctx, target, input.After, copyPlan(spec, facts))
	if err != nil || !done {
		return err
	}
	return planLeaves(ctx, source, target, facts.Tables)
}

// dropOurSlot leaves a slot alone that has our name and is not ours: whoever makes the new one names it.
func dropOurSlot(ctx context.Context, source *pgx.Conn, spec contract.Spec) error {
	name := contract.SlotName(spec.Name)
	s, err := slot.Inspect(ctx, source, name)
	if err != nil || !s.Exists {
		return err
	}
	if s.Plugin != spec.Replication.Plugin || s.Database != spec.Source.Database {
		return nil
	}
	return slot.Drop(ctx, source, name, slotPatience)
}
