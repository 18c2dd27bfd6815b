package prepare

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
)

// PreviousIdentity is one recorded change of a replica identity.
type PreviousIdentity struct {
	Table    ident.Table
	Previous shape.Identity
	Chosen   shape.Identity
}

// RestoreIdentities puts back what FixIdentities changed; call it after DropPublication. left says in sentences which
// relations were left as they are: those that somebody changed meanwhile, and those that are still published and would make
// the application's updates fail. A relation that is gone is passed over. One that cannot be changed does not keep the
// others from it: the errors come joined.
func RestoreIdentities(ctx context.Context, conn *pgx.Conn, previous []PreviousIdentity) (left []string, err error) {
	return usualPatience.restoreIdentities(ctx, conn, previous)
}

func (p patience) restoreIdentities(ctx context.Context, conn *pgx.Conn, previous []PreviousIdentity) (left []string, err error) {
	var failed []error
	for _, was := range previous {
		note, err := p.restoreIdentity(ctx, conn, was)
		if err != nil {
			failed = append(failed, fmt.Errorf("restore replica identity of %s: %w", was.Table, err))
			if ctx.Err() != nil || conn.IsClosed() {
				break
			}
		}
		if note != "" {
			left = append(left, note)
		}
	}
	return left, errors.Join(failed...)
}

func (p patience) restoreIdentity(ctx context.Context, conn *pgx.Conn, was PreviousIdentity) (left string, err error) {
	now, found, err := readIdentity(ctx, conn, was.Table)
	if err != nil || !found || plan.SameIdentity(now, was.Previous) {
		return "", err
	}
	if !plan.SameIdentity(now, was.Chosen) {
		return fmt.Sprintf("replica identity of %s: somebody changed it to %s meanwhile; before the migration it was %s", was.Table, identityClause(now), identityClause(was.Previous)), nil
	}
	if was.Previous.Kind == plan.IdentityIndex {
		exists, err := hasIndex(ctx, conn, was.Table, was.Previous.Index)
		if err != nil {
			return "", err
		}
		if !exists {
			return fmt.Sprintf("replica identity of %s: it went by an index %q that is gone, and stays %s", was.Table, was.Previous.Index, identityClause(now)), nil
		}
	}
	needed, err := stillNeeded(ctx, conn, was)
	if err != nil {
		return "", err
	}
	if needed {
		return fmt.Sprintf("replica identity of %s: another publication has the table, so it stays %s; before the migration it was %s", was.Table, identityClause(now), identityClause(was.Previous)), nil
	}
	return "", p.alterIdentity(ctx, conn, was.Table, now, was.Previous)
}

// hasIndexSQL: an index that can serve as an identity still.
const hasIndexSQL = `
SELECT EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE (n.nspname, c.relname) = ($1, $2) AND x.relname = $3 AND i.indisunique AND i.indisvalid AND i.indimmediate)`

func hasIndex(ctx context.Context, q pgkit.Querier, t ident.Table, index string) (exists bool, err error) {
	err = q.QueryRow(ctx, hasIndexSQL, t.Schema, t.Name, index).Scan(&exists)
	return exists, err
}

// stillNeededSQL: some publication of updates or deletes has the table or one of its ancestors, and the previous identity
// ($3: 'd' without a primary key that works, or 'n') would leave it without one.
const stillNeededSQL = `
WITH relation AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE (n.nspname, c.relname) = ($1, $2)),
family AS (SELECT oid FROM relation UNION SELECT a.relid::oid FROM relation, pg_partition_ancestors(oid) a(relid))
SELECT EXISTS (SELECT FROM family f JOIN pg_class c ON c.oid = f.oid JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_publication_tables pt ON (pt.schemaname, pt.tablename) = (n.nspname, c.relname)
		JOIN pg_publication p ON p.pubname = pt.pubname WHERE p.pubupdate OR p.pubdelete)
	AND ($3 = 'n' OR $3 = 'd' AND NOT EXISTS (SELECT FROM relation r JOIN pg_index i ON i.indrelid = r.oid WHERE i.indisprimary AND i.indisvalid AND i.indimmediate))`

func stillNeeded(ctx context.Context, q pgkit.Querier, was PreviousIdentity) (needed bool, err error) {
	err = q.QueryRow(ctx, stillNeededSQL, was.Table.Schema, was.Table.Name, string(was.Previous.Kind)).Scan(&needed)
	return needed, err
}
