package provision_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/shape"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/provision"
	"timeferry/internal/testkit/pgtest"
)

// mayLogin says whether a role can log in with a password, as a client of its own does.
func mayLogin(t *testing.T, d *pgtest.Database, role, password string) bool {
	t.Helper()
	e := d.Endpoint
	e.User, e.Password = role, password
	conn, err := pgkit.Dial(t.Context(), e, "test")
	if err != nil {
		require.ErrorContains(t, err, "password")
		return false
	}
	require.NoError(t, conn.Close(context.Background()))
	return true
}

func TestPasswordsAreSetAsVerifiers(t *testing.T) {
	dst := pgtest.Target(t)
	conn := dst.MasterConn(t)
	const quoted = `pw "Odd" naïve \ $1`
	made := []string{quoted, "pw_app", "pw_group"}
	require.NoError(t, ledger.Create(t.Context(), conn, "test"))
	_, err := provision.Roles(t.Context(), conn, []shape.Role{
		{Name: quoted, Login: true, Inherit: true, ConnectionLimit: -1}, {Name: "pw_app", Login: true, ConnectionLimit: -1}, {Name: "pw_group", ConnectionLimit: -1}},
		provision.RoleOptions{})
	require.NoError(t, err)
	dropRoles(t, dst, made...)
	dst.Exec(t, "CREATE ROLE pw_foreign LOGIN; CREATE ROLE pw_super SUPERUSER LOGIN; CREATE ROLE rdspw LOGIN; ALTER ROLE pw_foreign PASSWORD 'before'")
	dropRoles(t, dst, "pw_foreign", "pw_super", "rdspw")

	passwords := map[string]string{"pw_app": `it's "1" \ $$`, quoted: "пароль-ü", "pw_nobody": "x", strings.Repeat("pw_app", 20): "x", "PW_APP": "x", "pw_foreign": "mine now", "pw_super": "x",
		"rdspw": "x", "pg_monitor": "x", dst.Master.User: "x", "pw_group": "pa\u0308ss"}
	options := provision.PasswordOptions{DryRun: true}
	stored := "SELECT string_agg(rolname || ' ' || coalesce(rolpassword, '-'), ', ' ORDER BY rolname) FROM pg_authid WHERE rolname IN ('pw_app', 'pw_foreign', 'pw_group', 'pw_super', 'rdspw', 'tsdbadmin') OR rolname ~ 'Odd'"
	before := dst.QueryValue(t, stored)
	rehearsed, err := provision.SetPasswords(t.Context(), conn, passwords, options)
	require.NoError(t, err)
	require.Equal(t, before, dst.QueryValue(t, stored), "a dry run leaves everything as it is")

	options.DryRun = false
	for range 2 {
		done, err := provision.SetPasswords(t.Context(), conn, passwords, options)
		require.NoError(t, err)
		require.Equal(t, rehearsed, done)
		require.Equal(t, []string{quoted, "pw_app"}, done.Set)
		require.Equal(t, []string{"PW_APP", "pw_app" + strings.Repeat("pw_app", 19), "pw_nobody"}, done.Missing, "a name is never folded or cut")
		reasons := map[string]string{}
		for _, r := range done.Refused {
			reasons[r.Role] = r.Reason
		}
		require.Len(t, reasons, 6)
		require.Contains(t, reasons["pw_foreign"], "permission denied")
		require.Contains(t, reasons["pw_super"], "superuser")
		require.Contains(t, reasons["rdspw"], "RDS")
		require.Contains(t, reasons["pg_monitor"], "role of PostgreSQL")
		require.Contains(t, reasons[dst.Master.User], "admin")
		require.Contains(t, reasons["pw_group"], "SASLprep")
	}
	require.True(t, mayLogin(t, dst, "pw_app", `it's "1" \ $$`))
	require.False(t, mayLogin(t, dst, "pw_app", "wrong"))
	require.True(t, mayLogin(t, dst, quoted, "пароль-ü"))
	require.True(t, mayLogin(t, dst, "pw_foreign", "before"))
	require.Equal(t, "2", dst.QueryValue(t, "SELECT count(*) FROM pg_authid WHERE rolpassword LIKE 'SCRAM-SHA-256$4096:%' AND (rolname = 'pw_app' OR rolname ~ 'Odd')"))
}

// The administrator's other name is refused too: it may be a member of the role that the connection uses.
func TestTheAdminOfTheSpecIsRefused(t *testing.T) {
	dst := pgtest.Target(t)
	conn := dst.MasterConn(t)
	_, err := conn.Exec(t.Context(), "CREATE ROLE pw_admin LOGIN")
	require.NoError(t, err)
	dropRoles(t, dst, "pw_admin")
	done, err := provision.SetPasswords(t.Context(), conn, map[string]string{"pw_admin": "x"}, provision.PasswordOptions{Admin: "pw_admin"})
	require.NoError(t, err)
	require.Equal(t, []contract.RefusedPassword{{Role: "pw_admin", Reason: "it is the target's admin, which Timeferry itself logs in as"}}, done.Refused)
}

// The server that logs every statement logs no password.
func TestTheServersLogHasNoPassword(t *testing.T) {
	dst := pgtest.OwnTarget(t, map[string]string{"log_statement": "all"})
	conn := dst.MasterConn(t)
	_, err := conn.Exec(t.Context(), "CREATE ROLE pw_logged LOGIN")
	require.NoError(t, err)
	done, err := provision.SetPasswords(t.Context(), conn, map[string]string{"pw_logged": "hunter2hunter2"}, provision.PasswordOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"pw_logged"}, done.Set)
	require.True(t, mayLogin(t, dst, "pw_logged", "hunter2hunter2"))
	log, err := os.ReadFile(dst.Server.LogFile())
	require.NoError(t, err)
	require.Contains(t, string(log), `ALTER ROLE "pw_logged" PASSWORD 'SCRAM-SHA-256$`)
	require.NotContains(t, string(log), "hunter2hunter2")
}

func TestWithoutPasswordFollowsTheLedgerThenTheReport(t *testing.T) {
	dst := pgtest.Target(t)
	conn := dst.MasterConn(t)
	require.NoError(t, ledger.Create(t.Context(), conn, "test"))
	_, err := provision.Roles(t.Context(), conn, []shape.Role{{Name: "pw_login", Login: true, ConnectionLimit: -1}, {Name: "pw_nologin", ConnectionLimit: -1}}, provision.RoleOptions{})
	require.NoError(t, err)
	dropRoles(t, dst, "pw_login", "pw_nologin")
	check := func(migration string, expected []string, wantKnown bool, want ...string) {
		t.Helper()
		names, known, err := provision.WithoutPassword(t.Context(), conn, migration, expected)
		require.NoError(t, err)
		require.Equal(t, wantKnown, known)
		require.Equal(t, want, names)
	}
	check("test", []string{"pw_nologin"}, true, "pw_login")
	check("another", nil, false)
	require.NoError(t, ledger.Drop(t.Context(), conn, "test"))
	check("test", nil, false)
	check("test", []string{"pw_login", "pw_gone", "pw_login"}, false, "pw_login")
}
