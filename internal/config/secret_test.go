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
