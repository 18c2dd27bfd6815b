package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/plan"
	"timeferry/internal/source/extract"
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
			dst, err := survey.ReadFacts(ctx, target, plan.TargetNames(spec, slices.Concat(src.Tables, src.Empty)))
			if err != nil {
				return err
			}
			src.ForHypertables, err = prepare.ReadHypertables(ctx, source, slices.Concat(src.Tables, src.Empty), plan.HypertablesOf(spec))
			if err != nil {
				return err
			}
			dst.Intervals, err = survey.ReadIntervals(ctx, target, plan.Intervals(spec))
			if err != nil {
				return err
			}
			usage, err := prepare.ReadUsage(ctx, source)
			if err != nil {
				return err
			}
			out = contract.PreflightResult{Problems: plan.Assess(spec, src, dst), Tables: len(src.Tables), Activity: usage.Words(), MostStreams: plan.MostStreams(spec, src, dst), TargetConnections: plan.ConnectionsOfTarget(spec, src, dst),
				SourceVersion: versionWords(src.Version), TargetVersion: versionWords(dst.Version), WALLevel: src.Settings["wal_level"]}
			ahead, err := a.schemaFindings(ctx, spec, src, dst, out.Problems)
			if err != nil {
				return err
			}
			out.Problems = append(out.Problems, ahead...)
			if spec.Source.RDS != nil {
				found, err := a.rdsFindings(ctx, spec, usage, input.Changes)
				if err != nil {
					return err
				}
				out.Problems = append(out.Problems, found...)
			}
			back, err := a.backFindings(ctx, spec, source)
			if err != nil {
				return err
			}
			out.Problems = append(out.Problems, back...)
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

// schemaFindings looks ahead to the schema's dump: with which program it will be made, and what it will leave out or cannot
// carry. Findings whose code is among known are told already.
func (a *Activities) schemaFindings(ctx context.Context, spec contract.Spec, src plan.SourceFacts, dst plan.TargetFacts, known []contract.Problem) ([]contract.Problem, error) {
	path, version, err := extract.Clients(ctx)
	if err != nil {
		return nil, err
	}
	found := plan.AssessClients(src.Version, plan.ClientFacts{Path: path, Version: version})
	if plan.HasFatal(known) || plan.HasFatal(found) {
		return found, nil // a dump would fail for the same reasons, in worse words
	}
	source, err := a.source(ctx, spec)
	if err != nil {
		return nil, err
	}
	_, ahead, err := extract.Dump(ctx, extract.DumpOptions{Source: source, Tables: spec.Tables, Hypertables: spec.Hypertables,
		Privileges: spec.Privileges == "migrate", TargetSuperuser: dst.Superuser})
	if err != nil {
		return nil, err
	}
	for _, p := range plan.Condense(ahead) {
		if !slices.ContainsFunc(known, func(k contract.Problem) bool { return k.Code == p.Code }) {
			found = append(found, p)
		}
	}
	return found, nil
}

// versionWords makes "15.18" of 150018.
func versionWords(num int) string { return fmt.Sprintf("%d.%d", num/10000, num%10000) }
