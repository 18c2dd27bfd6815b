package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAccountWithoutAServer makes what the flags ask for with nothing behind it, and asks for it as any client would.
func TestAccountWithoutAServer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("master\n"), 0o600))
	for _, c := range []struct {
		name, action string
		flags        []string
		shows        []string
	}{
		{"instance", "DescribeDBInstances", []string{"--instance", "mine"}, []string{"<DBInstanceIdentifier>mine<", "<EngineVersion>16.8<"}},
		{"Aurora", "DescribeDBClusters", []string{"--cluster", "ours"}, []string{"<DBClusterIdentifier>ours<", "<Engine>aurora-postgresql<"}},
		{"Multi-AZ", "DescribeDBClusters", []string{"--cluster", "ours", "--engine", "postgres", "--master-password-file", file},
			[]string{"<DBInstanceIdentifier>ours-instance-3<", "<Engine>postgres<", "<SecretArn>"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := parse(append(c.flags, "--apis-only", "--engine-version", "16.8"))
			require.NoError(t, err)
			simulator, err := o.account(nil)
			require.NoError(t, err)
			t.Cleanup(simulator.Close)
			api := httptest.NewServer(simulator)
			t.Cleanup(api.Close)
			response, err := http.PostForm(api.URL, url.Values{"Action": {c.action}, "Version": {"2014-10-31"}})
			require.NoError(t, err)
			defer func() { require.NoError(t, response.Body.Close()) }()
			answer, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			for _, part := range c.shows {
				require.Contains(t, string(answer), part)
			}
		})
	}
}

func TestFlagsThatDoNotFit(t *testing.T) {
	for want, flags := range map[string][]string{
		"give --engine-version":                {"--apis-only"},
		"choose aurora-postgresql or postgres": {"--cluster", "c", "--engine", "mysql"},
		"unexpected argument":                  {"stray"},
	} {
		_, err := parse(flags)
		require.ErrorContains(t, err, want)
	}
}
