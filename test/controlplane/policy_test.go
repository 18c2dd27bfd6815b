package controlplane

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/deploy/iam"
)

// calledElsewhere are the actions of programs that no scenario runs, with the test that makes them.
var calledElsewhere = map[string]string{
	"ssm:GetParameter":              "worker environment: worker/environment_test.go",
	"secretsmanager:PutSecretValue": "cutover.switch.secret: internal/redirect/secret_test.go",
}

// TestPoliciesAreWhatIsCalled compares the policies for a migration with the calls that the scenarios make: each is allowed,
// and nothing is allowed that none of them makes. The calls of `starter machine` are compared in deploy/iam.
func TestPoliciesAreWhatIsCalled(t *testing.T) {
	t.Parallel()
	called := map[string]bool{}
	for _, sc := range table() {
		for _, line := range readSections(t, sc)["calls"] {
			action, _, _ := strings.Cut(line, " ")
			called[action] = true
		}
	}
	require.Greater(t, len(called), 20)
	allowed := map[string]string{}
	for _, file := range []string{"credits.json", "database.json", "ingress.json", "secrets.json"} {
		actions, err := iam.Actions(file)
		require.NoError(t, err)
		for _, action := range actions {
			allowed[action] = filepath.Join("deploy/iam", file)
		}
	}
	for action := range called {
		require.Contains(t, allowed, action, "no policy allows a call that is made")
	}
	for action, file := range allowed {
		_, byProxy := iam.ByProxy[action]
		require.True(t, byProxy || called[action] || calledElsewhere[action] != "", "%s allows %s, which is never called", file, action)
	}
	require.False(t, slices.Contains(machineActions(t), "rds:RebootDBInstance"), "the optional policy is for the machine alone")
}

func machineActions(t *testing.T) []string {
	actions, err := iam.Actions("machine.json")
	require.NoError(t, err)
	return actions
}
