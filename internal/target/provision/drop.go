package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// DropCreated drops what the ledger says this migration made, newest first and never with CASCADE: what somebody else has
// built on it keeps it. It goes round until nothing more can be dropped, and returns what is left, each with the reason.
// When nothing is left, the stored schema is forgotten, too.
//
// Safe to repeat because an object leaves the record in the transaction that drops it.
func DropCreated(ctx context.Context, target *pgx.Conn) (left []string, err error) {
	created, err := ledger.Created(ctx, target)
	if err != nil {
		return nil, fmt.Errorf("read what the migration made: %w", err)
	}
	left, err = drop(ctx, target, created)
	if err != nil || len(left) > 0 {
		return left, err
	}
	if err := ledger.ForgetSchema(ctx, target); err != nil {
		return nil, fmt.Errorf("forget the stored schema: %w", err)
	}
	return nil, nil
}

// DropJoining is DropCreated for what was made for tables that join a migration under way. The ledger forgets these tables.
func DropJoining(ctx context.Context, target *pgx.Conn) (left []string, err error) {
	joining, err := ledger.ReadJoining(ctx, target)
	if err != nil || len(joining.Tables) == 0 {
		return nil, err
	}
	created, err := ledger.CreatedAfter(ctx, target, joining.AfterCreated)
	if err != nil {
		return nil, fmt.Errorf("read what was made for new tables: %w", err)
	}
	if left, err = drop(ctx, target, created); err != nil || len(left) > 0 {
		return left, err
	}
	return nil, ledger.ForgoJoining(ctx, target)
}

// drop drops objects that were created in this order, and returns what is left.
func drop(ctx context.Context, target *pgx.Conn, created []ledger.CreatedObject) (left []string, err error) {
	slices.Reverse(created)
	if err := dropForeignKeys(ctx, target, created); err != nil {
		return nil, err
	}
	// Rights first: an object that is there to stay would keep the roles it was granted to. Roles last: they own the rest.
	var roles, objects, privileges []ledger.CreatedObject
	for _, o := range created {
		switch o.Type {
		case createdRole:
			roles = append(roles, o)
		case createdPrivilege:
			privileges = append(privileges, o)
		default:
			objects = append(objects, o)
		}
	}
	for _, group := range [][]ledger.CreatedObject{privileges, objects, roles} {
		some, err := dropInPasses(ctx, target, group)
		if err != nil {
			return left, err
		}
		left = append(left, some...)
	}
	return left, nil
}

// dropInPasses drops what it can until a pass drops nothing.
func dropInPasses(ctx context.Context, conn *pgx.Conn, objects []ledger.CreatedObject) ([]string, error) {
	for {
		var kept []ledger.CreatedObject
		var reasons []string
		for _, o := range objects {
			err := dropOne(ctx, conn, o)
			if err != nil && !keepsItself(err) {
				return nil, fmt.Errorf("drop %s %s: %w", o.Type, o.Identity, err)
			}
			if err != nil {
				kept = append(kept, o)
				reasons = append(reasons, o.Type+" "+o.Identity+": "+whyKept(err))
			}
		}
		if len(kept) == 0 || len(kept) == len(objects) {
			return reasons, nil
		}
		objects = kept
	}
}

// whyKept is the server's message; where objects depend on each other its detail names them, and only them.
func whyKept(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "2BP01" && pg.Detail != "" {
		return pg.Message + " (" + strings.ReplaceAll(pg.Detail, "\n", "; ") + ")"
	}
	return postgresMessage(err)
}

// boundedSQL keeps somebody's open transaction from holding up an abort for ever. Names in the record are qualified.
const boundedSQL = "SELECT pg_catalog.set_config('search_path', '', true), pg_catalog.set_config('lock_timeout', '30s', true), pg_catalog.set_config('client_min_messages', 'warning', true)"

func dropOne(ctx context.Context, conn *pgx.Conn, o ledger.CreatedObject) error {
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, boundedSQL); err != nil {
			return err
		}
		statements, err := dropStatements(ctx, tx, o)
		if err != nil {
			return err
		}
		for _, sql := range statements {
			err := inSavepoint(ctx, tx, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, sql)
				return err
			})
			if err != nil && !(o.Type == createdPrivilege && isGone(err)) {
				return err
			}
		}
		return ledger.ForgetCreated(ctx, tx, o)
	})
}

// isGone: the role or the schema that a right was about is not there any more.
func isGone(err error) bool { return hasState(err, "42704") || hasState(err, "3F000") }

// dropStatements: the record has types as pg_identify_object names them, which are, but for two, DROP's own words.
func dropStatements(ctx context.Context, tx pgx.Tx, o ledger.CreatedObject) ([]string, error) {
	kind, identity := o.Type, o.Identity
	switch o.Type {
	case createdPrivilege:
		return []string{o.Identity}, nil
	case createdRole:
		return dropRole(ctx, tx, o.Identity)
	case "foreign-data wrapper":
		kind = "foreign data wrapper"
	case "aggregate":
		if head, ok := strings.CutSuffix(identity, "()"); ok {
			identity = head + "(*)"
		}
	}
	return []string{"DROP " + strings.ToUpper(kind) + " IF EXISTS " + identity}, nil
}

// ownsSQL: default privileges count as owned by their role, but are only rights.
const ownsSQL = `
SELECT EXISTS (SELECT FROM pg_catalog.pg_shdepend d WHERE d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype = 'o'
	AND d.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())) AND d.classid <> 'pg_catalog.pg_default_acl'::regclass)
FROM pg_catalog.pg_roles r WHERE r.rolname = $1`

// dropRole takes its rights in this database with it. DROP OWNED would drop objects too, so it is used only when the role
// has none; else DROP ROLE fails and says what there is.
func dropRole(ctx context.Context, tx pgx.Tx, role string) ([]string, error) {
	var owns bool
	err := tx.QueryRow(ctx, ownsSQL, role).Scan(&owns)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	drop := "DROP ROLE " + ident.Quote(role)
	if owns {
		return []string{drop}, nil
	}
	return []string{"DROP OWNED BY " + ident.Quote(role), drop}, nil
}

// dropForeignKeys takes them off the tables that go, since two tables can refer to each other.
func dropForeignKeys(ctx context.Context, conn *pgx.Conn, created []ledger.CreatedObject) error {
	ours := map[string]bool{}
	for _, o := range created {
		if o.Type == "table" {
			ours[o.Identity] = true
		}
	}
	rows, err := conn.Query(ctx, `SELECT i.identity, k.conname FROM pg_catalog.pg_constraint k, LATERAL pg_catalog.pg_identify_object('pg_catalog.pg_class'::regclass, k.conrelid, 0) i
		WHERE k.contype = 'f' AND k.conparentid = 0`)
	if err != nil {
		return fmt.Errorf("read foreign keys of the target: %w", err)
	}
	type key struct{ Table, Name string }
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByPos[key])
	if err != nil {
		return fmt.Errorf("read foreign keys of the target: %w", err)
	}
	for _, k := range keys {
		if !ours[k.Table] {
			continue
		}
		err := pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, boundedSQL); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "ALTER TABLE "+k.Table+" DROP CONSTRAINT IF EXISTS "+ident.Quote(k.Name))
			return err
		})
		if err != nil && !keepsItself(err) {
			return fmt.Errorf("drop foreign key %s of %s: %w", k.Name, k.Table, err)
		}
	}
	return nil
}

// keepsItself is true when an object could not be dropped for a reason of its own; it is reported as left.
func keepsItself(err error) bool { return fromData(err) || hasState(err, "55P03") }
