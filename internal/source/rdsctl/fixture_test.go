package rdsctl_test

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/smithy-go/logging"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/fault"
	"timeferry/internal/source/rdsctl"
)

// fakeServer records the restarts.
type fakeServer struct {
	mu       sync.Mutex
	restarts []map[string]string
	fail     error
}

func (f *fakeServer) Restart(_ context.Context, parameters map[string]string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restarts = append(f.restarts, parameters)
	return f.fail
}

func (f *fakeServer) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.restarts)
}

// world is a simulator with the instance "shop", our client, and a bare SDK client for what a person would do.
type world struct {
	simulator *awssim.Simulator
	server    *fakeServer
	client    *rdsctl.Client
	person    *rds.Client
}

func newFixture(t *testing.T, change func(*awssim.InstanceConfig)) world {
	t.Helper()
	return newTimedFixture(t, awssim.Timings{BeforeReboot: 15 * time.Millisecond}, change)
}

// slow lets every state last long enough to be seen on a busy machine. The time before a reboot stays short, since the
// client gives up on a reboot that does not begin within some polls.
var slow = awssim.Timings{Modifying: 250 * time.Millisecond, Rebooting: 250 * time.Millisecond, BeforeReboot: 15 * time.Millisecond}

func newTimedFixture(t *testing.T, timings awssim.Timings, change func(*awssim.InstanceConfig)) world {
	t.Helper()
	w := world{simulator: awssim.New(awssim.Options{Timings: timings}), server: &fakeServer{}}
	t.Cleanup(w.simulator.Close)
	endpoint := httptest.NewServer(w.simulator)
	t.Cleanup(endpoint.Close)
	isolateAWS(t)
	t.Setenv("AWS_ENDPOINT_URL", endpoint.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	instance := awssim.InstanceConfig{ID: "shop", EngineVersion: "15.12", MasterUser: "postgres", Host: "db.example", Port: 5432,
		Server: w.server, VPC: "vpc-1", SecurityGroup: "sg-1", AllocatedGiB: 50}
	if change != nil {
		change(&instance)
	}
	w.simulator.AddInstance(instance)
	w.client = mustOpen(t)
	loaded, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-west-2"), config.WithLogger(logging.Nop{}))
	require.NoError(t, err)
	w.person = rds.NewFromConfig(loaded)
	return w
}

// isolateAWS keeps the machine's own AWS configuration out.
func isolateAWS(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
		"AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_RDS", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func mustOpen(t *testing.T) *rdsctl.Client {
	t.Helper()
	c, err := rdsctl.Open(t.Context(), rdsctl.Options{Region: "us-west-2", PollInterval: 4 * time.Millisecond, MaxBackoff: 5 * time.Millisecond})
	require.NoError(t, err)
	return c
}

func (w world) inspect(t *testing.T) rdsctl.Instance {
	t.Helper()
	in, err := w.client.Inspect(t.Context(), "shop")
	require.NoError(t, err)
	return in
}

func (w world) plan(t *testing.T, wanted map[string]string) rdsctl.GroupPlan {
	t.Helper()
	plan, err := w.client.PlanGroup(t.Context(), w.inspect(t), "shop-timeferry", wanted)
	require.NoError(t, err)
	return plan
}

// prepare does all of it, as the workflow does.
func (w world) prepare(t *testing.T, wanted map[string]string) rdsctl.Instance {
	t.Helper()
	plan := w.plan(t, wanted)
	require.NoError(t, w.client.ApplyGroup(t.Context(), w.inspect(t), plan, "shop"))
	_, err := w.client.Attach(t.Context(), "shop", plan.Group, nil)
	require.NoError(t, err)
	in, err := w.client.Reboot(t.Context(), "shop", nil)
	require.NoError(t, err)
	return in
}

// mustCustomGroup makes a group as a person would, and lets the instance use it if attach is true.
func (w world) mustCustomGroup(t *testing.T, name, family string, values map[string]string, attach bool) {
	t.Helper()
	_, err := w.person.CreateDBParameterGroup(t.Context(), &rds.CreateDBParameterGroupInput{DBParameterGroupName: &name,
		DBParameterGroupFamily: &family, Description: aws.String("by hand")})
	require.NoError(t, err)
	for key, value := range values {
		_, err := w.person.ModifyDBParameterGroup(t.Context(), &rds.ModifyDBParameterGroupInput{DBParameterGroupName: &name,
			Parameters: []types.Parameter{{ParameterName: &key, ParameterValue: &value, ApplyMethod: types.ApplyMethodPendingReboot}}})
		require.NoError(t, err)
	}
	if attach {
		_, err = w.client.Attach(t.Context(), "shop", name, nil)
		require.NoError(t, err)
		_, err = w.client.Reboot(t.Context(), "shop", nil)
		require.NoError(t, err)
	}
}

// userValues are what is set in a group.
func (w world) userValues(t *testing.T, group string) map[string]string {
	t.Helper()
	out, err := w.person.DescribeDBParameters(t.Context(), &rds.DescribeDBParametersInput{DBParameterGroupName: &group, Source: aws.String("user")})
	require.NoError(t, err)
	values := map[string]string{}
	for _, p := range out.Parameters {
		values[*p.ParameterName] = *p.ParameterValue
	}
	return values
}

func (w world) tags(t *testing.T, group string) map[string]string {
	t.Helper()
	out, err := w.person.ListTagsForResource(t.Context(), &rds.ListTagsForResourceInput{
		ResourceName: aws.String("arn:aws:rds:us-east-1:123456789012:pg:" + group)})
	require.NoError(t, err)
	tags := map[string]string{}
	for _, tag := range out.TagList {
		tags[*tag.Key] = *tag.Value
	}
	return tags
}

func requireFault(t *testing.T, err error, class fault.Class, code string, parts ...string) {
	t.Helper()
	var own *fault.Error
	require.ErrorAs(t, err, &own)
	require.Equal(t, class, fault.Classify(err), err.Error())
	require.Equal(t, code, own.Code, err.Error())
	for _, part := range parts {
		require.Contains(t, err.Error(), part)
	}
	require.NotEmpty(t, own.Hint, "no remedy: %s", err)
	require.NotContains(t, err.Error(), "RequestID", "the SDK's own words")
}
