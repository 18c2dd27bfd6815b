package apply

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// truncateLeaves says what to truncate for a table of which the source has emptied these leaves: the table itself if there are
// no others, for a source that publishes its leaves names all of them when their root is truncated; else the target's
// partitions of the same names. Where the target has one table for all of them, the leaves' rows are deleted.
func (g *gatherer) truncateLeaves(ctx context.Context, t *table, emptied []ledger.Leaf) ([]*table, error) {
	if len(emptied) == 0 || len(emptied) == len(g.leaves[t.name]) {
		return []*table{t}, nil
	}
	var partitions []*table
	for _, leaf := range emptied {
		switch {
		case t.partitioned && leaf.Alike:
			p, err := g.partition(ctx, leaf.Table, t)
			if err != nil {
				return nil, err
			}
			partitions = append(partitions, p)
		case !t.partitioned && leaf.Bounds != "":
			g.batch.steps = append(g.batch.steps, step{kind: stepQuery, sql: "DELETE FROM " + t.only + t.name.Quote() + " WHERE " + leaf.Bounds,
				rows: anyRows, table: t, verb: "truncate"})
		default:
			return nil, fault.New(fault.Operator, opApply, leaf.Root.String(),
				"abort, then start again; until the cutover empty single partitions of this table by DELETE, or not at all",
				"its partition %s was truncated, whose rows cannot be told for certain from the others' on the target", leaf.Table).WithCode(CodePartitionTruncated)
		}
	}
	return partitions, nil
}

// partitionSQL: a foreign key to the root is one to each of its partitions too.
const partitionSQL = `SELECT c.oid, ARRAY(SELECT k.conrelid FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid = c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (n.nspname, c.relname) = ($1, $2) AND c.relkind = 'r' AND pg_partition_root(c.oid) = $3::oid`

// partition finds the target's partition of the name.
func (g *gatherer) partition(ctx context.Context, name ident.Table, root *table) (*table, error) {
	if t := g.partitions[name]; t != nil {
		return t, nil
	}
	t := &table{name: name, only: "ONLY "}
	err := g.readCatalogue(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, partitionSQL, name.Schema, name.Name, root.oid).Scan(&t.oid, &t.referencedBy)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, schemaChanged(root.name, []string{"partition " + name.Quote() + " is missing on the target"})
	}
	if err != nil {
		return nil, err
	}
	g.partitions[name] = t
	return t, nil
}
