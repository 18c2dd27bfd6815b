package prepare

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
)

// Codes of what can be wrong with a table when its identity is set.
const (
	CodeTableGone       = "table-gone"
	CodeIdentityChanged = "identity-changed"
)

// FixIdentities gives each relation the identity chosen for it, where another one is in force. record is called before the
// change, with what was in force; it may be called again for the same relation after a crash and must then keep the first
// record. ALTER TABLE … REPLICA IDENTITY takes ACCESS EXCLUSIVE: one relation per transaction, without long waits.
func FixIdentities(ctx context.Context, conn *pgx.Conn, ids []plan.Identity, record func(id plan.Identity, previous shape.Identity) error) error {
	return usualPatience.fixIdentities(ctx, conn, ids, record)
}

func (p patience) fixIdentities(ctx context.Context, conn *pgx.Conn, ids []plan.Identity, record func(plan.Identity, shape.Identity) error) error {
	for _, id := range ids {
		if !id.Change || id.Kind == plan.IdentityNothing {
			continue
		}
		now, found, err := readIdentity(ctx, conn, id.Table)
		if err != nil {
			return fmt.Errorf("read replica identity of %s: %w", id.Table, err)
		}
		if !found {
			return tableGone("set replica identity of", id.Table)
		}
		if plan.SameIdentity(now, id.Wanted()) {
			continue
		}
		if err := record(id, now); err != nil {
			return fmt.Errorf("record replica identity of %s: %w", id.Table, err)
		}
		if err := p.alterIdentity(ctx, conn, id.Table, now, id.Wanted()); err != nil {
			return err
		}
	}
	return nil
}

func tableGone(op string, t ident.Table) error {
	return fault.New(fault.Operator, op, t.String(), "run preflight again: the tables changed since", "the table is gone").WithCode(CodeTableGone)
}

// identitySQL: an identity by an index that was dropped has the kind 'i' and no index.
const identitySQL = `
SELECT c.relreplident::text, coalesce(ii.relname, '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index ix ON ix.indrelid = c.oid AND ix.indisreplident LEFT JOIN pg_class ii ON ii.oid = ix.indexrelid
WHERE (n.nspname, c.relname) = ($1, $2) AND c.relkind IN ('r', 'p')`

// IdentityOf is the replica identity that a table has now; found is false when there is no such table.
func IdentityOf(ctx context.Context, q pgkit.Querier, t ident.Table) (now shape.Identity, found bool, err error) {
	if now, found, err = readIdentity(ctx, q, t); err != nil {
		err = fmt.Errorf("read replica identity of %s: %w", t, err)
	}
	return now, found, err
}

func readIdentity(ctx context.Context, q pgkit.Querier, t ident.Table) (now shape.Identity, found bool, err error) {
	var kind string
	err = q.QueryRow(ctx, identitySQL, t.Schema, t.Name).Scan(&kind, &now.Index)
	if errors.Is(err, pgx.ErrNoRows) {
		return shape.Identity{}, false, nil
	}
	if err != nil {
		return shape.Identity{}, false, err
	}
	now.Kind = kind[0]
	return now, true, nil
}

// alterIdentity changes expected into wanted, under the lock that ALTER needs, unless somebody changed it meanwhile.
func (p patience) alterIdentity(ctx context.Context, conn *pgx.Conn, t ident.Table, expected, wanted shape.Identity) error {
	const op = "set replica identity of"
	err := p.underLock(ctx, conn, op, []ident.Table{t}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "LOCK TABLE ONLY "+t.Quote()+" IN ACCESS EXCLUSIVE MODE"); err != nil {
			return err
		}
		now, _, err := readIdentity(ctx, tx, t)
		if err != nil {
			return err
		}
		if !plan.SameIdentity(now, expected) {
			return fault.New(fault.Transient, op, t.String(), "it is looked at again", "somebody changed it at the same moment").WithCode(CodeIdentityChanged)
		}
		_, err = tx.Exec(ctx, "ALTER TABLE ONLY "+t.Quote()+" REPLICA IDENTITY "+identityClause(wanted))
		return err
	})
	return explainAlter(op, t, err)
}

func identityClause(i shape.Identity) string {
	switch i.Kind {
	case plan.IdentityFull:
		return "FULL"
	case plan.IdentityNothing:
		return "NOTHING"
	case plan.IdentityIndex:
		return "USING INDEX " + ident.Quote(i.Index)
	}
	return "DEFAULT"
}

func explainAlter(op string, t ident.Table, err error) error {
	var own *fault.Error
	var state interface{ SQLState() string }
	if err == nil || errors.As(err, &own) || !errors.As(err, &state) {
		return err
	}
	hint := ""
	switch state.SQLState() {
	case "42501":
		hint = "grant the table's owner to the migration's user"
	case "42P01":
		return tableGone(op, t)
	case "42704": // the index
		return fault.New(fault.Operator, op, t.String(), "run preflight again: the tables changed since", "%w", err).WithCode(CodeTableGone)
	}
	return &fault.Error{Class: fault.Classify(err), Op: op, Subject: t.String(), Hint: hint, Err: err}
}
