package activities_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"timeferry/activities"
	"timeferry/internal/contract"
	"timeferry/internal/spool"
)

// What an interrupted removal or switch left on the worker's disk is named; what is of others is not.
func TestFilesOnTheWorkerAreFound(t *testing.T) {
	root, etc := t.TempDir(), t.TempDir()
	a := &activities.Activities{Spools: spool.NewSet(root), HostID: "h1"}
	spec := contract.Spec{Name: "shop", Cutover: contract.Cutover{Switch: &contract.Switch{PgBouncer: &contract.PgBouncerSwitch{File: filepath.Join(etc, "databases.ini")}}}}
	find := func() contract.Leftovers {
		var suite testsuite.WorkflowTestSuite
		env := suite.NewTestActivityEnvironment()
		env.RegisterActivity(a.FindFiles)
		value, err := env.ExecuteActivity(a.FindFiles, spec)
		require.NoError(t, err)
		var found contract.Leftovers
		require.NoError(t, value.Get(&found))
		require.Equal(t, []string{"spool files on worker h1"}, found.Sought)
		return found
	}
	require.NoError(t, os.Mkdir(filepath.Join(root, "other"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(etc, "databases.ini"), nil, 0o600))
	require.Empty(t, find().Found)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "shop"), 0o700))
	half := filepath.Join(etc, ".databases.ini.timeferry-123")
	require.NoError(t, os.WriteFile(half, nil, 0o600))
	dir := filepath.Join(root, "shop")
	require.Equal(t, []contract.Leftover{{Thing: dir + " on worker h1", Remedy: "rm -r " + dir}, {Thing: half + " on worker h1", Remedy: "rm -r " + half}}, find().Found)
}
