package pgserver_test

import (
	"bytes"
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
