package activities

import (
	"context"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/plan"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/survey"
)

// Suggest proposes hypertables.
//
//	Does: reads the source's statistics and the target's memory, and judges them.
//	Safe to repeat because: it only reads.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) Suggest(ctx context.Context, spec contract.Spec) (found []contract.HypertableSuggestion, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "suggest", func(source, target *pgx.Conn) error {
			candidates, err := prepare.ReadCandidates(ctx, source, spec.Tables.Moves)
			if err != nil {
				return err
			}
			memory, err := survey.ReadMemory(ctx, target)
			if err != nil {
				return err
			}
			found = plan.Suggest(spec, candidates, memory)
			return nil
		})
	})
	return found, err
}
