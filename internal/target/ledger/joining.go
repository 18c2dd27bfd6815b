package ledger

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// joiningSQL is the part of createSQL that belongs to this file. Every statement may run again. A table that joins a migration
// under way has in joining how many entries there were before it, and in joining_after the newest object that was made before
// it; both are NULL once it is one like any other. forgone are tables that may have changes in the stream which nobody wants.
const joiningSQL = `
DO $$ BEGIN -- asked first, since ALTER TABLE would wait for parts that are being copied
	IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'timeferry.tables'::regclass AND attname = 'joining') THEN
		ALTER TABLE timeferry.tables ADD COLUMN joining int, ADD COLUMN joining_after bigint, ADD COLUMN dumped_epoch int;
	END IF;
END $$;
CREATE TABLE IF NOT EXISTS timeferry.forgone (schema_name text NOT NULL, table_name text NOT NULL, PRIMARY KEY (schema_name, table_name));
`

// UpgradeJoining brings a ledger that an earlier version made to what tables that join ask for. It looks before it alters.
func UpgradeJoining(ctx context.Context, conn *pgx.Conn) error {
	return ensure(ctx, conn, "timeferry.forgone", joiningSQL)
}

// PlanJoining is PlanTables for tables that join a migration under way. Until SettleJoining they have no start, so that
// nothing of the stream is applied to them.
func PlanJoining(ctx context.Context, conn *pgx.Conn, tables []Table) error {
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		for _, t := range tables {
			queueTable(batch, t)
			batch.Queue(`UPDATE timeferry.tables SET joining = (SELECT coalesce(max(ordinal), 0) FROM timeferry.entries),
				joining_after = (SELECT coalesce(max(ordinal), 0) FROM timeferry.created) WHERE (schema_name, table_name) = ($1, $2)`, t.Table.Schema, t.Table.Name)
		}
		return tx.SendBatch(ctx, batch).Close()
	})
}

// Joining are the tables that join, and since when.
type Joining struct {
	Tables []Table
	// AfterEntry is the last entry that was stored before, AfterCreated the last object that was made on the target before.
	AfterEntry   int
	AfterCreated int64
	// Dumped is the epoch under whose snapshot the entries were read; 0: they were not read yet.
	Dumped int
}

// ReadJoining reads which tables join; none in most migrations.
func ReadJoining(ctx context.Context, q pgkit.Querier) (j Joining, err error) {
	rows, err := q.Query(ctx, "SELECT schema_name, table_name, columns, joining, joining_after, coalesce(dumped_epoch, 0) FROM timeferry.tables WHERE joining IS NOT NULL ORDER BY 1, 2")
	if err != nil {
		return j, err
	}
	var t Table
	_, err = pgx.ForEachRow(rows, []any{&t.Table.Schema, &t.Table.Name, &t.Columns, &j.AfterEntry, &j.AfterCreated, &j.Dumped}, func() error {
		j.Tables = append(j.Tables, t)
		t.Columns = nil
		return nil
	})
	return j, err
}

// CreatedAfter lists the objects that the migration made on the target after the given one, oldest first.
func CreatedAfter(ctx context.Context, q pgkit.Querier, ordinal int64) ([]CreatedObject, error) {
	rows, err := q.Query(ctx, "SELECT type, identity FROM timeferry.created WHERE ordinal > $1 ORDER BY ordinal", ordinal)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[CreatedObject])
}

// HasEntry says which of the source's objects are among the stored entries, by kind, schema and name.
func HasEntry(ctx context.Context, q pgkit.Querier) (func(kind, schema, name string) bool, error) {
	rows, err := q.Query(ctx, "SELECT DISTINCT kind, schema_name, name FROM timeferry.entries")
	if err != nil {
		return nil, err
	}
	known := map[[3]string]bool{}
	var key [3]string
	_, err = pgx.ForEachRow(rows, []any{&key[0], &key[1], &key[2]}, func() error {
		known[key] = true
		return nil
	})
	return func(kind, schema, name string) bool { return known[[3]string{kind, schema, name}] }, err
}

// SaveJoining stores the entries of the tables that join behind all others, with the definitions of these tables on the source,
// both as of the epoch's snapshot. Ordinals and identifiers are given anew, since another dump counts from the beginning.
func SaveJoining(ctx context.Context, conn *pgx.Conn, epoch int, entries []Entry, save func(pgkit.Querier) error) error {
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "LOCK TABLE timeferry.entries IN EXCLUSIVE MODE"); err != nil {
			return err
		}
		j, err := ReadJoining(ctx, tx)
		if err != nil || j.Dumped != 0 { // somebody else has just done so
			return err
		}
		rows := make([][]any, len(entries))
		for i, e := range entries {
			e.Ordinal, e.ID = j.AfterEntry+i+1, joiningID(j.AfterEntry, e.ID)
			rows[i] = e.row()
		}
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{"timeferry", "entries"}, entryColumns, pgx.CopyFromRows(rows)); err != nil {
			return err
		}
		if err := save(tx); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "UPDATE timeferry.tables SET dumped_epoch = $1 WHERE joining IS NOT NULL", epoch)
		return err
	})
}

func joiningID(after int, id string) string { return fmt.Sprintf("after%d.%s", after, id) }

// ForgoJoining forgets the tables that join, after what was made for them on the target is gone. What the stream has of them
// is of no interest from then on, unless they join once more.
func ForgoJoining(ctx context.Context, conn *pgx.Conn) error {
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		j, err := ReadJoining(ctx, tx)
		if err != nil || len(j.Tables) == 0 {
			return err
		}
		ids := joiningID(j.AfterEntry, "%")
		batch := &pgx.Batch{}
		batch.Queue("DELETE FROM timeferry.restored WHERE entry LIKE $1 OR entry LIKE 'analyze:' || $1", ids)
		batch.Queue("DELETE FROM timeferry.entries WHERE ordinal > $1", j.AfterEntry)
		for _, t := range j.Tables {
			batch.Queue("INSERT INTO timeferry.forgone VALUES ($1, $2) ON CONFLICT DO NOTHING", t.Table.Schema, t.Table.Name)
			batch.Queue("DELETE FROM timeferry.shapes WHERE (schema_name, table_name) = ($1, $2)", t.Table.Schema, t.Table.Name)
		}
		batch.Queue("DELETE FROM timeferry.tables WHERE joining IS NOT NULL")
		return tx.SendBatch(ctx, batch).Close()
	})
}

// Forgone are the tables that ForgoJoining left, and that have not joined since.
func Forgone(ctx context.Context, q pgkit.Querier) ([]ident.Table, error) {
	rows, err := q.Query(ctx, "SELECT schema_name, table_name FROM timeferry.forgone")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[ident.Table])
}

// SettleJoining makes the tables that join ones like all others, and notes each with the statement that made it. ok is false, and
// nothing has changed, when a table is not complete, or was copied under another snapshot than its definition was read.
func SettleJoining(ctx context.Context, conn *pgx.Conn) (ok bool, err error) {
	err = pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "LOCK TABLE timeferry.tables IN SHARE ROW EXCLUSIVE MODE"); err != nil {
			return err
		}
		if _, err := CompleteTables(ctx, tx); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, "SELECT count(*) = 0 FROM timeferry.tables WHERE joining IS NOT NULL AND (completed_at IS NULL OR epoch IS DISTINCT FROM dumped_epoch)").Scan(&ok)
		if err != nil || !ok {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT t.schema_name, t.table_name, e.sql, t.start_lsn::text FROM timeferry.tables t
			JOIN timeferry.entries e ON e.kind = 'TABLE' AND e.ordinal > t.joining AND (e.schema_name, e.name) = (t.schema_name, t.table_name) WHERE t.joining IS NOT NULL ORDER BY e.ordinal`)
		if err != nil {
			return err
		}
		changes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c SchemaChange, err error) {
			var start string
			if err = row.Scan(&c.Table.Schema, &c.Table.Name, &c.Statement, &start); err != nil {
				return c, err
			}
			c.What = "the table was created"
			c.LSN, err = change.ParseLSN(start)
			return c, err
		})
		if err != nil {
			return err
		}
		for _, c := range changes {
			if err := RecordChange(ctx, tx, c); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, "UPDATE timeferry.tables SET joining = NULL, joining_after = NULL, dumped_epoch = NULL WHERE joining IS NOT NULL")
		return err
	})
	return ok, err
}
