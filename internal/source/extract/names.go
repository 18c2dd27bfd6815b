package extract

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
)

// trueNames are the names that have line breaks: pg_restore's list and comments show spaces in their place. All are
// empty in an ordinary database.
type trueNames struct {
	relations map[object]string // names of schemas, tables, views and sequences
	schemas   map[object]string // the schemas of all kinds of objects
	roles     []string
}

const brokenNamesSQL = `
SELECT 'pg_catalog.pg_namespace'::regclass::oid, oid, nspname::text FROM pg_catalog.pg_namespace WHERE nspname ~ E'[\\n\\r]'
UNION ALL SELECT 'pg_catalog.pg_class'::regclass, oid, relname FROM pg_catalog.pg_class WHERE relname ~ E'[\\n\\r]'`

const brokenSchemasSQL = `
WITH n AS (SELECT oid, nspname::text FROM pg_catalog.pg_namespace WHERE nspname ~ E'[\\n\\r]'),
o(class, oid, schema) AS (
	SELECT 'pg_catalog.pg_class'::regclass::oid, oid, relnamespace FROM pg_catalog.pg_class
	UNION ALL SELECT 'pg_catalog.pg_type'::regclass, oid, typnamespace FROM pg_catalog.pg_type
	UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, oid, pronamespace FROM pg_catalog.pg_proc
	UNION ALL SELECT 'pg_catalog.pg_operator'::regclass, oid, oprnamespace FROM pg_catalog.pg_operator
	UNION ALL SELECT 'pg_catalog.pg_opclass'::regclass, oid, opcnamespace FROM pg_catalog.pg_opclass
	UNION ALL SELECT 'pg_catalog.pg_opfamily'::regclass, oid, opfnamespace FROM pg_catalog.pg_opfamily
	UNION ALL SELECT 'pg_catalog.pg_collation'::regclass, oid, collnamespace FROM pg_catalog.pg_collation
	UNION ALL SELECT 'pg_catalog.pg_conversion'::regclass, oid, connamespace FROM pg_catalog.pg_conversion
	UNION ALL SELECT 'pg_catalog.pg_ts_config'::regclass, oid, cfgnamespace FROM pg_catalog.pg_ts_config
	UNION ALL SELECT 'pg_catalog.pg_ts_dict'::regclass, oid, dictnamespace FROM pg_catalog.pg_ts_dict
	UNION ALL SELECT 'pg_catalog.pg_statistic_ext'::regclass, oid, stxnamespace FROM pg_catalog.pg_statistic_ext
	UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass, oid, connamespace FROM pg_catalog.pg_constraint)
SELECT o.class, o.oid, n.nspname FROM o JOIN n ON n.oid = o.schema`

func readTrueNames(ctx context.Context, q pgkit.Querier) (trueNames, error) {
	names := trueNames{relations: map[object]string{}, schemas: map[object]string{}}
	for _, part := range []struct {
		sql  string
		into map[object]string
	}{{brokenNamesSQL, names.relations}, {brokenSchemasSQL, names.schemas}} {
		err := each(ctx, q, part.sql, nil, func(row pgx.Rows) error {
			var o object
			var name string
			err := row.Scan(&o.class, &o.oid, &name)
			part.into[o] = name
			return err
		})
		if err != nil {
			return names, fmt.Errorf("read names: %w", err)
		}
	}
	err := each(ctx, q, `SELECT rolname FROM pg_catalog.pg_roles WHERE rolname ~ E'[\\n\\r]' ORDER BY 1`, nil, func(row pgx.Rows) error {
		var name string
		err := row.Scan(&name)
		names.roles = append(names.roles, name)
		return err
	})
	if err != nil {
		return names, fmt.Errorf("read names of roles: %w", err)
	}
	return names, nil
}
