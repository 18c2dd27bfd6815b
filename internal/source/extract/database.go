package extract

import (
	"context"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
)

func (c *catalogue) readDatabaseSettings(ctx context.Context, q pgkit.Querier) error {
	return each(ctx, q, `SELECT pg_catalog.split_part(s, '=', 1) FROM pg_catalog.pg_db_role_setting d, pg_catalog.unnest(d.setconfig) s
		WHERE d.setrole = 0 AND d.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) ORDER BY 1`, nil, func(row pgx.Rows) error {
		var name string
		err := row.Scan(&name)
		c.databaseSettings = append(c.databaseSettings, name)
		return err
	})
}

func (c *catalogue) readDatabaseOwn(ctx context.Context, q pgkit.Querier) error {
	return each(ctx, q, `SELECT w.what FROM pg_catalog.pg_database d, LATERAL (VALUES
			('a comment', pg_catalog.shobj_description(d.oid, 'pg_database') IS NOT NULL), ('grants', d.datacl IS NOT NULL)) w(what, has)
		WHERE d.datname = pg_catalog.current_database() AND w.has
		UNION ALL SELECT '' FROM pg_catalog.pg_namespace n WHERE n.nspname = 'public' AND pg_catalog.obj_description(n.oid, 'pg_namespace') <> 'standard public schema'`, nil, func(row pgx.Rows) error {
		var what string
		err := row.Scan(&what)
		if what == "" {
			c.publicComment = true
		} else {
			c.databaseOwn = append(c.databaseOwn, what)
		}
		return err
	})
}
