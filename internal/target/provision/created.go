package provision

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// object is a catalogue row.
type object struct{ Class, OID uint32 }

// objectsSQL lists what can be dropped on its own: not the members of extensions, and not what is part of another object
// (row types, array types, the sequences of identity columns). A partitioned table's key columns are part of it, too: they
// are no objects of their own (objsubid).
const objectsSQL = `
WITH o(class, oid) AS (
	SELECT 'pg_catalog.pg_namespace'::regclass::oid, oid FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_(temp|toast)'
	UNION ALL SELECT 'pg_catalog.pg_class'::regclass, oid FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND relpersistence <> 't'
	UNION ALL SELECT 'pg_catalog.pg_type'::regclass, oid FROM pg_catalog.pg_type
	UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, oid FROM pg_catalog.pg_proc
	UNION ALL SELECT 'pg_catalog.pg_operator'::regclass, oid FROM pg_catalog.pg_operator
	UNION ALL SELECT 'pg_catalog.pg_opclass'::regclass, oid FROM pg_catalog.pg_opclass
	UNION ALL SELECT 'pg_catalog.pg_opfamily'::regclass, oid FROM pg_catalog.pg_opfamily
	UNION ALL SELECT 'pg_catalog.pg_cast'::regclass, oid FROM pg_catalog.pg_cast
	UNION ALL SELECT 'pg_catalog.pg_collation'::regclass, oid FROM pg_catalog.pg_collation
	UNION ALL SELECT 'pg_catalog.pg_conversion'::regclass, oid FROM pg_catalog.pg_conversion
	UNION ALL SELECT 'pg_catalog.pg_extension'::regclass, oid FROM pg_catalog.pg_extension
	UNION ALL SELECT 'pg_catalog.pg_ts_config'::regclass, oid FROM pg_catalog.pg_ts_config
	UNION ALL SELECT 'pg_catalog.pg_ts_dict'::regclass, oid FROM pg_catalog.pg_ts_dict
	UNION ALL SELECT 'pg_catalog.pg_foreign_data_wrapper'::regclass, oid FROM pg_catalog.pg_foreign_data_wrapper
	UNION ALL SELECT 'pg_catalog.pg_foreign_server'::regclass, oid FROM pg_catalog.pg_foreign_server
	UNION ALL SELECT 'pg_catalog.pg_language'::regclass, oid FROM pg_catalog.pg_language
	UNION ALL SELECT 'pg_catalog.pg_transform'::regclass, oid FROM pg_catalog.pg_transform)
SELECT class, oid FROM o WHERE oid >= 16384
	AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.objsubid = 0 AND d.deptype IN ('e', 'i'))
ORDER BY oid`

func readObjects(ctx context.Context, q pgkit.Querier) ([]object, error) {
	rows, err := q.Query(ctx, objectsSQL)
	if err != nil {
		return nil, fmt.Errorf("read objects of the target: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[object])
}

// privilege is one right on something that was there before, and how to give or take it.
type privilege struct {
	Prefix, On, Right, Grantee string
	Grantable                  bool
}

func (p privilege) grant() string {
	sql := p.Prefix + "GRANT " + p.Right + " ON " + p.On + " TO " + p.Grantee
	if p.Grantable {
		sql += " WITH GRANT OPTION"
	}
	return sql
}

func (p privilege) revoke() string {
	return p.Prefix + "REVOKE " + p.Right + " ON " + p.On + " FROM " + p.Grantee
}

// privilegesSQL: rights on schemas, and default privileges. What is not written in the catalogue is what the server takes
// for granted, so that setting the first right and taking it away again compares as no change.
const privilegesSQL = `
WITH grantees AS (SELECT oid, pg_catalog.quote_ident(rolname) AS name FROM pg_catalog.pg_roles UNION ALL SELECT 0, 'PUBLIC'),
kinds(objtype, builtin, name) AS (VALUES ('r', 'r', 'TABLES'), ('S', 's', 'SEQUENCES'), ('f', 'f', 'FUNCTIONS'), ('T', 'T', 'TYPES'), ('n', 'n', 'SCHEMAS')),
acls(prefix, thing, acl) AS (
	SELECT '', 'SCHEMA ' || pg_catalog.quote_ident(nspname), coalesce(nspacl, pg_catalog.acldefault('n', nspowner))
		FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
	UNION ALL
	SELECT 'ALTER DEFAULT PRIVILEGES FOR ROLE ' || pg_catalog.quote_ident(r.rolname) || ' ', k.name,
		coalesce((SELECT d.defaclacl FROM pg_catalog.pg_default_acl d WHERE d.defaclrole = r.oid AND d.defaclnamespace = 0 AND d.defaclobjtype = k.objtype::"char"),
			pg_catalog.acldefault(k.builtin::"char", r.oid))
		FROM pg_catalog.pg_roles r, kinds k WHERE pg_catalog.pg_has_role(r.oid, 'USAGE')
	UNION ALL
	SELECT 'ALTER DEFAULT PRIVILEGES FOR ROLE ' || pg_catalog.quote_ident(r.rolname) || ' IN SCHEMA ' || pg_catalog.quote_ident(n.nspname) || ' ', k.name, d.defaclacl
		FROM pg_catalog.pg_default_acl d JOIN pg_catalog.pg_roles r ON r.oid = d.defaclrole JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace
		JOIN kinds k ON k.objtype::"char" = d.defaclobjtype)
SELECT a.prefix, a.thing, x.privilege_type, g.name, x.is_grantable FROM acls a, LATERAL pg_catalog.aclexplode(a.acl) x JOIN grantees g ON g.oid = x.grantee`

func readPrivileges(ctx context.Context, q pgkit.Querier) (map[privilege]bool, error) {
	rows, err := q.Query(ctx, privilegesSQL)
	if err != nil {
		return nil, fmt.Errorf("read privileges of the target: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[privilege])
	set := make(map[privilege]bool, len(all))
	for _, p := range all {
		set[p] = true
	}
	return set, err
}

// created is the name, in the ledger, of what has no type of pg_identify_object's.
const (
	createdRole      = "role"
	createdPrivilege = "privilege" // the identity is the statement that undoes it; so it is with the comment on schema public
)

// watch compares the target before and after do, in one transaction that sees no changes but its own, and records what do
// has made.
func watch(ctx context.Context, tx pgx.Tx, do func() error) error {
	before, err := readObjects(ctx, tx)
	if err != nil {
		return err
	}
	rights, err := readPrivileges(ctx, tx)
	if err != nil {
		return err
	}
	comment, err := readPublicComment(ctx, tx)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	if err := recordObjects(ctx, tx, before); err != nil {
		return err
	}
	if err := recordPrivileges(ctx, tx, rights); err != nil {
		return err
	}
	after, err := readPublicComment(ctx, tx)
	if err != nil || after == comment || comment == "" { // made anew, it goes as a whole
		return err
	}
	if err := ledger.RecordCreated(ctx, tx, createdPrivilege, comment); err != nil {
		return fmt.Errorf("record changed comment: %w", err)
	}
	return nil
}

// readPublicComment is the statement that sets the comment of schema public to what it is, or empty without that schema.
func readPublicComment(ctx context.Context, q pgkit.Querier) (string, error) {
	var sql string
	err := q.QueryRow(ctx, `SELECT coalesce((SELECT 'COMMENT ON SCHEMA public IS ' || pg_catalog.quote_nullable(pg_catalog.obj_description(oid, 'pg_namespace'))
		FROM pg_catalog.pg_namespace WHERE nspname = 'public'), '')`).Scan(&sql)
	if err != nil {
		return "", fmt.Errorf("read comment of schema public: %w", err)
	}
	return sql, nil
}

func recordObjects(ctx context.Context, tx pgx.Tx, before []object) error {
	old := make(map[object]bool, len(before))
	for _, o := range before {
		old[o] = true
	}
	after, err := readObjects(ctx, tx)
	if err != nil {
		return err
	}
	var classes, oids []uint32
	for _, o := range after {
		if !old[o] {
			classes, oids = append(classes, o.Class), append(oids, o.OID)
		}
	}
	if err := ledger.RecordCreatedObjects(ctx, tx, classes, oids); err != nil {
		return fmt.Errorf("record created objects: %w", err)
	}
	return nil
}

func recordPrivileges(ctx context.Context, tx pgx.Tx, before map[privilege]bool) error {
	after, err := readPrivileges(ctx, tx)
	if err != nil {
		return err
	}
	known := map[string]bool{} // new schemas go as a whole
	for p := range before {
		known[p.On] = true
	}
	var undo []string
	for p := range after {
		if !before[p] && known[p.On] {
			undo = append(undo, p.revoke())
		}
	}
	for p := range before {
		if !after[p] {
			undo = append(undo, p.grant())
		}
	}
	slices.Sort(undo) // "GRANT" before "REVOKE": undone in the other order, since newest goes first
	for _, sql := range undo {
		if err := ledger.RecordCreated(ctx, tx, createdPrivilege, sql); err != nil {
			return fmt.Errorf("record changed privileges: %w", err)
		}
	}
	return nil
}
