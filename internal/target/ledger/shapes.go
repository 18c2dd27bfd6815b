package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/shape"
)

// shapesSQL is the part of createSQL that belongs to this file. Every statement may run again.
const shapesSQL = `
CREATE TABLE IF NOT EXISTS timeferry.shapes (
	schema_name text NOT NULL, table_name text NOT NULL, definition jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (schema_name, table_name));
CREATE TABLE IF NOT EXISTS timeferry.schema_changes (
	ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, schema_name text NOT NULL, table_name text NOT NULL,
	what text NOT NULL, statement text NOT NULL, lsn pg_lsn, at timestamptz NOT NULL DEFAULT clock_timestamp());
`

// UpgradeShapes makes what an earlier version's ledger lacks, before shapes are asked for.
func UpgradeShapes(ctx context.Context, conn *pgx.Conn) error {
	return ensure(ctx, conn, "timeferry.schema_changes", shapesSQL)
}

// SetShapeSQL records how a table of the source was when the target was brought in line with it: $1 and $2 are its name there,
// $3 its definition as JSON. The applier runs it in the transaction with the first rows of that form.
const SetShapeSQL = `INSERT INTO timeferry.shapes (schema_name, table_name, definition) VALUES ($1, $2, $3::jsonb)
	ON CONFLICT (schema_name, table_name) DO UPDATE SET definition = excluded.definition, at = now()`

// RecordChangeSQL notes a statement that was run on the target because of DDL on the source, in the transaction that ran it: $1 and
// $2 are the table's name, $3 what had changed, $4 the statement, $5 the commit LSN of the change that needed it, or NULL.
const RecordChangeSQL = `INSERT INTO timeferry.schema_changes (schema_name, table_name, what, statement, lsn) VALUES ($1, $2, $3, $4, $5::text::pg_lsn)`

// SaveShapes records definitions, by the name of the relation on the source.
func SaveShapes(ctx context.Context, q pgkit.Querier, shapes map[ident.Table]*shape.Definition) error {
	for name, d := range shapes {
		text, err := json.Marshal(d)
		if err != nil {
			return fmt.Errorf("record definition of %s: %w", name, err)
		}
		if _, err := q.Exec(ctx, SetShapeSQL, name.Schema, name.Name, string(text)); err != nil {
			return fmt.Errorf("record definition of %s: %w", name, err)
		}
	}
	return nil
}

// Shapes are the recorded definitions; none in a ledger that an earlier version made.
func Shapes(ctx context.Context, q pgkit.Querier) (map[ident.Table]*shape.Definition, error) {
	shapes := map[ident.Table]*shape.Definition{}
	var exists bool
	if err := q.QueryRow(ctx, "SELECT to_regclass('timeferry.shapes') IS NOT NULL").Scan(&exists); err != nil || !exists {
		return shapes, err
	}
	rows, err := q.Query(ctx, "SELECT schema_name, table_name, definition::text FROM timeferry.shapes")
	if err != nil {
		return nil, err
	}
	var name ident.Table
	var text string
	_, err = pgx.ForEachRow(rows, []any{&name.Schema, &name.Name, &text}, func() error {
		d := &shape.Definition{}
		shapes[name] = d
		return json.Unmarshal([]byte(text), d)
	})
	if err != nil {
		return nil, fmt.Errorf("read recorded definitions: %w", err)
	}
	return shapes, nil
}

// SchemaChange is a statement that was run on the target because of DDL on the source.
type SchemaChange struct {
	Table           ident.Table
	What, Statement string
	LSN             change.LSN
	At              time.Time
}

// RecordChange notes a statement in the transaction of q.
func RecordChange(ctx context.Context, q pgkit.Querier, c SchemaChange) error {
	var lsn *string
	if c.LSN != 0 {
		text := c.LSN.String()
		lsn = &text
	}
	_, err := q.Exec(ctx, RecordChangeSQL, c.Table.Schema, c.Table.Name, c.What, c.Statement, lsn)
	return err
}

// SchemaChanges lists what was noted, oldest first; none in a ledger that an earlier version made.
func SchemaChanges(ctx context.Context, q pgkit.Querier) ([]SchemaChange, error) {
	var exists bool
	if err := q.QueryRow(ctx, "SELECT to_regclass('timeferry.schema_changes') IS NOT NULL").Scan(&exists); err != nil || !exists {
		return nil, err
	}
	rows, err := q.Query(ctx, "SELECT schema_name, table_name, what, statement, coalesce(lsn, '0/0')::text, at FROM timeferry.schema_changes ORDER BY ordinal")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c SchemaChange, err error) {
		var lsn string
		if err = row.Scan(&c.Table.Schema, &c.Table.Name, &c.What, &c.Statement, &lsn, &c.At); err != nil {
			return c, err
		}
		c.LSN, err = change.ParseLSN(lsn)
		return c, err
	})
}

// ForgetTable takes a table out of the plan that is gone on both sides.
func ForgetTable(ctx context.Context, conn *pgx.Conn, t ident.Table) error {
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		for _, table := range []string{"tables", "shapes"} {
			if _, err := tx.Exec(ctx, "DELETE FROM timeferry."+table+" WHERE (schema_name, table_name) = ($1, $2)", t.Schema, t.Name); err != nil {
				return fmt.Errorf("forget %s: %w", t, err)
			}
		}
		return nil
	})
}

// renameSQL gives a table of the plan its new name, with all that belongs to it.
var renameSQL = []string{
	`INSERT INTO timeferry.tables (schema_name, table_name, bytes, estimated_rows, hypertable, text_copy, columns, epoch, start_lsn, completed_at, analyzed_at)
		SELECT $3, $4, bytes, estimated_rows, hypertable, text_copy, columns, epoch, start_lsn, completed_at, analyzed_at FROM timeferry.tables WHERE (schema_name, table_name) = ($1, $2)`,
	`UPDATE timeferry.parts SET schema_name = $3, table_name = $4 WHERE (schema_name, table_name) = ($1, $2)`,
	`UPDATE timeferry.parts SET source_schema = $3, source_table = $4 WHERE (source_schema, source_table) = ($1, $2)`,
	`UPDATE timeferry.leaves SET root_schema = $3, root_name = $4 WHERE (root_schema, root_name) = ($1, $2)`,
	`UPDATE timeferry.leaves SET schema_name = $3, table_name = $4 WHERE (schema_name, table_name) = ($1, $2)`,
	`UPDATE timeferry.shapes SET schema_name = $3, table_name = $4, definition = jsonb_set(definition, '{table}', jsonb_build_object('schema', $3::text, 'name', $4::text))
		WHERE (schema_name, table_name) = ($1, $2)`,
	`UPDATE timeferry.identities SET schema_name = $3, table_name = $4 WHERE (schema_name, table_name) = ($1, $2)`,
	`UPDATE timeferry.created SET identity = pg_catalog.format('%I.%I', $3::text, $4::text) WHERE type = 'table' AND identity = pg_catalog.format('%I.%I', $1::text, $2::text)`,
}

// RenameTable notes that a table, or a leaf that is published by itself, has a new name on both sides.
func RenameTable(ctx context.Context, conn *pgx.Conn, from, to ident.Table) error {
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		for _, sql := range renameSQL {
			if _, err := tx.Exec(ctx, sql, from.Schema, from.Name, to.Schema, to.Name); err != nil {
				return fmt.Errorf("rename %s to %s in the plan: %w", from, to, err)
			}
		}
		_, err := tx.Exec(ctx, "DELETE FROM timeferry.tables WHERE (schema_name, table_name) = ($1, $2)", from.Schema, from.Name)
		return err
	})
}
