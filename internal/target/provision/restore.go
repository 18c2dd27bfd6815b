package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// Codes of the problems that restoring reports.
const (
	CodeRoleMissing   = "role-missing"
	CodeOwnerNotSet   = "owner-not-set"
	CodeGrantRefused  = "grant-refused"
	CodePolicyWithout = "policy-left-out"
	CodeNotOurs       = "belongs-to-the-service"
	CodeExtensionRows = "extension-rows-refused"
)

// privilegeRefused is SQLSTATE insufficient_privilege.
const privilegeRefused = "42501"

// restorer runs entries in the transactions of one connection.
type restorer struct {
	exists   map[string]bool      // roles on the target
	usable   map[string]bool      // those that may be made owners by us
	lent     map[string]bool      // rights that owners got for the time of one transaction: the statement that takes them back
	session  string               // prepares a transaction
	hyper    map[ident.Table]bool // hypertables of the target
	problems []contract.Problem
	reported map[string]bool
}

// rolesSQL: an owner can be set by who may become it (and, to go on working on the object, inherits from it).
const (
	rolesSQL       = "SELECT rolname, pg_catalog.pg_has_role(oid, 'USAGE') AND pg_catalog.pg_has_role(oid, 'MEMBER') FROM pg_catalog.pg_roles"
	rolesSQLFrom16 = "SELECT rolname, pg_catalog.pg_has_role(oid, 'USAGE') AND pg_catalog.pg_has_role(oid, 'SET') FROM pg_catalog.pg_roles"
)

func newRestorer(ctx context.Context, q pgkit.Querier) (*restorer, error) {
	version, err := pgkit.Version(ctx, q)
	if err != nil {
		return nil, err
	}
	sql := rolesSQL
	if version >= 160000 {
		sql = rolesSQLFrom16
	}
	session, err := readSession(ctx, q)
	if err != nil {
		return nil, err
	}
	hyper, err := readHypertables(ctx, q)
	if err != nil {
		return nil, err
	}
	r := &restorer{session: session, hyper: hyper, exists: map[string]bool{}, usable: map[string]bool{}, lent: map[string]bool{}, reported: map[string]bool{}}
	rows, err := q.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("read roles of the target: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var usable bool
		if err := rows.Scan(&name, &usable); err != nil {
			return nil, err
		}
		r.exists[name], r.usable[name] = true, usable
	}
	return r, rows.Err()
}

// sessionSettings are what pg_restore sets in its session. Functions may be made before what they use is there.
var sessionSettings = [][2]string{{"search_path", ""}, {"check_function_bodies", "off"}, {"xmloption", "content"}, {"client_min_messages", "warning"},
	{"row_security", "off"}, {"standard_conforming_strings", "on"}, {"default_tablespace", ""}, {"default_table_access_method", "heap"}}

// readSession makes the statement that prepares a transaction, without the settings that this server does not know.
func readSession(ctx context.Context, q pgkit.Querier) (string, error) {
	var names, calls []string
	for _, s := range sessionSettings {
		names = append(names, s[0])
	}
	rows, err := q.Query(ctx, "SELECT name FROM pg_catalog.pg_settings WHERE name = ANY ($1)", names)
	if err != nil {
		return "", fmt.Errorf("read settings of the target: %w", err)
	}
	known, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", fmt.Errorf("read settings of the target: %w", err)
	}
	for _, s := range sessionSettings {
		if slices.Contains(known, s[0]) {
			calls = append(calls, "pg_catalog.set_config("+ident.Literal(s[0])+", "+ident.Literal(s[1])+", true)")
		}
	}
	return "SELECT " + strings.Join(calls, ", "), nil
}

// one restores a single entry in a transaction of its own. If another worker has just done so, nothing happens.
func (r *restorer) one(ctx context.Context, conn *pgx.Conn, e ledger.Entry) error {
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error { return r.within(ctx, tx, e) })
}

// within is one in a transaction of the caller's.
func (r *restorer) within(ctx context.Context, tx pgx.Tx, e ledger.Entry) error {
	if _, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('timeferry.entry'), pg_catalog.hashtext($1))", e.ID); err != nil {
		return fmt.Errorf("lock %s: %w", e, err)
	}
	var done bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM timeferry.restored WHERE entry = $1)", e.ID).Scan(&done); err != nil || done {
		return err
	}
	if _, err := tx.Exec(ctx, r.session); err != nil {
		return fmt.Errorf("prepare session: %w", err)
	}
	if err := r.entry(ctx, tx, e); err != nil {
		return err
	}
	return r.takeBack(ctx, tx)
}

// entry runs the statements, sets the owner, and marks the entry, all in tx.
func (r *restorer) entry(ctx context.Context, tx pgx.Tx, e ledger.Entry) error {
	if isGrant(e) { // a grant of what was lent must not be taken back
		if err := r.takeBack(ctx, tx); err != nil {
			return err
		}
	}
	if sql := r.render(e); sql != "" {
		if err := r.run(ctx, tx, e, sql); err != nil {
			return err
		}
		if err := r.setOwner(ctx, tx, e); err != nil {
			return err
		}
	}
	if err := ledger.MarkRestored(ctx, tx, e.ID, e.String()); err != nil {
		return fmt.Errorf("mark %s: %w", e, err)
	}
	return nil
}

// render puts in the roles that are here. It is empty when none is: then there is nothing to do, and it is reported.
func (r *restorer) render(e ledger.Entry) string {
	if e.Kind == "DEFAULT ACL" && e.Owner != ledger.CurrentRole && !r.mayOwn(e.Owner) {
		return ""
	}
	if e.Kind == "CONSTRAINT" || e.Kind == "FK CONSTRAINT" {
		return r.constraint(e)
	}
	if len(e.Roles) == 0 {
		return e.SQL + e.AfterSQL
	}
	var names []string
	for _, role := range e.Roles {
		switch {
		case role == ledger.PublicRole:
			names = append(names, "PUBLIC")
		case role == ledger.CurrentRole:
			names = append(names, "CURRENT_USER")
		case r.exists[role]:
			names = append(names, ident.Quote(role))
		default:
			r.reportMissing(role)
		}
	}
	if len(names) == 0 {
		if e.Kind == "POLICY" { // never widened to other roles
			r.report(contract.Warning, CodePolicyWithout, e.String(), "none of its roles is on the target: "+strings.Join(e.Roles, ", "), "make the roles, then the policy")
		}
		return ""
	}
	return e.SQL + strings.Join(names, ", ") + e.AfterSQL
}

// constraint leaves out ONLY where the table has become a hypertable by hand, after it was dumped: hypertables refuse it.
func (r *restorer) constraint(e ledger.Entry) string {
	if rest, only := strings.CutPrefix(e.SQL, "ALTER TABLE ONLY "+e.Table.Quote()+"\n"); only && r.hyper[e.Table] {
		return "ALTER TABLE " + e.Table.Quote() + "\n" + rest
	}
	return e.SQL + e.AfterSQL
}

// kindExtensionData is how extract names rows of an extension's configuration table.
const kindExtensionData = "EXTENSION DATA"

func isGrant(e ledger.Entry) bool { return e.Kind == "ACL" || e.Kind == "DEFAULT ACL" }

// run executes. A grant or a comment that the target refuses (on what belongs to the service) is reported and left out, and
// so are rows that an extension's table does not take: it may be of another version.
func (r *restorer) run(ctx context.Context, tx pgx.Tx, e ledger.Entry, sql string) error {
	if !isGrant(e) && e.Kind != "COMMENT" && e.Kind != kindExtensionData {
		return execute(ctx, tx, e, sql)
	}
	if e.Kind == "ACL" && e.Owner != "" && r.usable[e.Owner] {
		// As the one who granted it there. If that one may not here, the grant is made in the owner's name.
		as := "SET LOCAL ROLE " + ident.Quote(e.Owner) + ";\n" + sql + "\nRESET ROLE;"
		err := inSavepoint(ctx, tx, func(tx pgx.Tx) error { return execute(ctx, tx, e, as) })
		if err == nil || !fromData(err) {
			return err
		}
	}
	err := inSavepoint(ctx, tx, func(tx pgx.Tx) error { return execute(ctx, tx, e, sql) })
	if state := stateOf(err); e.Kind == kindExtensionData && fromData(err) { // words of the server's could hold a row's values
		r.report(contract.Warning, CodeExtensionRows, e.String(), "the target does not take these rows (SQLSTATE "+state+"), so they are left out", "put them in by hand if the application needs them")
		return nil
	}
	if !hasState(err, privilegeRefused) {
		return err
	}
	if isGrant(e) {
		r.report(contract.Warning, CodeGrantRefused, e.String(), "the target does not allow: "+firstLine(sql), "ask the target's provider if the application needs it")
	} else {
		r.report(contract.Info, CodeNotOurs, e.String(), "the target does not let its admin comment on this: "+postgresMessage(err), "ask the target's provider if the comment matters")
	}
	return nil
}

// setOwner gives the object to its owner if that role is here; otherwise it stays with us.
func (r *restorer) setOwner(ctx context.Context, tx pgx.Tx, e ledger.Entry) error {
	if e.OwnerSQL == "" || !r.mayOwn(e.Owner) {
		return nil
	}
	if err := r.lendCreate(ctx, tx, e); err != nil {
		return err
	}
	sql := e.OwnerSQL + ident.Quote(e.Owner) + ";"
	err := inSavepoint(ctx, tx, func(tx pgx.Tx) error { return execute(ctx, tx, e, sql) })
	if hasState(err, privilegeRefused) {
		r.report(contract.Warning, CodeOwnerNotSet, e.String(), "the target does not allow "+e.Owner+" to own it: "+postgresMessage(err),
			"it stays with the target's admin; let that role create objects there and set the owner afterwards")
		return nil
	}
	return err
}

func (r *restorer) mayOwn(role string) bool {
	switch {
	case !r.exists[role]:
		r.reportMissing(role)
	case !r.usable[role]:
		key := "usable " + role
		if !r.reported[key] {
			r.reported[key] = true
			r.report(contract.Warning, CodeOwnerNotSet, "role "+role, "the target's admin is no member of it, so what it owns on the source stays with the admin",
				"GRANT "+ident.Quote(role)+" to the target's admin and set the owners afterwards")
		}
	}
	return r.usable[role]
}

// lendCreate lets the future owner create in the place where the object is: without that, a server lets nobody but a
// superuser make it the owner. takeBack ends it in the same transaction.
func (r *restorer) lendCreate(ctx context.Context, tx pgx.Tx, e ledger.Entry) error {
	place, has := "SCHEMA "+ident.Quote(e.Schema), "SELECT pg_catalog.has_schema_privilege($1::name, $2::text, 'CREATE')"
	args := []any{e.Owner, e.Schema}
	if e.Schema == "" { // a schema itself, or another object of the database
		place = "DATABASE " + ident.Quote(tx.Conn().Config().Database)
		has, args = "SELECT pg_catalog.has_database_privilege($1::name, pg_catalog.current_database(), 'CREATE')", []any{e.Owner}
	}
	var allowed bool
	if err := tx.QueryRow(ctx, has, args...).Scan(&allowed); err != nil || allowed {
		return err
	}
	owner := ident.Quote(e.Owner)
	err := inSavepoint(ctx, tx, func(tx pgx.Tx) error { return execute(ctx, tx, e, "GRANT CREATE ON "+place+" TO "+owner) })
	if hasState(err, privilegeRefused) {
		return nil // then setting the owner fails too, and says so
	}
	r.lent["REVOKE CREATE ON "+place+" FROM "+owner] = true
	return err
}

func (r *restorer) takeBack(ctx context.Context, tx pgx.Tx) error {
	for sql := range r.lent {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("take back a right that was lent: %w", err)
		}
	}
	clear(r.lent)
	return nil
}

func (r *restorer) reportMissing(role string) {
	if key := "exists " + role; !r.reported[key] {
		r.reported[key] = true
		r.report(contract.Info, CodeRoleMissing, "role "+role, "it is not on the target: what it owns stays with the target's admin, and grants to it are left out",
			"make the role and set owners and grants afterwards, if they are needed")
	}
}

func (r *restorer) report(severity contract.Severity, code, object, message, remedy string) {
	r.problems = append(r.problems, contract.Problem{Severity: severity, Code: code, Object: object, Message: message, Remedy: remedy})
}

// execute runs statements by the simple protocol, which takes several at once.
func execute(ctx context.Context, tx pgx.Tx, e ledger.Entry, sql string) error {
	if _, err := tx.Conn().PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return explain(e, sql, err)
	}
	return nil
}

// inSavepoint undoes do alone if it fails.
func inSavepoint(ctx context.Context, tx pgx.Tx, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, tx, do)
}
