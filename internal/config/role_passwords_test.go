package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/config"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
)

func mustPasswordFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "roles")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	require.NoError(t, os.Chmod(file, mode)) // whatever the umask is
	return file
}

func TestRolePasswordsFromFilesAndSecrets(t *testing.T) {
	want := map[string]string{"app": `p"ä\ 0123`, "Odd Role": "#x: y"}
	yaml := "# of the shop\napp: 'p\"ä\\ 0123'\n\"Odd Role\": '#x: y'\n"
	json := `{"app": "p\"\u00e4\\ 0123", "Odd Role": "#x: y"}`
	secrets := vault{"arn": json}
	for name, from := range map[string]contract.PasswordsFrom{
		"yaml": {File: mustPasswordFile(t, yaml, 0o600)}, "json": {File: mustPasswordFile(t, json, 0o400)},
		"group": {File: mustPasswordFile(t, json, 0o640)}, "secret": {SecretARN: "arn"},
	} {
		got, err := config.RolePasswords(t.Context(), from, secrets)
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
	surrogates, err := config.RolePasswords(t.Context(), contract.PasswordsFrom{File: mustPasswordFile(t, `{"app": "\ud83d\udd11\/"}`, 0o600)}, nil)
	require.NoError(t, err)
	require.Equal(t, "🔑/", surrogates["app"], "JSON's own escapes")
}

func TestFilesThatOthersCanReadAreRefused(t *testing.T) {
	for _, mode := range []os.FileMode{0o644, 0o604, 0o602, 0o601, 0o660, 0o777} {
		file := mustPasswordFile(t, `{"app": "hunter2"}`, mode)
		_, err := config.RolePasswords(t.Context(), contract.PasswordsFrom{File: file}, nil)
		require.ErrorContains(t, err, "others than the worker can read or change it")
		require.Equal(t, "run: chmod 600 "+file, fault.HintOf(err))
		require.Equal(t, fault.Operator, fault.Classify(err))
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, path := range []string{pipe, t.TempDir()} {
		_, err := config.RolePasswords(t.Context(), contract.PasswordsFrom{File: path}, nil)
		require.ErrorContains(t, err, "no regular file")
	}
}

// TestUnusableRolePasswords: what is wrong is said without a word of what was read.
func TestUnusableRolePasswords(t *testing.T) {
	for text, want := range map[string]string{
		`{"app": "hunter2", "app": "hunter2x"}`: "role app is named twice",
		`{"app": 1232123}`:                      "password of role app is not a string",
		`{"app": {"password": "hunter2"}}`:      "password of role app is not a string",
		`{"app": "hunter2\ud83d"}`:              "cannot be read",
		"app: 1232123\n":                        "password of role app is not a string",
		"app:\n":                                "password of role app is not a string",
		"a: hunter2\napp: [hunter2\n":           "neither YAML nor JSON",
		"app: hunter2\n  b: 'hunter2\n":         "neither YAML nor JSON",
		"app: hunter2\napp: hunter2\n":          "", // told by the parser of YAML or by ours
		`["hunter2"]`:                           "it is no object",
		"hunter2":                               "it is no object",
		"":                                      "",
		"{}":                                    "it names no role",
		strings.Repeat(" hunter2", 1<<18):       "larger than",
	} {
		_, err := config.RolePasswords(t.Context(), contract.PasswordsFrom{File: mustPasswordFile(t, text, 0o600)}, nil)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, err.Error(), "1232123")
		require.Equal(t, fault.Operator, fault.Classify(err))
	}
	for want, from := range map[string]contract.PasswordsFrom{
		"no such file":                 {File: "/nowhere/at/all"},
		"not valid JSON":               {SecretARN: "yaml"},
		"no such secret":               {SecretARN: "none"},
		"exactly one of":               {},
		"give exactly one of file, se": {File: "/a", SecretARN: "b"},
	} {
		_, err := config.RolePasswords(t.Context(), from, vault{"yaml": "app: hunter2"})
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
	}
	_, err := config.RolePasswords(t.Context(), contract.PasswordsFrom{SecretARN: "arn"}, nil)
	require.ErrorContains(t, err, "no access to Secrets Manager")
}
