package pgkit_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
	"timeferry/internal/testkit/pgtest"
)

// requireFault dials both ways and checks that both failures tell the same, without the password.
func requireFault(t *testing.T, e pgkit.Endpoint, code string, class fault.Class, words ...string) {
	t.Helper()
	_, ordinary := pgkit.Dial(context.Background(), e, "test")
	_, replication := pgkit.DialReplication(context.Background(), e, "test")
	for _, err := range []error{ordinary, replication} {
		var f *fault.Error
		require.ErrorAs(t, err, &f)
		require.Equal(t, code, f.Code, "%v", err)
		require.Equal(t, class, f.Class)
		require.NotEmpty(t, f.Hint)
		require.NotContains(t, err.Error(), e.Password)
		require.NotContains(t, err.Error(), "\n")
		for _, word := range words {
			require.ErrorContains(t, err, word)
		}
	}
}

func TestTLSIsCheckedAsAsked(t *testing.T) {
	src := pgtest.OwnTLSSource(t, pgserver.TLS{})
	for _, mode := range []string{"prefer", "require", "verify-ca", "verify-full"} {
		for _, host := range []string{"127.0.0.1", "localhost"} {
			e := src.Master
			e.SSLMode, e.Host = mode, host
			conn, err := pgkit.Dial(context.Background(), e, "test")
			require.NoError(t, err)
			var encrypted bool
			require.NoError(t, conn.QueryRow(context.Background(), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&encrypted))
			require.True(t, encrypted, mode)
			require.NoError(t, conn.Close(context.Background()))
			replication, err := pgkit.DialReplication(context.Background(), e, "test")
			require.NoError(t, err)
			require.NoError(t, replication.Close(context.Background()))
		}
	}
}

func TestACertificateThatDoesNotPass(t *testing.T) {
	src := pgtest.OwnTLSSource(t, pgserver.TLS{Names: []string{"db.example.com"}})
	other := pgtest.OwnTLSSource(t, pgserver.TLS{})
	notCerts := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(notCerts, []byte("nothing"), 0o600))
	for name, c := range map[string]struct {
		server     *pgtest.Database
		mode, root string
		code       string
		words      []string
	}{
		"another name":         {src, "verify-full", src.Server.RootCert(), pgkit.CodeTLS, []string{"TLS:", "for db.example.com, not for \"127.0.0.1\"", "verify-ca"}},
		"another authority":    {other, "verify-full", src.Server.RootCert(), pgkit.CodeTLS, []string{"TLS:", "not trusted", "sslRootCert: rds"}},
		"verify-ca":            {src, "verify-ca", other.Server.RootCert(), pgkit.CodeTLS, []string{"TLS:", "not trusted"}},
		"no authority":         {other, "verify-full", "", pgkit.CodeTLS, []string{"TLS:", "not trusted"}},
		"no such file":         {src, "verify-full", "/nowhere/root.pem", pgkit.CodeBadEndpoint, []string{"sslRootCert", "/nowhere/root.pem"}},
		"no certificate in it": {src, "verify-full", notCerts, pgkit.CodeBadEndpoint, []string{notCerts, "PEM"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := c.server.Master
			e.SSLMode, e.SSLRootCert = c.mode, c.root
			requireFault(t, e, c.code, fault.Operator, c.words...)
		})
	}
}

func TestAServerWithoutTLS(t *testing.T) {
	src := pgtest.Source(t)
	e := src.Master
	for _, mode := range []string{"require", "verify-full"} {
		e.SSLMode = mode
		requireFault(t, e, pgkit.CodeTLS, fault.Operator, "TLS: the server has it switched off", mode)
	}
}

func TestAServerThatWantsTLS(t *testing.T) {
	src := pgtest.OwnTLSSource(t, pgserver.TLS{Only: true})
	e := src.Master
	e.SSLMode = "disable"
	requireFault(t, e, pgkit.CodeNotAllowed, fault.Operator, "pg_hba.conf", "require or better")
	e.SSLMode, e.SSLRootCert = "require", ""
	conn, err := pgkit.Dial(context.Background(), e, "test")
	require.NoError(t, err)
	require.NoError(t, conn.Close(context.Background()))

	e.Password = "wrong-password"
	requireFault(t, e, pgkit.CodeWrongCredentials, fault.Operator, "login")
}

func TestMissingRights(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, `CREATE ROLE dial_weak LOGIN PASSWORD 'dial weak secret'; REVOKE CONNECT ON DATABASE `+src.Endpoint.Database+` FROM PUBLIC`)
	t.Cleanup(func() { src.Exec(t, `DROP ROLE dial_weak`) })
	e := src.Master
	e.User, e.Password = "dial_weak", "dial weak secret"
	requireFault(t, e, pgkit.CodeNotAllowed, fault.Operator, "the user lacks a right")
}

func TestASilentServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close() // the kernel accepts, nobody answers
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	e := pgkit.Endpoint{Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, Database: "d", User: "u", Password: "secret"}
	_, err = pgkit.Dial(ctx, e, "test")
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, pgkit.CodeUnreachable, f.Code)
	require.Equal(t, fault.Transient, f.Class)
	require.ErrorContains(t, err, "timeout: the port is open, but no PostgreSQL answers")
}

func TestThePasswordIsAskedForAtEachConnection(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, `CREATE ROLE dial_rotated LOGIN REPLICATION PASSWORD 'first secret'`)
	t.Cleanup(func() { src.Exec(t, `DROP ROLE dial_rotated`) })
	now, asked := "first secret", 0
	e := src.Master
	e.User, e.Password = "dial_rotated", "not looked at"
	e.PasswordFunc = func(context.Context) (string, error) { asked++; return now, nil }
	dial := func() {
		t.Helper()
		conn, err := pgkit.Dial(context.Background(), e, "test")
		require.NoError(t, err)
		require.NoError(t, conn.Close(context.Background()))
		replication, err := pgkit.DialReplication(context.Background(), e, "test")
		require.NoError(t, err)
		require.NoError(t, replication.Close(context.Background()))
	}
	dial()
	src.Exec(t, `ALTER ROLE dial_rotated PASSWORD 'second secret'`)
	requireFault(t, e, pgkit.CodeWrongCredentials, fault.Operator)
	now = "second secret"
	dial()
	require.Equal(t, 6, asked)

	e.PasswordFunc = func(context.Context) (string, error) {
		return "", fault.New(fault.Operator, "read password for", "u@h", "put it there", "no such file").WithCode("password-unavailable")
	}
	requireFault(t, e, "password-unavailable", fault.Operator, "no such file")
}

func TestIAMRefusedForReplication(t *testing.T) {
	src := pgtest.Source(t)
	e := src.Master
	e.IAM, e.Password = true, "not a token"
	_, err := pgkit.DialReplication(context.Background(), e, "test")
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, pgkit.CodeIAMNoReplication, f.Code)
	require.Equal(t, fault.Operator, f.Class)
	require.Contains(t, f.Hint, "rds.iam_auth_for_replication")
	require.NotContains(t, err.Error(), e.Password)
	_, err = pgkit.Dial(context.Background(), e, "test")
	require.ErrorAs(t, err, &f)
	require.Equal(t, pgkit.CodeWrongCredentials, f.Code, "an ordinary connection fails for the ordinary reason")
}
