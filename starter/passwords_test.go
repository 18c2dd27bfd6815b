package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func TestPasswordsBadUsage(t *testing.T) {
	spec := filepath.Join(t.TempDir(), "spec.yaml")
	require.NoError(t, os.WriteFile(spec, []byte(yamlSpec), 0o600))
	t.Setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
	for _, c := range []struct {
		want string
		args []string
		code int
	}{
		{"name the migration", nil, exitUsage},
		{"exactly one of --file, --secret-arn", []string{"shop"}, exitUsage},
		{"exactly one of --file, --secret-arn", []string{"shop", "--file", "/a", "--secret-arn", "b"}, exitUsage},
		{"give the whole path", []string{"shop", "--file", "roles.json"}, exitUsage},
		{"choose text or json", []string{"shop", "--file", "/a", "-o", "xml"}, exitUsage},
		{"is of migration shop, not of other", []string{"other", "--file", "/a", "-f", spec}, exitUsage},
		{"no such file", []string{"shop", "--file", "/a", "-f", spec + "x"}, exitUsage},
		{"set TEMPORAL_ADDRESS", []string{"shop", "--file", "/a", "-f", spec, "--role", "a", "--role", "b", "--dry-run"}, exitFailed},
	} {
		var out, errOut bytes.Buffer
		require.Equal(t, c.code, run(context.Background(), append([]string{"passwords"}, c.args...), &out, &errOut), "%v: %s", c.args, &errOut)
		require.Contains(t, errOut.String(), c.want)
	}
}

func TestPasswordsExitCode(t *testing.T) {
	for _, c := range []struct {
		result contract.PasswordsResult
		chosen bool
		want   string
	}{
		{contract.PasswordsResult{Set: []string{"a"}}, false, ""},
		{contract.PasswordsResult{Set: []string{"a"}, UnnamedUnknown: true}, false, ""},
		{contract.PasswordsResult{Set: []string{"a"}, Unnamed: []string{"b"}}, true, ""},
		{contract.PasswordsResult{Set: []string{"a"}, Unnamed: []string{"b"}}, false, "the password of 1 role is not set"},
		{contract.PasswordsResult{Missing: []string{"b"}, Refused: []contract.RefusedPassword{{Role: "c"}}}, true, "the passwords of 2 roles are not set"},
	} {
		err := judgePasswords(c.result, c.chosen)
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.EqualError(t, err, c.want)
		var coded *exitError
		require.ErrorAs(t, err, &coded)
		require.Equal(t, exitFailed, coded.code)
	}
}

func TestPrintPasswords(t *testing.T) {
	var out bytes.Buffer
	printPasswords(&out, contract.PasswordsResult{Set: []string{"app"}, Missing: []string{"gone"}, Unnamed: []string{"two\nlines"},
		Refused: []contract.RefusedPassword{{Role: "root", Reason: "it is a superuser"}}, UnnamedUnknown: true}, true)
	require.Equal(t, `
Would be set
  app

Not on the target
  gone

Not set
  root: it is a superuser

Came without a password, and none is given there
  two lines

Which other roles came without a password is not known: there is neither bookkeeping on the target nor a report of the migration.
`, out.String())
}

func TestReportGivesACommandForEachRole(t *testing.T) {
	var out bytes.Buffer
	printReportText(&out, contract.Report{Name: "shop", RolesWithoutPassword: []string{"app", `Odd "Role"`, "two\nlines"}})
	require.Contains(t, out.String(), `
Roles that need a password set on the target
  app                              in psql: \password "app"
  Odd "Role"                       in psql: \password "Odd ""Role"""
  two lines                        starter passwords shop --file /path/of/roles.json
  all at once, from a file on the worker's machine or a secret:
    starter passwords shop --file /path/of/roles.json   (or --secret-arn ARN)
`)
}
