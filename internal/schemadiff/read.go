package schemadiff

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// ReadSource reads the source's schema, all of it: what the plan leaves out is judged by Compare.
func ReadSource(ctx context.Context, source *pgx.Conn, plan Plan) (*Catalog, error) {
	return read(ctx, source, func(tx pgx.Tx, c *Catalog) error { return c.readLost(ctx, tx, plan) })
}

// ReadTarget reads the target's schema. Where the versions differ it also has the target render some of the source's
// definitions, in temporary objects of transactions that are rolled back.
func ReadTarget(ctx context.Context, target *pgx.Conn, source *Catalog) (*Catalog, error) {
	c, err := readTarget(ctx, target)
	if err != nil {
		return nil, err
	}
	return c, c.render(ctx, target, source)
}

func readTarget(ctx context.Context, target *pgx.Conn) (*Catalog, error) {
	return read(ctx, target, func(tx pgx.Tx, c *Catalog) error { return c.readHypertables(ctx, tx) })
}

// Check reads both sides and compares them. The connections are those of the migration's users, from pgkit.Dial, which fixes the
// formats of dates and numbers; neither may be in a transaction. Nobody needs to be a superuser, but the target's user must be
// able to use the schemas for the target to render views anew.
func Check(ctx context.Context, source, target *pgx.Conn, plan Plan) (Result, error) {
	var s, t *Catalog
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		if s, err = ReadSource(groupCtx, source, plan); err != nil {
			return fmt.Errorf("read schema of the source: %w", err)
		}
		return nil
	})
	group.Go(func() (err error) {
		if t, err = readTarget(groupCtx, target); err != nil {
			return fmt.Errorf("read schema of the target: %w", err)
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return Result{}, err
	}
	if err := t.render(ctx, target, s); err != nil {
		return Result{}, err
	}
	return Compare(s, t, plan), nil
}

// sessionSQL makes both sides render alike. Money has no other text than that of lc_monetary.
const sessionSQL = `SELECT set_config('search_path', '', true), set_config('quote_all_identifiers', 'on', true), set_config('lc_monetary', 'C', true)`

// read sees one moment of the database.
func read(ctx context.Context, conn *pgx.Conn, more func(pgx.Tx, *Catalog) error) (*Catalog, error) {
	c := &Catalog{roles: map[string]bool{}, relations: map[uint32]relation{}, lost: map[objectID]ident.Table{}, rendered: map[renderedKey]string{}, refused: map[renderedKey]string{}}
	err := pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sessionSQL); err != nil {
			return fmt.Errorf("prepare session: %w", err)
		}
		if err := c.readServer(ctx, tx); err != nil {
			return fmt.Errorf("read server: %w", err)
		}
		if err := c.readRelations(ctx, tx); err != nil {
			return fmt.Errorf("read relations: %w", err)
		}
		r := reader{catalog: c, words: map[string]string{}, byID: map[objectID]*Object{}}
		for _, q := range queries {
			if c.Version < q.from {
				continue
			}
			if err := r.query(ctx, tx, q); err != nil {
				return fmt.Errorf("read objects of kind %s: %w", q.kind, err)
			}
		}
		if err := r.comments(ctx, tx); err != nil {
			return fmt.Errorf("read comments: %w", err)
		}
		if err := r.grants(ctx, tx); err != nil {
			return fmt.Errorf("read grants: %w", err)
		}
		return more(tx, c)
	})
	return c, err
}

func (c *Catalog) readServer(ctx context.Context, q pgkit.Querier) error {
	if err := q.QueryRow(ctx, "SELECT current_setting('server_version_num')::int, current_user").Scan(&c.Version, &c.User); err != nil {
		return err
	}
	return each(ctx, q, "SELECT rolname FROM pg_roles", nil, func(row pgx.Rows) error {
		var name string
		err := row.Scan(&name)
		c.roles[name] = true
		return err
	})
}

func (c *Catalog) readRelations(ctx context.Context, q pgkit.Querier) error {
	return each(ctx, q, prelude+`SELECT oid, nspname, relname, relkind::text, coalesce(CASE WHEN relispartition THEN pg_partition_root(oid)::oid END, oid) FROM rel`, nil, func(row pgx.Rows) error {
		var oid uint32
		var r relation
		err := row.Scan(&oid, &r.name.Schema, &r.name.Name, &r.kind, &r.root)
		c.relations[oid] = r
		return err
	})
}

// lostSQL follows the dependencies from the tables that are left out to everything that cannot be without them. A view
// depends on nothing itself: its rule does, and the rule is the view.
const lostSQL = `
WITH RECURSIVE gone(classid, objid, needs) AS (
	SELECT 'pg_class'::regclass::oid, r, r FROM unnest($1::oid[]) r
	UNION
	SELECT x.classid, x.objid, g.needs FROM gone g, LATERAL (
		SELECT d.classid, d.objid FROM pg_depend d WHERE d.refclassid = g.classid AND d.refobjid = g.objid AND d.deptype NOT IN ('e', 'x')
		UNION ALL
		SELECT 'pg_class'::regclass, w.ev_class FROM pg_rewrite w WHERE g.classid = 'pg_rewrite'::regclass AND w.oid = g.objid AND w.rulename = '_RETURN') x)
SELECT c.relname, g.objid, min(g.needs::bigint)::oid FROM gone g JOIN pg_class c ON c.oid = g.classid GROUP BY 1, 2`

func (c *Catalog) readLost(ctx context.Context, q pgkit.Querier, plan Plan) error {
	scope := newScope(plan, c)
	var out []uint32
	for oid, r := range c.relations {
		if isTable(r.kind) && (!scope.includes(oid) || scope.flattened(oid)) {
			out = append(out, oid)
		}
	}
	if len(out) == 0 {
		return nil
	}
	err := each(ctx, q, lostSQL, []any{out}, func(row pgx.Rows) error {
		var id objectID
		var needs uint32
		err := row.Scan(&id.class, &id.oid, &needs)
		c.lost[id] = c.relations[needs].name
		return err
	})
	if err != nil {
		return fmt.Errorf("read what needs tables that are left out: %w", err)
	}
	return nil
}

func isTable(relkind string) bool { return relkind == "r" || relkind == "p" || relkind == "f" }

// hypertablesSQL: the first dimension is the one of time.
const hypertablesSQL = `
SELECT c.oid, h.hypertable_schema, h.hypertable_name,
	coalesce((SELECT d.column_name FROM timescaledb_information.dimensions d WHERE (d.hypertable_schema, d.hypertable_name) = (h.hypertable_schema, h.hypertable_name) AND d.dimension_number = 1), ''),
	coalesce((SELECT string_agg(d.column_name, ', ' ORDER BY d.dimension_number) FROM timescaledb_information.dimensions d WHERE (d.hypertable_schema, d.hypertable_name) = (h.hypertable_schema, h.hypertable_name) AND d.dimension_number > 1), '')
FROM timescaledb_information.hypertables h JOIN pg_namespace n ON n.nspname = h.hypertable_schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = h.hypertable_name`

var hypertableProperties = []string{"time column", "space column"}

func (c *Catalog) readHypertables(ctx context.Context, q pgkit.Querier) error {
	var installed bool
	if err := q.QueryRow(ctx, "SELECT to_regclass('timescaledb_information.dimensions') IS NOT NULL").Scan(&installed); err != nil {
		return fmt.Errorf("look for TimescaleDB: %w", err)
	}
	if !installed {
		return nil
	}
	err := each(ctx, q, hypertablesSQL, nil, func(row pgx.Rows) error {
		o := &Object{Kind: Hypertable, names: hypertableProperties, values: make([]string, 2)}
		err := row.Scan(&o.relid, &o.Table.Schema, &o.Table.Name, &o.values[0], &o.values[1])
		o.Name, o.id = o.Table.String(), objectID{class: "hypertable", oid: o.relid}
		if _, ours := c.relations[o.relid]; ours {
			c.Objects = append(c.Objects, o)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read hypertables: %w", err)
	}
	return nil
}

func each(ctx context.Context, q pgkit.Querier, sql string, args []any, read func(pgx.Rows) error) error {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := read(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
