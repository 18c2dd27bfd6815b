package extract

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/testkit/pgserver"
	"timeferry/internal/testkit/pgtest"
)

// pg_dump logs in as our own sessions do: with the password as it is now, and with TLS as asked.
func TestDumpLogsInAsTheEndpointSays(t *testing.T) {
	ctx := context.Background()
	src := pgtest.OwnTLSSource(t, pgserver.TLS{Only: true})
	mustMasterExec(t, src, "CREATE TABLE t (id int)")
	e, asked := src.Master, 0
	e.SSLMode, e.Password = "verify-full", "not looked at"
	e.PasswordFunc = func(context.Context) (string, error) { asked++; return src.Master.Password, nil }
	_, _, err := Dump(ctx, DumpOptions{Source: e, Tables: everything})
	require.NoError(t, err)
	require.GreaterOrEqual(t, asked, 2, "for our session, and for pg_dump's")

	last := asked - 1 // what Dump asks last is for pg_dump
	asked = 0
	e.PasswordFunc = func(context.Context) (string, error) {
		if asked++; asked > last {
			return "", fault.New(fault.Operator, "read password for", "u@h", "put it there", "no such file").WithCode("password-unavailable")
		}
		return src.Master.Password, nil
	}
	_, _, err = Dump(ctx, DumpOptions{Source: e, Tables: everything})
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, "password-unavailable", f.Code)
}
