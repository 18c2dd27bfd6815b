package iam_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/deploy/iam"
)

func mustFiles(t *testing.T) []string {
	t.Helper()
	files, err := iam.Files()
	require.NoError(t, err)
	require.Equal(t, []string{"credits.json", "database.json", "ingress.json", "machine.json", "secrets.json"}, files)
	return files
}

func mustReadme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	return string(text)
}

// TestEveryActionHasAReason compares the table of the README with the files, both ways.
func TestEveryActionHasAReason(t *testing.T) {
	var documented, allowed []string
	for line := range strings.Lines(mustReadme(t)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || !strings.Contains(cells[2], ":") {
			continue
		}
		action := strings.Trim(cells[2], " `")
		documented = append(documented, strings.Trim(cells[1], " `")+" "+action)
		require.Greater(t, len(strings.TrimSpace(cells[4])), 10, action)
		_, byProxy := iam.ByProxy[action]
		require.Equal(t, byProxy, strings.TrimSpace(cells[3]) != "itself", action)
	}
	for _, file := range mustFiles(t) {
		actions, err := iam.Actions(file)
		require.NoError(t, err)
		require.NotEmpty(t, actions)
		for _, action := range actions {
			allowed = append(allowed, file+" "+action)
		}
	}
	slices.Sort(documented)
	slices.Sort(allowed)
	require.Equal(t, allowed, documented)
}

// TestPoliciesAreNarrow: what changes something is allowed on named things only, or on what carries our tag.
func TestPoliciesAreNarrow(t *testing.T) {
	for _, file := range mustFiles(t) {
		statements, err := iam.Statements(file)
		require.NoError(t, err)
		seen := map[string]bool{}
		for _, s := range statements {
			require.Regexp(t, `^[A-Za-z0-9]+$`, s.Sid, "IAM takes no other")
			require.False(t, seen[s.Sid], s.Sid)
			seen[s.Sid] = true
			require.Equal(t, "Allow", s.Effect)
			for _, action := range s.Action {
				require.Regexp(t, `^[a-z0-9-]+:[A-Za-z]+$`, action, "no wildcards")
				reads := regexp.MustCompile(`:(Describe|List|GetMetric)`).MatchString(action)
				require.Equal(t, reads, slices.Contains(s.Resource, "*"), "%s %s", s.Sid, action)
				if slices.Contains([]string{"ec2:TerminateInstances", "ec2:DeleteSecurityGroup"}, action) {
					require.EqualValues(t, []string{"yes"}, s.Condition["StringEquals"]["aws:ResourceTag/timeferry:machine"])
				}
			}
		}
	}
}

// TestPoliciesFollowTheCode reads which calls the code can make: each is in a policy, and the policies allow no other.
func TestPoliciesFollowTheCode(t *testing.T) {
	services := map[string]string{"rds": "rds", "ec2": "ec2", "secrets": "secretsmanager", "store": "ssm", "metrics": "cloudwatch"}
	called := map[string]bool{}
	for _, pattern := range []string{"../../internal/source/rdsctl/*.go", "../../internal/launch/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, m := range regexp.MustCompile(`\.(rds|ec2|secrets|store|metrics)\.([A-Z]\w+)`).FindAllStringSubmatch(string(text), -1) {
				called[services[m[1]]+":"+m[2]] = true
			}
			for _, m := range regexp.MustCompile(`\b(rds|ec2)\.New(\w+)Paginator`).FindAllStringSubmatch(string(text), -1) {
				called[m[1]+":"+m[2]] = true
			}
		}
	}
	allowed := map[string]bool{}
	for _, file := range mustFiles(t) {
		actions, err := iam.Actions(file)
		require.NoError(t, err)
		for _, action := range actions {
			if _, byProxy := iam.ByProxy[action]; !byProxy {
				allowed[action] = true
			}
		}
	}
	require.Equal(t, slices.Sorted(maps.Keys(called)), slices.Sorted(maps.Keys(allowed)))
}

func TestEveryPlaceholderIsExplained(t *testing.T) {
	readme := mustReadme(t)
	for _, file := range mustFiles(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`\$\{[^}]*\}`).FindAllString(string(text), -1) {
			require.Contains(t, readme, "`"+m+"`", file)
		}
	}
}

func TestAPolicyThatIsNotThere(t *testing.T) {
	_, err := iam.Actions("none.json")
	require.ErrorContains(t, err, "none.json")
}
