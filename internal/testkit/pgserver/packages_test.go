package pgserver_test

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/testkit/pgserver"
)

func TestPackagesThatAreThereAreLeftAlone(t *testing.T) {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skip("this machine is no Debian")
	}
	var log bytes.Buffer
	require.NoError(t, pgserver.EnsurePackages(t.Context(), &log, "dpkg", "base-files"))
	require.Empty(t, log.String())
}

func TestPostGISThatIsThereIsLeftAlone(t *testing.T) {
	for _, start := range []starter{pgserver.StartSource, pgserver.StartTarget} {
		if queryText(t, mustStart(t, start, pgserver.Options{}), "SELECT count(*)::text FROM pg_available_extensions WHERE name = 'postgis'") == "0" {
			require.NotContains(t, os.Getenv("TIMEFERRY_REQUIRE"), "pg", "go run ./sandbox/install brings PostGIS")
			t.Skip("a server has no PostGIS")
		}
	}
	var log bytes.Buffer
	require.NoError(t, pgserver.EnsurePostGIS(t.Context(), &log))
	require.Empty(t, log.String())
}
