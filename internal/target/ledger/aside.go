package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// asideSQL is the part of createSQL that belongs to this file. A table that is set aside cannot be read under its epoch's snapshot
// any more, and is left to the next epoch.
const asideSQL = `
CREATE TABLE IF NOT EXISTS timeferry.set_aside (schema_name text NOT NULL, table_name text NOT NULL, epoch int NOT NULL, PRIMARY KEY (schema_name, table_name, epoch));
`

// EnsureAside makes what SetAside needs in a ledger that an earlier version made. It looks before it makes.
func EnsureAside(ctx context.Context, conn *pgx.Conn) error {
	return ensure(ctx, conn, "timeferry.set_aside", asideSQL)
}

// SetAside lets nobody claim a part of the table in this epoch any more.
func SetAside(ctx context.Context, q pgkit.Querier, t ident.Table, epoch int) error {
	_, err := q.Exec(ctx, "INSERT INTO timeferry.set_aside VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", t.Schema, t.Name, epoch)
	return err
}

// Aside lists the tables that wait for the next epoch, in order.
func Aside(ctx context.Context, q pgkit.Querier) ([]ident.Table, error) {
	rows, err := q.Query(ctx, `SELECT schema_name, table_name FROM timeferry.tables t JOIN timeferry.set_aside USING (schema_name, table_name, epoch)
		WHERE completed_at IS NULL ORDER BY 1, 2`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[ident.Table])
}
