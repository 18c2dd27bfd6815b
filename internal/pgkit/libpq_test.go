package pgkit

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
)

func TestWhomLibpqTrusts(t *testing.T) {
	for name, c := range map[string]struct {
		mode, root string
		major      int
		system     string
		want       string
		refused    bool
	}{
		"a file":                      {mode: "verify-full", root: "/ca.pem", major: 15, system: "/system.pem", want: "/ca.pem"},
		"a file without need":         {mode: "require", root: "/ca.pem", major: 15, want: "/ca.pem"},
		"not checked":                 {mode: "require", major: 15, system: "/system.pem"},
		"the system's, by its file":   {mode: "verify-full", major: 17, system: "/system.pem", want: "/system.pem"},
		"verify-ca by the system's":   {mode: "verify-ca", major: 15, system: "/system.pem", want: "/system.pem"},
		"the system's, by libpq":      {mode: "verify-full", major: 16, want: "system"},
		"an old libpq":                {mode: "verify-full", major: 15, refused: true},
		"libpq's word needs the name": {mode: "verify-ca", major: 17, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := libpqRoot(Endpoint{Host: "h", User: "u", SSLMode: c.mode, SSLRootCert: c.root}, c.major, c.system)
			if c.refused {
				require.ErrorContains(t, err, c.mode)
				require.Equal(t, fault.Operator, fault.Classify(err))
				require.Contains(t, fault.HintOf(err), "sslRootCert")
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestLibpqGetsThePasswordByEnvironment(t *testing.T) {
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	require.NoError(t, os.WriteFile(bundle, nil, 0o600))
	t.Setenv("SSL_CERT_FILE", bundle)
	e := Endpoint{Host: "h", Port: 5432, Database: "d", User: "u", SSLMode: "verify-full",
		PasswordFunc: func(context.Context) (string, error) { return "the secret", nil }}
	env, err := LibpqEnv(context.Background(), e, 15)
	require.NoError(t, err)
	require.Subset(t, env, []string{"PGHOST=h", "PGPORT=5432", "PGDATABASE=d", "PGUSER=u", "PGSSLMODE=verify-full", "PGPASSWORD=the secret", "PGSSLROOTCERT=" + bundle})
}
