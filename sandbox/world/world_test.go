package world

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
)

func TestPortsAreChosenAndCheckedBeforeAnythingStarts(t *testing.T) {
	var p Ports
	require.NoError(t, p.check())
	seen := map[int]bool{}
	for _, s := range p.Settings() {
		require.NotZero(t, *s.Port, s.Flag)
		require.False(t, seen[*s.Port], "ports differ")
		seen[*s.Port] = true
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	p = Ports{Target: taken.Addr().(*net.TCPAddr).Port}
	err = p.check()
	require.ErrorContains(t, err, strconv.Itoa(p.Target)+" for the target PostgreSQL")
	require.Contains(t, fault.HintOf(err), "--target-port or SANDBOX_TARGET_PORT")
}

func TestStatementsEndWithTheirLines(t *testing.T) {
	require.Equal(t, []string{"SELECT ';' AS a", "SELECT\n2"}, statements("\nSELECT ';' AS a;\nSELECT\n2;"))
}

func TestRootIsFoundFromInside(t *testing.T) {
	root, err := findRoot()
	require.NoError(t, err)
	require.FileExists(t, root+"/tools/build.sh")
	t.Chdir("/")
	_, err = findRoot()
	require.ErrorContains(t, err, "inside of a clone")
}
