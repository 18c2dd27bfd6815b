package launch_test

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go/logging"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/fault"
	"timeferry/internal/launch"
)

// isolatedClient has credentials and nobody to talk to.
func isolatedClient(t *testing.T) *launch.Client {
	t.Helper()
	isolateAWS(t)
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	return mustOpen(t)
}

// isolateAWS keeps the machine's own AWS configuration out.
func isolateAWS(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func mustOpen(t *testing.T) *launch.Client {
	t.Helper()
	c, err := launch.Open(t.Context(), launch.Options{Region: "us-west-2", PollInterval: 4 * time.Millisecond, MaxBackoff: 5 * time.Millisecond})
	require.NoError(t, err)
	return c
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

// world is a simulator with the instance "shop-prod" in a VPC of its own, and our client.
type world struct {
	simulator *awssim.Simulator
	client    *launch.Client
	person    *ec2.Client
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{simulator: awssim.New(awssim.Options{Region: "us-west-2"})}
	t.Cleanup(w.simulator.Close)
	endpoint := httptest.NewServer(w.simulator)
	t.Cleanup(endpoint.Close)
	isolateAWS(t)
	t.Setenv("AWS_ENDPOINT_URL", endpoint.URL)
	w.simulator.AddInstance(awssim.InstanceConfig{ID: "shop-prod", EngineVersion: "15.12", MasterUser: "postgres", Host: "db.example", Port: 5432,
		VPC: "vpc-1", SecurityGroup: "sg-1", AllocatedGiB: 100})
	w.client = mustOpen(t)
	loaded, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-west-2"), config.WithLogger(logging.Nop{}))
	require.NoError(t, err)
	w.person = ec2.NewFromConfig(loaded)
	return w
}

// order is for a machine beside shop-prod, whose subnets it reads.
func (w world) order(t *testing.T) launch.Order {
	t.Helper()
	order := goodOrder()
	order.Source.Subnets = nil
	out, err := w.person.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{Filters: []types.Filter{{Name: aws.String("vpc-id"), Values: []string{"vpc-1"}}}})
	require.NoError(t, err)
	for _, s := range out.Subnets {
		order.Source.Subnets = append(order.Source.Subnets, *s.SubnetId)
	}
	require.Len(t, order.Source.Subnets, 2)
	return order
}

// running are the machines that are there, terminated ones left out.
func (w world) running() []awssim.Machine {
	return slices.DeleteFunc(w.simulator.Machines(), func(m awssim.Machine) bool { return m.State == "terminated" })
}

// groups are the names of the groups that we made.
func (w world) groups(t *testing.T) []string {
	t.Helper()
	out, err := w.person.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{})
	require.NoError(t, err)
	var names []string
	for _, g := range out.SecurityGroups {
		if strings.HasPrefix(*g.GroupName, "timeferry-") {
			names = append(names, *g.GroupName)
		}
	}
	return names
}
