package config_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/config"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
)

type vault map[string]string

func (v vault) Secret(_ context.Context, arn string) (string, error) {
	text, ok := v[arn]
	if !ok {
		return "", errors.New("no such secret")
	}
	return text, nil
}

func TestPasswordsComeFromWhereTheReferencePoints(t *testing.T) {
	t.Setenv("TIMEFERRY_TEST_PASSWORD", "from env")
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte("from file\r\n"), 0o600))
	secrets := vault{"arn:json": `{"username":"u","password":"from json"}`, "arn:text": "from text\n", "arn:empty": `{"password":""}`}
	for want, ref := range map[string]contract.SecretRef{
		"from env": {Env: "TIMEFERRY_TEST_PASSWORD"}, "from file": {File: file}, "from json": {SecretARN: "arn:json"},
		"from text": {SecretARN: "arn:text"}, "": {SecretARN: "arn:empty"},
	} {
		e, err := config.Resolve(context.Background(), contract.Endpoint{Host: "h", Port: 1, Database: "d", User: "u", Password: ref}, secrets)
		require.NoError(t, err)
		require.Equal(t, want, e.Password)
		require.NotContains(t, e.String(), "from")
	}
}

func TestAMissingPasswordNamesTheReference(t *testing.T) {
	for want, ref := range map[string]contract.SecretRef{
		"environment variable TIMEFERRY_NOT_SET": {Env: "TIMEFERRY_NOT_SET"},
		"/nowhere/at/all":                        {File: "/nowhere/at/all"},
		"no access to Secrets Manager":           {SecretARN: "arn"},
	} {
		_, err := config.Resolve(context.Background(), contract.Endpoint{Host: "h", User: "u", Password: ref}, nil)
		require.ErrorContains(t, err, want)
		require.Equal(t, fault.Operator, fault.Classify(err))
		require.NotEmpty(t, fault.HintOf(err))
	}
}

func TestALazyPasswordIsReadAtEachConnection(t *testing.T) {
	ctx := context.Background()
	file := filepath.Join(t.TempDir(), "secret")
	secrets := vault{"arn": "one"}
	for name, c := range map[string]struct {
		ref contract.SecretRef
		set func(string)
	}{
		"file":   {contract.SecretRef{File: file}, func(s string) { require.NoError(t, os.WriteFile(file, []byte(s+"\n"), 0o600)) }},
		"env":    {contract.SecretRef{Env: "TIMEFERRY_TEST_ROTATED"}, func(s string) { t.Setenv("TIMEFERRY_TEST_ROTATED", s) }},
		"secret": {contract.SecretRef{SecretARN: "arn"}, func(s string) { secrets["arn"] = s }},
	} {
		t.Run(name, func(t *testing.T) {
			c.set("one")
			e, err := config.ResolveLazily(contract.Endpoint{Host: "h", User: "u", Password: c.ref}, secrets)
			require.NoError(t, err)
			require.Empty(t, e.Password)
			require.Equal(t, name != "env", e.Rotates, "the environment stays as it is")
			for _, want := range []string{"one", "two"} {
				c.set(want)
				got, err := e.CurrentPassword(ctx)
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
		})
	}
	e, err := config.ResolveLazily(contract.Endpoint{Host: "h", User: "u", Password: contract.SecretRef{File: file + ".gone"}}, nil)
	require.NoError(t, err)
	_, err = e.CurrentPassword(ctx)
	require.ErrorContains(t, err, "secret.gone")
	require.Equal(t, fault.Operator, fault.Classify(err))
	_, err = config.ResolveLazily(contract.Endpoint{Host: "h", User: "u"}, nil)
	require.ErrorContains(t, err, "cannot be read here")
}

func TestTheWordRDSFindsAWSsBundle(t *testing.T) {
	bundle := filepath.Join(t.TempDir(), "global-bundle.pem")
	t.Setenv("TIMEFERRY_TEST_PASSWORD", "secret")
	e := contract.Endpoint{Host: "h", User: "u", Password: contract.SecretRef{Env: "TIMEFERRY_TEST_PASSWORD"}, SSLMode: "verify-full", SSLRootCert: "rds"}
	t.Setenv(config.EnvRDSBundle, bundle)
	for _, resolve := range []func() (pgkit.Endpoint, error){
		func() (pgkit.Endpoint, error) { return config.Resolve(context.Background(), e, nil) },
		func() (pgkit.Endpoint, error) { return config.ResolveLazily(e, nil) },
	} {
		require.NoError(t, os.RemoveAll(bundle))
		_, err := resolve()
		require.ErrorContains(t, err, bundle)
		require.Equal(t, fault.Operator, fault.Classify(err))
		require.Contains(t, fault.HintOf(err), "global-bundle.pem")
		require.Contains(t, fault.HintOf(err), config.EnvRDSBundle)

		require.NoError(t, os.WriteFile(bundle, nil, 0o600))
		got, err := resolve()
		require.NoError(t, err)
		require.Equal(t, bundle, got.SSLRootCert)
	}
	e.SSLMode = "prefer"
	_, err := config.ResolveLazily(e, nil)
	require.ErrorContains(t, err, "does not check")
	e.SSLRootCert = "/my/root.pem"
	got, err := config.ResolveLazily(e, nil)
	require.NoError(t, err)
	require.Equal(t, "/my/root.pem", got.SSLRootCert)
}

func TestIAMIsMarked(t *testing.T) {
	e, err := config.ResolveWith(contract.Endpoint{Host: "h", User: "u", Password: contract.SecretRef{IAM: true}},
		func(context.Context) (string, error) { return "token", nil })
	require.NoError(t, err)
	require.True(t, e.IAM)
	require.True(t, e.Rotates)
	token, err := e.CurrentPassword(context.Background())
	require.NoError(t, err)
	require.Equal(t, "token", token)
}
