package launch_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/launch"
)

const gib = int64(1) << 30

// goodOrder is complete; tests spoil one thing at a time.
func goodOrder() launch.Order {
	return launch.Order{Migration: "shop", DatabaseBytes: 100 * gib, InstanceProfile: "timeferry-worker",
		Source: launch.Source{ID: "shop-prod", EngineVersion: "15.12", VPC: "vpc-1", Subnets: []string{"subnet-a", "subnet-b"}, AvailabilityZone: "us-west-2b"},
		Setup: launch.Setup{WorkerURL: "https://bucket.example/worker?X-Amz-Expires=300&x='y'", WorkerSHA256: strings.Repeat("0a", 32),
			EnvironmentSecret: "arn:aws:secretsmanager:us-west-2:123456789012:secret:timeferry/shop-AbCdEf",
			Environment:       map[string]string{"TEMPORAL_ADDRESS": "temporal.example:7233", "TEMPORAL_NAMESPACE": `a "b" $c`}}}
}

// TestLaunchRefusesWhatMakesNoSense needs no AWS: an order is checked before the first call.
func TestLaunchRefusesWhatMakesNoSense(t *testing.T) {
	client := isolatedClient(t)
	for name, c := range map[string]struct {
		spoil func(*launch.Order)
		code  string
		part  string
	}{
		"name":              {func(o *launch.Order) { o.Migration = "Shop;" }, launch.CodeBadOrder, "cannot name"},
		"size":              {func(o *launch.Order) { o.DatabaseBytes = 0 }, launch.CodeBadOrder, "--data-size"},
		"network":           {func(o *launch.Order) { o.Source.VPC = "" }, launch.CodeBadOrder, "VPC"},
		"version":           {func(o *launch.Order) { o.Source.EngineVersion = "mysql" }, launch.CodeBadOrder, "no version"},
		"no worker":         {func(o *launch.Order) { o.Setup.WorkerURL = "" }, launch.CodeBadOrder, "--worker-url"},
		"worker by http":    {func(o *launch.Order) { o.Setup.WorkerURL = "http://x.example/worker" }, launch.CodeBadOrder, "https"},
		"worker, two lines": {func(o *launch.Order) { o.Setup.WorkerURL = "https://x.example/a b" }, launch.CodeBadOrder, "no such URL"},
		"password in URL":   {func(o *launch.Order) { o.Setup.WorkerURL = "https://u:hunter2@x.example/w" }, launch.CodeSecretInOrder, "without user and password"},
		"checksum":          {func(o *launch.Order) { o.Setup.WorkerSHA256 = "abc" }, launch.CodeBadOrder, "64"},
		"both environments": {func(o *launch.Order) { o.Setup.EnvironmentParameter = "/timeferry" }, launch.CodeBadOrder, "both"},
		"secret by name":    {func(o *launch.Order) { o.Setup.EnvironmentSecret = "timeferry/shop" }, launch.CodeBadOrder, "ARN"},
		"parameter path": {func(o *launch.Order) {
			o.Setup.EnvironmentSecret, o.Setup.EnvironmentParameter = "", "/a b"
		}, launch.CodeBadOrder, "no name of a parameter"},
		"variable's name": {func(o *launch.Order) { o.Setup.Environment["A B"] = "x" }, launch.CodeBadOrder, "NAME=value"},
		"password":        {func(o *launch.Order) { o.Setup.Environment["SOURCE_PASSWORD"] = "hunter2" }, launch.CodeSecretInOrder, "SOURCE_PASSWORD"},
		"token":           {func(o *launch.Order) { o.Setup.Environment["my_token"] = "hunter2" }, launch.CodeSecretInOrder, "--environment-secret"},
		"key":             {func(o *launch.Order) { o.Setup.Environment["TEMPORAL_API_KEY"] = "hunter2" }, launch.CodeSecretInOrder, "TEMPORAL_API_KEY"},
		"secret":          {func(o *launch.Order) { o.Setup.Environment["AWS_SECRET_ACCESS_ID"] = "hunter2" }, launch.CodeSecretInOrder, "AWS_SECRET"},
		"URL's password":  {func(o *launch.Order) { o.Setup.Environment["HTTPS_PROXY"] = "http://u:hunter2@proxy" }, launch.CodeSecretInOrder, "HTTPS_PROXY"},
		"two lines":       {func(o *launch.Order) { o.Setup.Environment["A"] = "x\nTIMEFERRY_END\nrm" }, launch.CodeBadOrder, "more than one line"},
		"no Temporal": {func(o *launch.Order) {
			o.Setup.EnvironmentSecret, o.Setup.Environment = "", nil
		}, launch.CodeBadOrder, "TEMPORAL_ADDRESS"},
	} {
		t.Run(name, func(t *testing.T) {
			order := goodOrder()
			c.spoil(&order)
			_, err := client.Launch(t.Context(), order, nil)
			requireFault(t, err, fault.Operator, c.code, c.part)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestTerminateRefusesAName(t *testing.T) {
	_, err := isolatedClient(t).Terminate(t.Context(), "*", nil, nil)
	requireFault(t, err, fault.Operator, launch.CodeBadOrder, "cannot name")
}

// A path to a file with a key is none.
func TestPathsOfKeysAreNoSecrets(t *testing.T) {
	order := goodOrder()
	order.Setup.Environment["TEMPORAL_TLS_CLIENT_KEY_PATH"] = "/etc/timeferry/client.key"
	script, err := launch.UserData(order, launch.Plan{PostgresClient: 15, Region: "us-west-2"})
	require.NoError(t, err)
	require.Contains(t, script, "TEMPORAL_TLS_CLIENT_KEY_PATH")
	_, err = isolatedClient(t).Launch(t.Context(), order, nil)
	require.NotContains(t, err.Error(), "KEY_PATH", "the order is good; what fails is that nobody answers")
}
