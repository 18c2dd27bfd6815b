package main

import (
	"bytes"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

func TestEnvironmentIsWrittenForSystemd(t *testing.T) {
	simulator := awssim.New(awssim.Options{Region: "us-west-2"})
	t.Cleanup(simulator.Close)
	endpoint := httptest.NewServer(simulator)
	t.Cleanup(endpoint.Close)
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": endpoint.URL, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_PROFILE": "", "AWS_SESSION_TOKEN": "", "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"} {
		t.Setenv(name, value)
	}
	arn := simulator.PutSecret("timeferry/shop", `{"SOURCE_PASSWORD":"hunter2"}`)
	simulator.PutSSMParameter("/timeferry/shop", `{"SOURCE_PASSWORD":"hunter3"}`, true)
	file := filepath.Join(t.TempDir(), "timeferry", "environment")
	for _, c := range []struct{ flag, from, want string }{{"--secret", arn, "SOURCE_PASSWORD=\"hunter2\"\n"}, {"--parameter", "/timeferry/shop", "SOURCE_PASSWORD=\"hunter3\"\n"}} {
		var out bytes.Buffer
		require.NoError(t, writeEnvironment(t.Context(), []string{"--region", "us-west-2", c.flag, c.from, "--file", file}, &out))
		written, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, c.want, string(written))
		require.NotContains(t, out.String(), "hunter")
	}
	var out bytes.Buffer
	require.ErrorContains(t, writeEnvironment(t.Context(), []string{"--secret", arn}, &out), "give --file")
	require.ErrorContains(t, writeEnvironment(t.Context(), []string{"--secret", arn, "--parameter", "/x", "--file", file}, &out), "one of")
	require.Error(t, writeEnvironment(t.Context(), []string{"--region", "us-west-2", "--secret", arn + "x", "--file", file}, &out))
}
