package launch_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/fault"
	"timeferry/internal/launch"
	"timeferry/internal/machine"
)

func TestEnvironmentFromSecretAndParameter(t *testing.T) {
	w := newWorld(t)
	const text = `{"SOURCE_PASSWORD":"hunter2","TEMPORAL_ADDRESS":"t:7233"}`
	want := map[string]string{"SOURCE_PASSWORD": "hunter2", "TEMPORAL_ADDRESS": "t:7233"}
	got, err := w.client.SecretEnvironment(t.Context(), w.simulator.PutSecret("timeferry/shop", text))
	require.NoError(t, err)
	require.Equal(t, want, got)
	w.simulator.PutSSMParameter("/timeferry/shop", text, true)
	got, err = w.client.ParameterEnvironment(t.Context(), "/timeferry/shop")
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestEnvironmentsThatAreNone(t *testing.T) {
	w := newWorld(t)
	for name, text := range map[string]string{
		"no JSON": "hunter2", "a list": `["hunter2"]`, "a number": `{"A": 1, "B": "hunter2"}`, "a bad name": `{"A B": "hunter2"}`, "a zero byte": `{"A": "hunter2\u0000"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.client.SecretEnvironment(t.Context(), w.simulator.PutSecret(name, text))
			requireFault(t, err, fault.Operator, launch.CodeBadEnvironment)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	_, err := w.client.SecretEnvironment(t.Context(), "arn:aws:secretsmanager:us-west-2:123456789012:secret:none")
	requireFault(t, err, fault.Operator, launch.CodeNoEnvironment, "secret:none")
	_, err = w.client.ParameterEnvironment(t.Context(), "/none")
	requireFault(t, err, fault.Operator, launch.CodeNoEnvironment, "/none")
	w.simulator.Inject(awssim.Fault{Kind: awssim.FailCall, Action: "GetParameter", Code: "AccessDeniedException", Message: "no"})
	_, err = w.client.ParameterEnvironment(t.Context(), "/none")
	requireFault(t, err, fault.Operator, launch.CodeAccessDenied, "allow ssm:GetParameter, as deploy/iam/secrets.json does")
}

// TestEnvironmentFile: what a shell reads back is what was in the secret, and nobody else can read the file.
func TestEnvironmentFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "run", "environment")
	want := map[string]string{"A": `it's "quoted" $HOME ` + "`id`" + ` \n \`, "B": "two\nlines", "C": "", "D": "größer"}
	for range 2 {
		require.NoError(t, launch.WriteEnvironment(file, want))
	}
	require.Equal(t, want, sourced(t, file, "A", "B", "C", "D"))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	info, err = os.Stat(filepath.Dir(file))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	left, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file stays")

	err = launch.WriteEnvironment(filepath.Join(file, "below-a-file"), map[string]string{"A": "hunter2"})
	require.ErrorContains(t, err, file)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestPlace(t *testing.T) {
	isolateAWS(t)
	simulator := awssim.New(awssim.Options{Region: "eu-central-1"})
	t.Cleanup(simulator.Close)
	metadata := httptest.NewServer(simulator.Metadata(awssim.MetadataConfig{InstanceID: "i-1", InstanceType: "m6i.xlarge"}))
	t.Cleanup(metadata.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.URL)
	require.Equal(t, machine.Place{}, launch.Place(t.Context()), "it is switched off")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	require.Equal(t, machine.Place{Region: "eu-central-1", InstanceID: "i-1", InstanceType: "m6i.xlarge"}, launch.Place(t.Context()))
	metadata.Close()
	began := time.Now()
	require.Equal(t, machine.Place{}, launch.Place(t.Context()))
	require.Less(t, time.Since(began), 3*time.Second)
}
