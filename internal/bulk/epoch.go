package bulk

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// BeginEpoch makes the snapshot the one that all unfinished tables are copied under, and empties those on the target. It
// waits for parts that are being copied, under whatever snapshot. Called again with the same values it changes nothing.
// Only tables that the ledger knows are touched.
func BeginEpoch(ctx context.Context, target *pgx.Conn, consistentPoint change.LSN, snapshot string) (epoch int, err error) {
	return BeginHeldEpoch(ctx, target, consistentPoint, ledger.Held{Snapshot: snapshot}, nil)
}

// BeginHeldEpoch is BeginEpoch that also keeps who holds the snapshot, and what it shows. renew, unless nil, is called in the same
// transaction with the tables that are to be copied under it, once they are empty.
func BeginHeldEpoch(ctx context.Context, target *pgx.Conn, consistentPoint change.LSN, held ledger.Held, renew func(pgx.Tx, []ident.Table) error) (epoch int, err error) {
	epoch, err = ledger.BeginHeldEpoch(ctx, target, consistentPoint, held, func(tx pgx.Tx, tables []ident.Table) error {
		if err := emptyTables(ctx, tx, tables); err != nil || renew == nil {
			return err
		}
		return renew(tx, tables)
	})
	if err != nil {
		return 0, fmt.Errorf("begin epoch: %w", err)
	}
	return epoch, nil
}

// unfinishedSQL tells, per table of the ledger that is not complete, whether it may hold rows: its family is the table and
// whatever rows of its own lie in, partitions or chunks. A table with a foreign key counts as well: TRUNCATE wants it named
// together with the table it refers to, empty or not.
const unfinishedSQL = `
WITH RECURSIVE planned AS (
	SELECT t.schema_name, t.table_name, t.hypertable, c.oid, t.hypertable OR coalesce(c.relkind = 'p', false) AS tree
	FROM timeferry.tables t LEFT JOIN pg_namespace n ON n.nspname = t.schema_name
		LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.table_name AND c.relkind IN ('r', 'p')
	WHERE t.completed_at IS NULL),
family (root, relid) AS (
	SELECT oid, oid FROM planned
	UNION ALL SELECT f.root, i.inhrelid FROM family f JOIN planned p ON p.oid = f.root AND p.tree JOIN pg_inherits i ON i.inhparent = f.relid),
filled (root) AS (
	SELECT f.root FROM family f JOIN planned p ON p.oid = f.root GROUP BY f.root, p.hypertable
	HAVING p.hypertable AND count(*) > 1 OR sum(coalesce(pg_relation_size(f.relid), 0)) > 0)
SELECT schema_name, table_name, oid IS NOT NULL, tree,
	coalesce(oid IN (SELECT root FROM filled), false) OR EXISTS (SELECT 1 FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = oid)
FROM planned ORDER BY 1, 2`

type unfinishedTable struct {
	Schema, Name         string
	Exists, Tree, Filled bool
}

// emptyTables truncates all that may hold rows at once, so that foreign keys among them do not matter.
func emptyTables(ctx context.Context, tx pgx.Tx, tables []ident.Table) error {
	rows, err := tx.Query(ctx, unfinishedSQL)
	if err != nil {
		return err
	}
	unfinished, err := pgx.CollectRows(rows, pgx.RowToStructByPos[unfinishedTable])
	if err != nil {
		return err
	}
	var names []string
	for _, t := range unfinished {
		table := ident.Table{Schema: t.Schema, Name: t.Name}
		switch {
		case !t.Exists: // the schema comes after the first epoch; a table that goes missing later is the copy's to name
		case !t.Filled:
		// ONLY spares children by old-style inheritance, which are tables of their own. Trees and hypertables refuse it.
		case t.Tree:
			names = append(names, table.Quote())
		default:
			names = append(names, "ONLY "+table.Quote())
		}
	}
	if len(names) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, "TRUNCATE "+strings.Join(names, ", ")); err != nil {
		return cannotEmpty(tables, err)
	}
	return nil
}

// StartOver empties every table of the plan and makes all that was copied and applied void, see ledger.StartOver.
func StartOver(ctx context.Context, target *pgx.Conn, after int, planned []ledger.Table) (done bool, err error) {
	done, err = ledger.StartOver(ctx, target, after, planned, func(tx pgx.Tx, tables []ident.Table) error {
		return emptyTables(ctx, tx, tables)
	})
	if err != nil {
		return false, fmt.Errorf("start over: %w", err)
	}
	return done, nil
}
