package prepare

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/plan"
)

// leftoversSQL: $1 is the slot's name, $2 and $3 are the publications'. The fence is a setting of this database.
const leftoversSQL = `
SELECT 'replication slot ' || slot_name || CASE WHEN active THEN ' (in use by pid ' || active_pid || ')' ELSE '' END
FROM pg_replication_slots WHERE slot_name = $1
UNION ALL SELECT 'publication ' || pubname FROM pg_publication WHERE pubname IN ($2, $3)
UNION ALL SELECT 'setting of database ' || current_database() || ': ' || setting
FROM pg_db_role_setting s, unnest(s.setconfig) setting
WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) AND setting LIKE 'default\_transaction\_read\_only=%'
ORDER BY 1`

// Leftovers lists what of the migration is on the source still: its slot, its publications, and the database's read-only
// setting, whoever made it. Changed replica identities are not among them: the ledger knows those.
func Leftovers(ctx context.Context, conn *pgx.Conn, migration string) ([]string, error) {
	name := contract.PublicationName(migration)
	var left []string
	var one string
	err := each(ctx, conn, leftoversSQL, []any{&one}, func() { left = append(left, one) },
		contract.SlotName(migration), name, plan.InsertOnlyName(name))
	if err != nil {
		return nil, fmt.Errorf("look for leftovers of %s: %w", migration, err)
	}
	return left, nil
}
