package activities

import (
	"context"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/shape"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/ledger"
)

// planLeaves records the partitions that the source publishes one by one (before PostgreSQL 13), so that the apply finds their
// tables. PlanTables comes before.
func planLeaves(ctx context.Context, source, target *pgx.Conn, tables []shape.Table) error {
	found, err := prepare.Leaves(ctx, source, tables)
	if err != nil || len(found) == 0 {
		return err
	}
	leaves := make([]ledger.Leaf, len(found))
	for i, l := range found {
		leaves[i] = ledger.Leaf{Table: l.Table, Root: l.Root, Bounds: l.Bounds, Alike: l.Alike}
	}
	return ledger.PlanLeaves(ctx, target, leaves)
}

// newPartitions finds the partitions whose changes do not arrive because they came into being after the others were recorded.
func newPartitions(ctx context.Context, source, target *pgx.Conn, publication string, known map[ident.Table]bool) ([]ident.Table, error) {
	recorded, err := ledger.Leaves(ctx, target)
	if err != nil {
		return nil, err
	}
	leaves := map[ident.Table]bool{}
	for name := range recorded {
		leaves[name] = true
	}
	return prepare.NewPartitions(ctx, source, publication, known, leaves)
}
