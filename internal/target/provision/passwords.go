package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// PasswordOptions of SetPasswords. The zero value is good.
type PasswordOptions struct {
	Admin  string // refused, beside the connection's own user
	DryRun bool   // the target is asked, and what it did is rolled back
}

// PasswordsDone is what SetPasswords did, each list in order of the roles' names.
type PasswordsDone struct {
	Set     []string // in a dry run: what would be set
	Missing []string // not on the target
	Refused []contract.RefusedPassword
}

// targetRole is a row of targetRolesSQL.
type targetRole struct {
	Name      string
	Superuser bool
	Login     bool
	Own       bool // the connection's user
}

const targetRolesSQL = `SELECT rolname::text, rolsuper, rolcanlogin, rolname IN (current_user, session_user) FROM pg_catalog.pg_roles`

// SetPasswords sets passwords by role. What reaches the server is a verifier for SCRAM-SHA-256, never a password. The target's
// admin, superusers and the roles of PostgreSQL and of providers are refused; so is, one by one, what the server does not allow.
//
// Safe to repeat: the same password is set again. Each role has a transaction of its own.
func SetPasswords(ctx context.Context, target *pgx.Conn, passwords map[string]string, o PasswordOptions) (PasswordsDone, error) {
	done := PasswordsDone{Set: []string{}, Missing: []string{}}
	roles, err := readTargetRoles(ctx, target)
	if err != nil {
		return done, err
	}
	for _, name := range slices.Sorted(maps.Keys(passwords)) {
		role, exists := roles[name]
		if !exists {
			done.Missing = append(done.Missing, name)
			continue
		}
		reason := refuseRole(role, o.Admin)
		if reason == "" {
			if reason, err = setPassword(ctx, target, name, passwords[name], o.DryRun); err != nil {
				return done, fmt.Errorf("set the password of role %s: %w", name, err)
			}
		}
		if reason != "" {
			done.Refused = append(done.Refused, contract.RefusedPassword{Role: name, Reason: reason})
			continue
		}
		done.Set = append(done.Set, name)
	}
	return done, nil
}

func readTargetRoles(ctx context.Context, target *pgx.Conn) (map[string]targetRole, error) {
	rows, err := target.Query(ctx, targetRolesSQL)
	if err != nil {
		return nil, fmt.Errorf("read roles of the target: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[targetRole])
	if err != nil {
		return nil, fmt.Errorf("read roles of the target: %w", err)
	}
	roles := map[string]targetRole{}
	for _, r := range list {
		roles[r.Name] = r
	}
	return roles, nil
}

// refuseRole says why a role's password is not Timeferry's to set, or "".
func refuseRole(r targetRole, admin string) string {
	switch {
	case r.Own || r.Name == admin:
		return "it is the target's admin, which Timeferry itself logs in as"
	case r.Superuser:
		return "it is a superuser"
	case strings.HasPrefix(r.Name, "pg_") || strings.HasPrefix(r.Name, "rds"):
		return "it is a role of PostgreSQL or of RDS"
	}
	return ""
}

// errDryRun rolls back what a dry run did.
var errDryRun = errors.New("only a dry run")

// setPassword gives words where the password is of no use or the target refuses it, and an error where a later attempt may
// succeed.
func setPassword(ctx context.Context, target *pgx.Conn, role, password string, dryRun bool) (refused string, err error) {
	verifier, err := Verifier(password)
	if err != nil {
		return err.Error(), nil
	}
	err = pgkit.InTx(ctx, target, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "ALTER ROLE "+ident.Quote(role)+" PASSWORD "+ident.Literal(verifier)); err != nil {
			return err
		}
		if dryRun {
			return errDryRun
		}
		return nil
	})
	switch {
	case errors.Is(err, errDryRun):
		return "", nil
	case err != nil && fromData(err) && !strings.HasPrefix(stateOf(err), "XX"): // two at once on one role: that passes
		return "the target says: " + firstLine(postgresMessage(err)), nil
	}
	return "", err
}

// WithoutPassword are those roles of the target that came without a password and may log in: the roles which migration made, by its
// bookkeeping. known is false when that is gone, or another migration's; then they are those of expected that are there.
func WithoutPassword(ctx context.Context, target *pgx.Conn, migration string, expected []string) (names []string, known bool, err error) {
	owner, err := ledger.Owner(ctx, target)
	if err != nil {
		return nil, false, fmt.Errorf("read the ledger: %w", err)
	}
	if owner == migration {
		created, err := ledger.Created(ctx, target)
		if err != nil {
			return nil, false, fmt.Errorf("read the ledger: %w", err)
		}
		known, expected = true, nil
		for _, c := range created {
			if c.Type == createdRole {
				expected = append(expected, c.Identity)
			}
		}
	}
	roles, err := readTargetRoles(ctx, target)
	if err != nil {
		return nil, false, err
	}
	for _, name := range expected {
		if roles[name].Login {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), known, nil
}
