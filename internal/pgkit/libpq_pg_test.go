package pgkit_test

import (
	"context"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
	"timeferry/internal/testkit/pgtest"
)

// TestLibpqProgramsCheckTheCertificateAsWeDo logs in with psql, whatever its version is, by an authority of its own and by the
// system's.
func TestLibpqProgramsCheckTheCertificateAsWeDo(t *testing.T) {
	psql, err := exec.LookPath("psql")
	if err != nil {
		require.False(t, pgtest.Required("pg"), "psql is not installed")
		t.Skip("psql is not installed")
	}
	src := pgtest.OwnTLSSource(t, pgserver.TLS{Only: true})
	query := func(e pgkit.Endpoint) (string, error) {
		env, err := pgkit.LibpqEnv(context.Background(), e, 15)
		require.NoError(t, err)
		cmd := exec.Command(psql, "-XAtc", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
		cmd.Env = append(env, "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	stranger := httptest.NewTLSServer(nil)
	defer stranger.Close()
	other := filepath.Join(t.TempDir(), "other.pem")
	require.NoError(t, os.WriteFile(other, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: stranger.Certificate().Raw}), 0o600))
	e := src.Master
	for _, mode := range []string{"verify-ca", "verify-full"} {
		e.SSLMode, e.SSLRootCert = mode, src.Server.RootCert()
		out, err := query(e)
		require.NoError(t, err, out)
		require.Equal(t, "t\n", out)

		t.Run(mode+" by the system's authorities", func(t *testing.T) {
			e.SSLRootCert = ""
			t.Setenv("SSL_CERT_FILE", other)
			out, err := query(e)
			require.Error(t, err)
			require.Contains(t, out, "certificate verify failed")
			t.Setenv("SSL_CERT_FILE", src.Server.RootCert())
			out, err = query(e)
			require.NoError(t, err, out)
			require.Equal(t, "t\n", out)
		})
	}
}
