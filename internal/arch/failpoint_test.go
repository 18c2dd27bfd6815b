package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOnlyTestsArmFailpoints: a program that could end itself at a failpoint would be a danger.
func TestOnlyTestsArmFailpoints(t *testing.T) {
	t.Parallel()
	seen := 0
	require.NoError(t, filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		content, err := os.ReadFile(path)
		if !strings.Contains(string(content), "failpoint."+"Arm(") {
			return err
		}
		seen++
		require.True(t, strings.HasSuffix(path, "_test.go"), "%s must not arm failpoints", path)
		return err
	}))
	require.NotZero(t, seen, "nobody arms any")
}
