package activities

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/schemadiff"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/ledger"
)

// maxDifferences bounds what goes into a history of each list; the counts are whole.
const maxDifferences = 100

// CompareSchema compares the schemas of both sides by definition.
//
//	Does: reads both catalogues.
//	Safe to repeat because: it changes nothing.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) CompareSchema(ctx context.Context, input contract.SchemaInput) (out contract.SchemaComparison, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, input.Spec, "compare schemas", func(source, target *pgx.Conn) error {
			identities, err := changedIdentities(ctx, input.Name, target)
			if err != nil {
				return err
			}
			plan := schemadiff.PlanOf(input.Spec, identities)
			plan.BeforeCutover = input.BeforeCutover
			result, err := schemadiff.Check(ctx, source, target, plan)
			if err != nil {
				return err
			}
			for _, n := range result.Compared {
				out.Objects += n
			}
			out.Unexpected, out.AsPlanned = len(result.Differences), len(result.Expected)
			out.Differences, out.Planned = differencesOf(result.Differences), differencesOf(result.Expected)
			return nil
		})
	})
	return out, err
}

// changedIdentities are the tables whose replica identity on the source is not its own for the moment; none once the ledger is
// gone.
func changedIdentities(ctx context.Context, migration string, target *pgx.Conn) ([]ident.Table, error) {
	owner, err := ledger.Owner(ctx, target)
	if err != nil || owner != migration {
		return nil, err
	}
	recorded, err := ledger.Identities(ctx, target)
	if err != nil {
		return nil, err
	}
	tables := make([]ident.Table, len(recorded))
	for i, r := range recorded {
		tables[i] = r.Table
	}
	return tables, nil
}

func differencesOf(all []schemadiff.Difference) []contract.SchemaDifference {
	var out []contract.SchemaDifference
	for _, d := range all[:min(len(all), maxDifferences)] {
		out = append(out, contract.SchemaDifference{Kind: string(d.Kind), Object: d.Object, Property: d.Property, Source: d.Source, Target: d.Target, Why: d.Why})
	}
	return out
}

// FindNewTables names the tables in scope that came into being on the source since the migration was planned, and before
// PostgreSQL 13 the partitions, which are published one by one: nothing carries their rows.
//
//	Does: reads the source's catalogue and the ledger.
//	Safe to repeat because: it changes nothing.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) FindNewTables(ctx context.Context, spec contract.Spec) (names []string, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "new tables", func(source, target *pgx.Conn) error {
			names, err = newTableNames(ctx, spec, source, target)
			return err
		})
	})
	return boundNames(names, "tables"), err
}

// newTableNames are all of them, in order.
func newTableNames(ctx context.Context, spec contract.Spec, source, target *pgx.Conn) (names []string, err error) {
	known, err := ledger.PlannedTables(ctx, target)
	if err != nil {
		return nil, err
	}
	found, err := prepare.NewTables(ctx, source, spec.Tables, known)
	if err != nil {
		return nil, err
	}
	partitions, err := newPartitions(ctx, source, target, contract.PublicationName(spec.Name), known)
	for _, t := range append(found, partitions...) {
		names = append(names, t.String())
	}
	return names, err
}

// fingerprint stands for names, however many; "" for none.
func fingerprint(names []string) string {
	if len(names) == 0 {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join(names, "\x00")))
	return hex.EncodeToString(sum[:8])
}
