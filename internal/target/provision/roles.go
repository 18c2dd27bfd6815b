package provision

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/shape"
	"timeferry/internal/target/ledger"
)

// Codes of the problems that Roles reports.
const (
	CodeRoleAttribute  = "role-attribute-left-out"
	CodeRoleMembership = "role-membership-left-out"
	CodeRoleSetting    = "role-setting-left-out"
)

// RoleOptions says who is who.
type RoleOptions struct {
	SourceMaster string // the source's user of the migration, on the target the admin; empty: the one marked in the list
	TargetAdmin  string // empty: the user of the connection
}

// RolesResult is what Roles did.
type RolesResult struct {
	// Created by this migration, now or in an earlier call; Existing were there before, and stay as they are.
	Created, Existing []string
	// WithoutPassword are those created that may log in: a person must set their passwords.
	WithoutPassword []string
	Problems        []contract.Problem
}

// roleMaker makes roles on one connection.
type roleMaker struct {
	conn    *pgx.Conn
	version int
	options RoleOptions
	existed map[string]bool // before this call
	ours    map[string]bool // recorded as created
	may     struct{ createDB, createRole bool }
	result  RolesResult
}

// Roles makes the roles that the target does not have, their memberships and their settings. Passwords cannot be read on
// managed services, so there are none. SUPERUSER, REPLICATION and BYPASSRLS are left out and reported, and so is whatever
// the target refuses. The admin becomes a member of what it made, or it could not make those roles owners.
//
// Safe to repeat because a role is made and recorded in one transaction. Undone by DropCreated.
func Roles(ctx context.Context, target *pgx.Conn, roles []shape.Role, o RoleOptions) (RolesResult, error) {
	m := &roleMaker{conn: target, options: o, existed: map[string]bool{}, ours: map[string]bool{}}
	if err := m.look(ctx, roles); err != nil {
		return RolesResult{}, fmt.Errorf("read roles of the target: %w", err)
	}
	for _, r := range roles {
		if m.isMaster(r.Name) {
			continue
		}
		if err := m.create(ctx, r); err != nil {
			return m.result, err
		}
	}
	for _, r := range roles {
		if err := m.join(ctx, r); err != nil {
			return m.result, err
		}
		if err := m.configure(ctx, r); err != nil {
			return m.result, err
		}
	}
	return m.result, nil
}

func (m *roleMaker) isMaster(role string) bool { return role == m.options.SourceMaster }

func (m *roleMaker) look(ctx context.Context, roles []shape.Role) error {
	for _, r := range roles {
		if r.Master && m.options.SourceMaster == "" {
			m.options.SourceMaster = r.Name
		}
	}
	var err error
	if m.version, err = pgkit.Version(ctx, m.conn); err != nil {
		return err
	}
	var user string
	if err := m.conn.QueryRow(ctx, "SELECT rolname, rolsuper OR rolcreatedb, rolsuper OR rolcreaterole FROM pg_catalog.pg_roles WHERE rolname = current_user").
		Scan(&user, &m.may.createDB, &m.may.createRole); err != nil {
		return err
	}
	if m.options.TargetAdmin == "" {
		m.options.TargetAdmin = user
	}
	rows, err := m.conn.Query(ctx, "SELECT rolname FROM pg_catalog.pg_roles")
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, n := range names {
		m.existed[n] = true
	}
	created, err := ledger.Created(ctx, m.conn)
	for _, c := range created {
		if c.Type == createdRole {
			m.ours[c.Identity] = true
		}
	}
	return err
}

// create makes one role without memberships.
func (m *roleMaker) create(ctx context.Context, r shape.Role) error {
	m.reportAttributes(r)
	if !m.existed[r.Name] {
		err := pgkit.InTx(ctx, m.conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, m.createSQL(r)); err != nil {
				return err
			}
			return ledger.RecordCreated(ctx, tx, createdRole, r.Name)
		})
		if err != nil {
			return explain(ledger.Entry{Kind: "ROLE", Name: r.Name}, m.createSQL(r), err)
		}
		m.existed[r.Name], m.ours[r.Name] = true, true
	}
	if !m.ours[r.Name] {
		m.result.Existing = append(m.result.Existing, r.Name)
	} else {
		m.result.Created = append(m.result.Created, r.Name)
		if r.Login {
			m.result.WithoutPassword = append(m.result.WithoutPassword, r.Name)
		}
	}
	return m.joinAdmin(ctx, r.Name)
}

func (m *roleMaker) reportAttributes(r shape.Role) {
	var refused []string
	for _, a := range []struct {
		has  bool
		name string
	}{{r.Superuser, "SUPERUSER"}, {r.Replication, "REPLICATION"}, {r.NoRLS, "BYPASSRLS"},
		{r.CreateDB && !m.may.createDB, "CREATEDB"}, {r.CreateRole && !m.may.createRole, "CREATEROLE"}} {
		if a.has {
			refused = append(refused, a.name)
		}
	}
	if len(refused) > 0 {
		m.report(contract.Warning, CodeRoleAttribute, "role "+r.Name, "left out, since a managed target does not allow it: "+strings.Join(refused, ", "),
			"check that the application does not need it")
	}
}

func (m *roleMaker) createSQL(r shape.Role) string {
	words := []string{"CREATE ROLE", ident.Quote(r.Name)}
	for _, a := range []struct {
		has  bool
		name string
	}{{r.Login, "LOGIN"}, {r.Inherit, "INHERIT"}, {r.CreateDB && m.may.createDB, "CREATEDB"}, {r.CreateRole && m.may.createRole, "CREATEROLE"}} {
		if a.has {
			words = append(words, a.name)
		} else {
			words = append(words, "NO"+a.name)
		}
	}
	if r.ConnectionLimit >= 0 {
		words = append(words, "CONNECTION LIMIT", strconv.Itoa(r.ConnectionLimit))
	}
	if r.ValidUntil != "" {
		words = append(words, "VALID UNTIL", ident.Literal(r.ValidUntil))
	}
	return strings.Join(words, " ")
}

// joinAdmin makes the admin a member. From 16 on, whoever makes a role administers it but neither inherits from it nor may
// become it; before, CREATEROLE is enough to grant it to oneself.
func (m *roleMaker) joinAdmin(ctx context.Context, role string) error {
	if role == m.options.TargetAdmin {
		return nil
	}
	has := "SELECT pg_catalog.pg_has_role($1, $2::name, 'USAGE')"
	options := ""
	if m.version >= 160000 {
		has += " AND pg_catalog.pg_has_role($1, $2::name, 'SET')"
		options = " WITH INHERIT TRUE, SET TRUE"
	}
	var member bool
	if err := m.conn.QueryRow(ctx, has, m.options.TargetAdmin, role).Scan(&member); err != nil || member {
		return err
	}
	grant := "GRANT " + ident.Quote(role) + " TO " + ident.Quote(m.options.TargetAdmin) + options
	refused, err := m.try(ctx, grant, func(tx pgx.Tx) error {
		if m.ours[role] {
			return nil // goes with the role
		}
		return ledger.RecordCreated(ctx, tx, createdPrivilege, "REVOKE "+ident.Quote(role)+" FROM "+ident.Quote(m.options.TargetAdmin))
	})
	if refused != "" {
		m.report(contract.Warning, CodeRoleMembership, "role "+role, "the target's admin cannot become a member of it ("+refused+"), so what it owns on the source will belong to the admin",
			"let its administrator run: "+grant)
	}
	return err
}

// join grants the memberships.
func (m *roleMaker) join(ctx context.Context, r shape.Role) error {
	member := r.Name
	if m.isMaster(r.Name) {
		member = m.options.TargetAdmin
	}
	for _, membership := range r.MemberOf {
		if m.isMaster(r.Name) && !strings.HasPrefix(membership.Role, "pg_") && !strings.HasPrefix(membership.Role, "rds") {
			continue // joinAdmin has seen to it
		}
		if err := m.joinOne(ctx, r.Name, member, membership); err != nil {
			return err
		}
	}
	return nil
}

func (m *roleMaker) joinOne(ctx context.Context, name, member string, membership shape.Membership) error {
	object := "role " + name
	group := membership.Role
	switch {
	case strings.HasPrefix(group, "rds"):
		if !m.isMaster(name) {
			m.report(contract.Info, CodeRoleMembership, object, "it is a member of "+group+", which only RDS has", rdsRemedy(group))
		}
		return nil
	case m.isMaster(group):
		group = m.options.TargetAdmin
	case !m.existed[group]:
		m.report(contract.Warning, CodeRoleMembership, object, "it is a member of "+group+", which the target does not have", "check that the application does not need it")
		return nil
	}
	var already bool
	if err := m.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_auth_members a JOIN pg_catalog.pg_roles g ON g.oid = a.roleid JOIN pg_catalog.pg_roles u ON u.oid = a.member
		WHERE (g.rolname, u.rolname) = ($1, $2) AND (a.admin_option OR NOT $3))`, group, member, membership.Admin).Scan(&already); err != nil || already {
		return err
	}
	grant := "GRANT " + ident.Quote(group) + " TO " + ident.Quote(member) + m.membershipOptions(membership)
	refused, err := m.try(ctx, grant, func(tx pgx.Tx) error {
		if m.ours[group] || m.ours[name] {
			return nil // goes with the role
		}
		return ledger.RecordCreated(ctx, tx, createdPrivilege, "REVOKE "+ident.Quote(group)+" FROM "+ident.Quote(member))
	})
	if refused != "" && !m.isMaster(name) {
		m.report(contract.Warning, CodeRoleMembership, object, "the target does not allow its membership in "+membership.Role+": "+refused, "if the application needs it, let the provider run: "+grant)
	}
	return err
}

func rdsRemedy(group string) string {
	if group == "rds_iam" {
		return "it logs in by IAM on the source: on the target it needs a password"
	}
	return ""
}

func (m *roleMaker) membershipOptions(s shape.Membership) string {
	if m.version < 160000 || s.Inherit == nil || s.Set == nil {
		if s.Admin {
			return " WITH ADMIN OPTION"
		}
		return ""
	}
	word := func(b bool) string { return strings.ToUpper(strconv.FormatBool(b)) }
	return " WITH ADMIN " + word(s.Admin) + ", INHERIT " + word(*s.Inherit) + ", SET " + word(*s.Set)
}

// try runs a statement, and with it record, in a transaction. What the target refuses comes back as words, not as an error.
func (m *roleMaker) try(ctx context.Context, sql string, record func(pgx.Tx) error) (refused string, err error) {
	err = pgkit.InTx(ctx, m.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
		if record == nil {
			return nil
		}
		return record(tx)
	})
	if err != nil && fromData(err) {
		return postgresMessage(err), nil
	}
	return "", err
}

func (m *roleMaker) report(severity contract.Severity, code, object, message, remedy string) {
	p := contract.Problem{Severity: severity, Code: code, Object: object, Message: message, Remedy: remedy}
	if !slices.Contains(m.result.Problems, p) {
		m.result.Problems = append(m.result.Problems, p)
	}
}
