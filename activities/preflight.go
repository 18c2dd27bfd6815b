package activities

import (
	"context"
	"fmt"
	"maps"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/plan"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/survey"
)

// Preflight checks both ends.
//
//	Does: reads both catalogues, assesses what it found.
//	Safe to repeat because: it only reads.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) Preflight(ctx context.Context, input contract.PreflightInput) (out contract.PreflightResult, err error) {
	spec := input.Spec
	if input.CanReboot {
		spec.Prepare.Parameters = maps.Clone(spec.Prepare.Parameters)
		for _, c := range input.Changes { // assessed as they will be
			if spec.Prepare.Parameters == nil {
				spec.Prepare.Parameters = map[string]string{}
			}
			spec.Prepare.Parameters[c.Name] = c.New
		}
	}
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "preflight", func(source, target *pgx.Conn) error {
			src, err := prepare.ReadFacts(ctx, source, spec.Tables)
			if err != nil {
				return err
			}
			dst, err := survey.ReadFacts(ctx, target, plan.TargetNames(spec, src.Tables))
			if err != nil {
				return err
			}
			usage, err := prepare.ReadUsage(ctx, source)
			if err != nil {
				return err
			}
			out = contract.PreflightResult{Problems: plan.Assess(spec, src, dst), Tables: len(src.Tables), Activity: usage.Words(),
				SourceVersion: versionWords(src.Version), TargetVersion: versionWords(dst.Version), WALLevel: src.Settings["wal_level"]}
			if spec.Source.RDS != nil {
				found, err := a.rdsFindings(ctx, spec, usage, input.Changes)
				if err != nil {
					return err
				}
				out.Problems = append(out.Problems, found...)
			}
			found, err := a.machineFindings(ctx, spec, src.DatabaseBytes)
			if err != nil {
				return err
			}
			out.Problems = append(out.Problems, found...)
			plan.SortProblems(out.Problems)
			for _, t := range src.Tables {
				out.Bytes += t.Bytes
			}
			return nil
		})
	})
	return out, err
}

// versionWords makes "15.18" of 150018.
func versionWords(num int) string { return fmt.Sprintf("%d.%d", num/10000, num%10000) }
