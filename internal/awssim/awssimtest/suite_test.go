package awssimtest_test

import (
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/awssim/awssimtest"
)

func TestSimulatorConforms(t *testing.T) {
	for _, version := range []string{"12.22", "13.20", "14.17", "15.12", "16.8", "17.4", "18.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			// Slow enough for every state to be seen on a busy machine.
			simulator := awssim.New(awssim.Options{Timings: awssim.Timings{Modifying: 200 * time.Millisecond, Rebooting: 200 * time.Millisecond}})
			t.Cleanup(simulator.Close)
			server := httptest.NewServer(simulator)
			t.Cleanup(server.Close)
			simulator.AddInstance(awssim.InstanceConfig{ID: "shop", EngineVersion: version, MasterUser: "postgres", Host: "127.0.0.1", Port: 5432})
			client := rds.New(rds.Options{Region: "us-east-1", BaseEndpoint: aws.String(server.URL),
				Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")})
			awssimtest.Run(t, client, "shop", awssimtest.Options{})
		})
	}
}

// TestAWSConforms compares with the real thing, on an instance that may be rebooted twice.
func TestAWSConforms(t *testing.T) {
	const variable = "TIMEFERRY_CONFORMANCE_INSTANCE"
	id := os.Getenv(variable)
	if id == "" {
		t.Skipf("set %s to an RDS instance that may be rebooted", variable)
	}
	loaded, err := config.LoadDefaultConfig(t.Context())
	require.NoError(t, err)
	awssimtest.Run(t, rds.NewFromConfig(loaded), id, awssimtest.Options{Poll: 2 * time.Second, Timeout: 20 * time.Minute, Prefix: "timeferry-conformance"})
}
