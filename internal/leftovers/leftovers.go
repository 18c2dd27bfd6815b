// Package leftovers finds what of a migration is still on a server after it was cleaned up.
//
// In: a session on either side. Out: the things that are there by the names that the migration gives, each with the way to remove it.
// Invariants: nothing is changed. It goes by names alone, on both sides alike, and not by what the migration remembers: what was
// forgotten is found too. What belongs to another migration is not named.
//
// Not here: what is left on purpose.
package leftovers

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
)

// Sought says what On looks for.
const Sought = "slots, publications, bookkeeping, sessions and temporary tables"

// foundSQL: $1 slot, $2 publications, $3 the sessions that have the migration's name, which end with it. A session
// of a migration that has none belongs to a step that runs, and ends with it.
const foundSQL = `
SELECT 'slot', slot_name::text, coalesce(active_pid, 0) FROM pg_replication_slots WHERE slot_name = $1
UNION ALL SELECT 'publication', pubname::text, 0 FROM pg_publication WHERE pubname = ANY($2)
UNION ALL SELECT 'session', application_name, pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE $3 AND pid <> pg_backend_pid()
UNION ALL SELECT 'temporary table', c.oid::regclass::text, 0 FROM pg_class c WHERE c.relpersistence = 't' AND c.relkind = 'r' AND starts_with(c.relname::text, 'timeferry_')
ORDER BY 1, 2`

// On looks on the server that conn is connected to; side is how it is called.
func On(ctx context.Context, conn *pgx.Conn, side, migration string) ([]contract.Leftover, error) {
	publication := contract.PublicationName(migration)
	rows, err := conn.Query(ctx, foundSQL, contract.SlotName(migration), []string{publication, plan.InsertOnlyName(publication)}, pgkit.ApplicationName+` % `+migration)
	if err != nil {
		return nil, fmt.Errorf("look what is left on the %s: %w", side, err)
	}
	var found []contract.Leftover
	var kind, name string
	var pid int
	_, err = pgx.ForEachRow(rows, []any{&kind, &name, &pid}, func() error {
		found = append(found, contract.Leftover{Thing: fmt.Sprintf("%s %s on the %s", kind, name, side), Remedy: remedy(kind, name, pid)})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look what is left on the %s: %w", side, err)
	}
	ours, err := isOurs(ctx, conn, migration)
	if err != nil {
		return nil, fmt.Errorf("look for the bookkeeping on the %s: %w", side, err)
	}
	if ours {
		found = append(found, contract.Leftover{Thing: "schema " + contract.LedgerSchema + " on the " + side, Remedy: "DROP SCHEMA " + contract.LedgerSchema + " CASCADE"})
	}
	return found, nil
}

func remedy(kind, name string, pid int) string {
	switch kind {
	case "slot":
		drop := "SELECT pg_drop_replication_slot(" + ident.Literal(name) + ")"
		if pid != 0 {
			return fmt.Sprintf("end its reader: SELECT pg_terminate_backend(%d); then %s", pid, drop)
		}
		return drop
	case "publication":
		return "DROP PUBLICATION " + ident.Quote(name)
	case "session":
		return fmt.Sprintf("SELECT pg_terminate_backend(%d)", pid)
	}
	return "end the session that has it: its name begins with " + pgkit.ApplicationName
}

// isOurs says whether the bookkeeping there is the migration's: a schema of the name may be anybody's.
func isOurs(ctx context.Context, conn *pgx.Conn, migration string) (ours bool, err error) {
	var exists bool // and is ours to read: a migration's user owns its bookkeeping
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'timeferry' AND c.relname = 'migration'
		AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))`).Scan(&exists)
	if err != nil || !exists {
		return false, err
	}
	err = conn.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM timeferry.migration WHERE name <> $1)", migration).Scan(&ours)
	return ours, err
}
