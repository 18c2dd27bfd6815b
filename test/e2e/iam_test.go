package e2e

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/config"
	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/rdsctl"
	"timeferry/internal/testkit/pgtest"
)

// TestEachConnectionHasAnIAMTokenOfItsOwn logs in by tokens as the SDK makes them. A plain PostgreSQL cannot check them, so the test
// makes each new token the role's password: one that was used before, or does not arrive whole, is refused.
func TestEachConnectionHasAnIAMTokenOfItsOwn(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, "CREATE ROLE iam_e2e LOGIN REPLICATION")
	t.Cleanup(func() { src.Exec(t, "DROP ROLE iam_e2e") })
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret/+=", "AWS_SESSION_TOKEN": "a+/=b", "AWS_REGION": "us-west-2"} {
		t.Setenv(name, value)
	}
	ctx := context.Background()
	aws, err := rdsctl.Open(ctx, rdsctl.Options{})
	require.NoError(t, err)
	var tokens []string
	e := contract.Endpoint{Host: src.Master.Host, Port: src.Master.Port, Database: src.Master.Database, User: "iam_e2e",
		Password: contract.SecretRef{IAM: true}, SSLMode: "disable"}
	login, err := config.ResolveWith(e, func(ctx context.Context) (string, error) {
		for { // a token's signature is of the second it was made in
			token, err := aws.AuthToken(ctx, e.Host, e.Port, e.User)
			if err != nil {
				return "", err
			}
			if len(tokens) == 0 || tokens[len(tokens)-1] != token {
				tokens = append(tokens, token)
				src.Exec(t, "ALTER ROLE iam_e2e PASSWORD "+ident.Literal(token))
				return token, nil
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	require.NoError(t, err)
	for range 2 {
		conn, err := pgkit.Dial(ctx, login, "e2e")
		require.NoError(t, err)
		require.NoError(t, conn.Close(ctx))
	}
	replication, err := pgkit.DialReplication(ctx, login, "e2e")
	require.NoError(t, err)
	require.NoError(t, replication.Close(ctx))

	psql, err := exec.LookPath("psql")
	if err != nil {
		require.False(t, pgtest.Required("pg"), "psql is not installed")
		t.Skip("psql is not installed")
	}
	env, err := pgkit.LibpqEnv(ctx, login, 15)
	require.NoError(t, err)
	cmd := exec.Command(psql, "-XAtc", "SELECT current_user")
	cmd.Env = append(env, "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "iam_e2e\n", string(out))
	require.Len(t, tokens, 4)
	require.Contains(t, tokens[0], "Action=connect")
	require.Contains(t, tokens[0], "X-Amz-Expires=900")
}
