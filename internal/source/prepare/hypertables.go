package prepare

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
)

// rowsTimeout bounds each question about rows: an index on the time column answers it at once, a whole read of a large
// table is not worth the load on the source.
const rowsTimeout = "5s"

// ReadHypertables reads what preflight must know of the tables that are to become hypertables, beyond ReadFacts, whose
// tables these are. Names that are not among them are left out. It changes nothing.
func ReadHypertables(ctx context.Context, conn *pgx.Conn, tables []shape.Table, hypertables map[ident.Table]contract.Hypertable) (map[ident.Table]plan.HypertableFacts, error) {
	byTable := map[ident.Table]plan.HypertableFacts{}
	for _, t := range tables {
		h, wanted := hypertables[t.Table]
		if !wanted {
			continue
		}
		facts, err := readHypertable(ctx, conn, t, h)
		if err != nil {
			return nil, fmt.Errorf("read what speaks against the hypertable %s: %w", t.Table, err)
		}
		byTable[t.Table] = facts
	}
	return byTable, nil
}

func readHypertable(ctx context.Context, conn *pgx.Conn, t shape.Table, h contract.Hypertable) (f plan.HypertableFacts, err error) {
	for _, read := range []func(context.Context, *pgx.Conn, shape.Table, *plan.HypertableFacts) error{
		readKeyUsers, readExclusions, readUnfit, readPartitionOwn,
	} {
		if err := read(ctx, conn, t, &f); err != nil {
			return f, err
		}
	}
	if h.SpaceColumn != "" {
		if err := conn.QueryRow(ctx, notHashableSQL, t.OID, h.SpaceColumn).Scan(&f.NotHashable); err != nil {
			return f, err
		}
	}
	for _, c := range t.Columns {
		if c.Name != h.TimeColumn {
			continue
		}
		name := ident.Quote(c.Name)
		if !c.NotNull {
			if f.Nulls, err = askRows(ctx, conn, t.Table, name+" IS NULL"); err != nil {
				return f, err
			}
		}
		if c.TypeOID == pgDate || c.TypeOID == pgTimestamp || c.TypeOID == pgTimestamptz {
			f.OutOfRange, err = askRows(ctx, conn, t.Table, name+" = '-infinity' OR "+name+" > '294246-12-31' AND "+name+" < 'infinity'")
		}
	}
	return f, err
}

// OIDs of types with times that no chunk can hold.
const (
	pgDate        = 1082
	pgTimestamp   = 1114
	pgTimestamptz = 1184
)

// askRows says whether the table has a row like that, unless that takes too long.
func askRows(ctx context.Context, conn *pgx.Conn, table ident.Table, condition string) (found plan.Finding, err error) {
	var exists bool
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = '"+rowsTimeout+"'"); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+table.Quote()+" WHERE "+condition+")").Scan(&exists)
	})
	var refused *pgconn.PgError
	switch {
	case err == nil && exists:
		return plan.FoundSome, nil
	case err == nil:
		return plan.FoundNone, nil
	case errors.As(err, &refused) && refused.Code == "57014" && ctx.Err() == nil:
		return plan.NotKnown, nil
	case errors.As(err, &refused) && refused.Code == "42501":
		return plan.NotAllowed, nil
	}
	return "", err
}

// keyUsersSQL: a foreign key depends on the index of the key, a view that groups by a primary key on its constraint.
const keyUsersSQL = `
SELECT i.relname, 'foreign key', k.conname, n.nspname, c.relname
FROM pg_constraint k JOIN pg_class i ON i.oid = k.conindid JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = $1
UNION ALL
SELECT DISTINCT i.relname, 'view', v.relname, n.nspname, v.relname
FROM pg_constraint k JOIN pg_class i ON i.oid = k.conindid
JOIN pg_depend d ON d.refclassid = 'pg_constraint'::regclass AND d.refobjid = k.oid AND d.classid = 'pg_rewrite'::regclass
JOIN pg_rewrite w ON w.oid = d.objid JOIN pg_class v ON v.oid = w.ev_class JOIN pg_namespace n ON n.oid = v.relnamespace
WHERE k.conrelid = $1 ORDER BY 1, 2, 4, 5, 3`

func readKeyUsers(ctx context.Context, conn *pgx.Conn, t shape.Table, f *plan.HypertableFacts) error {
	var u plan.KeyUser
	return each(ctx, conn, keyUsersSQL, []any{&u.Index, &u.Kind, &u.Name, &u.From.Schema, &u.From.Name}, func() { f.KeyUsers = append(f.KeyUsers, u) }, t.OID)
}

const exclusionsSQL = `
SELECT k.conname, ARRAY(SELECT a.attname::text FROM unnest(k.conkey, k.conexclop) WITH ORDINALITY u(attnum, operator, n)
	JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum JOIN pg_operator o ON o.oid = u.operator WHERE o.oprname = '=' ORDER BY u.n)
FROM pg_constraint k WHERE k.contype = 'x' AND k.conrelid = $1 ORDER BY 1`

func readExclusions(ctx context.Context, conn *pgx.Conn, t shape.Table, f *plan.HypertableFacts) error {
	var name string
	var columns []string
	return each(ctx, conn, exclusionsSQL, []any{&name, &columns}, func() {
		f.Exclusions = append(f.Exclusions, plan.Exclusion{Name: name, Columns: columns})
	}, t.OID)
}

// unfitSQL: a trigger that is switched off is left out on a hypertable anyway.
const unfitSQL = `
SELECT ARRAY(SELECT conname::text FROM pg_constraint WHERE contype = 'c' AND connoinherit AND conrelid = c.oid ORDER BY 1),
	ARRAY(SELECT rulename::text FROM pg_rewrite WHERE ev_class = c.oid AND rulename <> '_RETURN' ORDER BY 1),
	ARRAY(SELECT tgname::text FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal AND tgtype & 1 = 1 AND tgenabled IN ('O', 'A')
		AND (tgoldtable IS NOT NULL OR tgnewtable IS NOT NULL) ORDER BY 1),
	c.relrowsecurity
FROM pg_class c WHERE c.oid = $1`

func readUnfit(ctx context.Context, conn *pgx.Conn, t shape.Table, f *plan.HypertableFacts) error {
	return conn.QueryRow(ctx, unfitSQL, t.OID).Scan(&f.NoInherit, &f.Rules, &f.TransitionTriggers, &f.RowSecurity)
}

// notHashableSQL knows of plain types only; enums, ranges, arrays and composites pass.
const notHashableSQL = `
WITH RECURSIVE base(oid) AS (
	SELECT atttypid FROM pg_attribute WHERE attrelid = $1 AND attname = $2 AND NOT attisdropped
	UNION ALL SELECT t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'd')
SELECT EXISTS (SELECT FROM base b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'b' AND t.typcategory <> 'A'
	AND NOT EXISTS (SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod AND m.amname = 'hash'
		WHERE o.opcdefault AND (o.opcintype = t.oid OR EXISTS (SELECT FROM pg_cast x WHERE x.castsource = t.oid AND x.casttarget = o.opcintype AND x.castmethod = 'b' AND x.castcontext = 'i'))))`

// partitionOwnSQL finds what partitions have that is no part of the root's: pg_trigger.tgparentid came with PostgreSQL 13,
// and before 15 copies of the root's triggers count as internal.
const partitionOwnSQL = `
WITH leaf AS (SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($2::oid[]))
SELECT l.nspname, l.relname, o.kind, o.name FROM leaf l, LATERAL (
	SELECT 'index', i.relname::text FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = l.oid AND NOT x.indisunique
		AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.oid) AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.contype = 'x')
	UNION ALL SELECT 'constraint', k.conname::text FROM pg_constraint k
		WHERE k.conrelid = l.oid AND k.contype IN ('c', 'f', 'x') AND k.conparentid = 0 AND k.coninhcount = 0
	UNION ALL SELECT 'default', a.attname::text FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
		WHERE d.adrelid = l.oid AND a.attgenerated = '' AND pg_get_expr(d.adbin, d.adrelid) IS DISTINCT FROM
			(SELECT pg_get_expr(rd.adbin, rd.adrelid) FROM pg_attrdef rd JOIN pg_attribute ra ON ra.attrelid = rd.adrelid AND ra.attnum = rd.adnum WHERE rd.adrelid = $1 AND ra.attname = a.attname)
	UNION ALL SELECT 'trigger', g.tgname::text FROM pg_trigger g WHERE g.tgrelid = l.oid AND NOT g.tgisinternal AND coalesce(to_jsonb(g)->>'tgparentid', '0') = '0'
	UNION ALL SELECT 'rule', w.rulename::text FROM pg_rewrite w WHERE w.ev_class = l.oid AND w.rulename <> '_RETURN'
	UNION ALL SELECT 'policy', p.polname::text FROM pg_policy p WHERE p.polrelid = l.oid) o(kind, name)
ORDER BY 3, 1, 2, 4`

func readPartitionOwn(ctx context.Context, conn *pgx.Conn, t shape.Table, f *plan.HypertableFacts) error {
	if len(t.Leaves) == 0 {
		return nil
	}
	oids := make([]uint32, len(t.Leaves))
	for i, l := range t.Leaves {
		oids[i] = l.OID
	}
	var o plan.PartitionOwn
	return each(ctx, conn, partitionOwnSQL, []any{&o.Partition.Schema, &o.Partition.Name, &o.Kind, &o.Name}, func() { f.PartitionOwn = append(f.PartitionOwn, o) }, t.OID, oids)
}
