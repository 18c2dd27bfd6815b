package prepare

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
)

// newTablesSQL leaves out partitions, which their root's publication carries, and what no publication may hold: unlogged and
// temporary tables.
const newTablesSQL = `
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND NOT c.relispartition
	AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
	AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2`

// NewTables lists the source's tables whose rows are to be carried over and that are not among known, in order. It changes nothing.
func NewTables(ctx context.Context, conn *pgx.Conn, scope contract.Tables, known map[ident.Table]bool) ([]ident.Table, error) {
	var found []ident.Table
	var t ident.Table
	err := each(ctx, conn, newTablesSQL, []any{&t.Schema, &t.Name}, func() {
		if !known[t] && scope.Moves(t) {
			found = append(found, t)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("look for new tables on the source: %w", err)
	}
	return found, nil
}
