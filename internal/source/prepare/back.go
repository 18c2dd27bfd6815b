package prepare

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
)

const alwaysTriggersSQL = `
SELECT n.nspname, c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND t.tgenabled IN ('A', 'R') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema' ORDER BY 1, 2, 3`

// ReadBack reads whether the source can be written to by the way back. includes says which tables count.
func ReadBack(ctx context.Context, conn *pgx.Conn, includes func(ident.Table) bool, f *plan.BackFacts) error {
	err := conn.QueryRow(ctx, "SELECT has_database_privilege(current_database(), 'CREATE')").Scan(&f.SourceCanCreate)
	if err != nil {
		return fmt.Errorf("read whether the source can be written to: %w", err)
	}
	if f.SourceReplicaRole, err = pgkit.CanSetReplicationRole(ctx, conn); err != nil {
		return fmt.Errorf("try session_replication_role on the source: %w", err)
	}
	var t ident.Table
	var trigger string
	return each(ctx, conn, alwaysTriggersSQL, []any{&t.Schema, &t.Name, &trigger}, func() {
		if includes(t) {
			f.AlwaysTriggers = append(f.AlwaysTriggers, ident.Quote(trigger)+" of "+t.String())
		}
	})
}
