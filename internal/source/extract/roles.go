package extract

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
	"timeferry/internal/shape"
)

// Roles reads what may be carried over, in name order: all roles but PostgreSQL's own (pg_…) and RDS's (rds…), with the
// user of conn marked as the master. pg_authid is closed on managed services, so there are no passwords. Memberships
// in PostgreSQL's own roles are listed, those in RDS's are too: the target has no such roles, and that is worth a report.
func Roles(ctx context.Context, conn pgkit.Querier) ([]shape.Role, error) {
	version, err := pgkit.Version(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("read roles: %w", err)
	}
	rows, err := conn.Query(ctx, rolesSQL)
	if err != nil {
		return nil, fmt.Errorf("read roles: %w", err)
	}
	roles, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (shape.Role, error) {
		var r shape.Role
		err := row.Scan(&r.Name, &r.Login, &r.Inherit, &r.CreateDB, &r.CreateRole, &r.Superuser, &r.Replication, &r.NoRLS,
			&r.ConnectionLimit, &r.ValidUntil, &r.Master)
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("read roles: %w", err)
	}
	index := make(map[string]int, len(roles))
	for i, r := range roles {
		index[r.Name] = i
	}
	if err := readMemberships(ctx, conn, version, roles, index); err != nil {
		return nil, fmt.Errorf("read memberships of roles: %w", err)
	}
	if err := readRoleSettings(ctx, conn, roles, index); err != nil {
		return nil, fmt.Errorf("read settings of roles: %w", err)
	}
	return roles, nil
}

const rolesSQL = `
SELECT rolname, rolcanlogin, rolinherit, rolcreatedb, rolcreaterole, rolsuper, rolreplication, rolbypassrls, rolconnlimit,
	coalesce(rolvaliduntil::text, ''), rolname = current_user
FROM pg_catalog.pg_roles WHERE rolname !~ '^(pg_|rds)' ORDER BY rolname`

// membershipsSQL: bool_or, since from 16 on a membership may have been granted by several roles.
const membershipsSQL = `
SELECT m.rolname, g.rolname, bool_or(a.admin_option), %s
FROM pg_catalog.pg_auth_members a JOIN pg_catalog.pg_roles m ON m.oid = a.member JOIN pg_catalog.pg_roles g ON g.oid = a.roleid
WHERE m.rolname !~ '^(pg_|rds)' GROUP BY m.rolname, g.rolname ORDER BY 1, 2`

func readMemberships(ctx context.Context, q pgkit.Querier, version int, roles []shape.Role, index map[string]int) error {
	options := "NULL::bool, NULL::bool"
	if version >= 160000 {
		options = "bool_or(a.inherit_option), bool_or(a.set_option)"
	}
	return each(ctx, q, fmt.Sprintf(membershipsSQL, options), nil, func(row pgx.Rows) error {
		var member string
		var m shape.Membership
		if err := row.Scan(&member, &m.Role, &m.Admin, &m.Inherit, &m.Set); err != nil {
			return err
		}
		if i, ok := index[member]; ok {
			roles[i].MemberOf = append(roles[i].MemberOf, m)
		}
		return nil
	})
}

const roleSettingsSQL = `
SELECT r.rolname, s, d.setdatabase <> 0
FROM pg_catalog.pg_db_role_setting d JOIN pg_catalog.pg_roles r ON r.oid = d.setrole, unnest(d.setconfig) s
WHERE d.setdatabase = 0 OR d.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) ORDER BY 1, 3, 2`

func readRoleSettings(ctx context.Context, q pgkit.Querier, roles []shape.Role, index map[string]int) error {
	return each(ctx, q, roleSettingsSQL, nil, func(row pgx.Rows) error {
		var role, setting string
		var s shape.RoleSetting
		if err := row.Scan(&role, &setting, &s.ThisDatabase); err != nil {
			return err
		}
		s.Name, s.Value, _ = strings.Cut(setting, "=")
		if i, ok := index[role]; ok && makesSense(s.Name) {
			roles[i].Settings = append(roles[i].Settings, s)
		}
		return nil
	})
}

// makesSense is false for settings that speak of the source's server: RDS's own, tablespaces, libraries.
func makesSense(name string) bool {
	switch name {
	case "default_tablespace", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries", "role", "session_authorization":
		return false
	}
	return !strings.HasPrefix(name, "rds.") && !strings.HasPrefix(name, "apg_")
}
