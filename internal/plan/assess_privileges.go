package plan

import (
	"fmt"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
)

// Codes of the findings about privileges.
const (
	CodeReplicationPrivilege = "no-replication-privilege"
	CodeSourceCreate         = "no-create-on-source"
	CodeDatabaseOwner        = "not-database-owner"
	CodeTableOwner           = "not-table-owner"
	CodeTableUnreadable      = "table-unreadable"
	CodeRowSecurity          = "row-security"
	CodeTargetCreate         = "no-create-on-target"
	CodeTargetCreateRole     = "no-createrole"
	CodeReplicationRole      = "no-session-replication-role"
)

func assessSourcePrivileges(f facts) []contract.Problem {
	if f.src.Superuser {
		return nil
	}
	user, database := ident.Quote(f.src.User), ident.Quote(f.src.Database)
	var found []contract.Problem
	if !f.src.CanReplicate {
		remedy := "run as a superuser: ALTER ROLE " + user + " REPLICATION"
		if f.src.Managed {
			remedy = "run as the master user: GRANT rds_replication TO " + user
		}
		found = append(found, fatal(CodeReplicationPrivilege, objectSource, "the user "+f.src.User+" may not use replication slots", remedy))
	}
	if !f.src.CanCreate {
		found = append(found, fatal(CodeSourceCreate, objectSource, "the user "+f.src.User+" may not create a publication in the database",
			"run: GRANT CREATE ON DATABASE "+database+" TO "+user))
	}
	if f.spec.Cutover.Fence == "readOnly" && !f.src.OwnsDatabase {
		found = append(found, fatal(CodeDatabaseOwner, objectSource,
			"the user "+f.src.User+" does not own the database, so the cutover cannot set it read-only",
			"run as a role that may: ALTER DATABASE "+database+" OWNER TO "+user+"; or GRANT its owner TO "+user+"; or set cutover.fence to none and stop the writers yourself"))
	}
	return found
}

// assessTableAccess wants ownership of each table: publications and replica identities need it.
func assessTableAccess(f facts) []contract.Problem {
	var found []contract.Problem
	user := ident.Quote(f.src.User)
	for _, t := range f.src.NotOwned {
		owner := "its owner"
		if s, ok := f.table(t); ok {
			owner = ident.Quote(s.Owner)
		}
		found = append(found, fatal(CodeTableOwner, t.String(),
			fmt.Sprintf("the user %s is not a member of the table's owner, so it can neither publish the table nor set its replica identity", f.src.User),
			"run: GRANT "+owner+" TO "+user+"; or exclude the table under tables.exclude"))
	}
	for _, t := range f.src.Unreadable {
		found = append(found, fatal(CodeTableUnreadable, t.String(), "the user "+f.src.User+" may not read the table",
			"run: GRANT SELECT ON "+t.Quote()+" TO "+user))
	}
	for _, t := range f.src.RowSecurity {
		found = append(found, fatal(CodeRowSecurity, t.String(),
			"row security applies to the user "+f.src.User+", so the copy would miss rows that its policies hide",
			"use a user with BYPASSRLS, or run: ALTER TABLE "+t.Quote()+" NO FORCE ROW LEVEL SECURITY; or exclude the table"))
	}
	return found
}

func assessTargetPrivileges(f facts) []contract.Problem {
	if f.dst.Superuser {
		return nil
	}
	user, database := ident.Quote(f.dst.User), ident.Quote(f.dst.Database)
	var found []contract.Problem
	if !f.dst.CanCreate {
		found = append(found, fatal(CodeTargetCreate, objectTarget, "the user "+f.dst.User+" may not create schemas in the database",
			"run: GRANT CREATE ON DATABASE "+database+" TO "+user))
	}
	if f.spec.Roles == "migrate" && !f.dst.CanCreateRole {
		found = append(found, fatal(CodeTargetCreateRole, objectTarget, "the user "+f.dst.User+" may not create roles, but roles are to be migrated",
			"run: ALTER ROLE "+user+" CREATEROLE; or set roles to skip"))
	}
	if !f.dst.CanSetReplicationRole {
		found = append(found, warning(CodeReplicationRole, objectTarget,
			"the user "+f.dst.User+" may not set session_replication_role, so foreign keys and triggers are created only at cutover",
			"on PostgreSQL 15 and later run: GRANT SET ON PARAMETER session_replication_role TO "+user+"; or leave it"))
	}
	return found
}
