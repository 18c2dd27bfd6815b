package rdsctl_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
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
	"timeferry/internal/contract"
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

var (
	shop    = contract.RDS{Instance: "shop"}
	cluster = contract.RDS{Cluster: "shop"}
	noLimit time.Time
)

// world is a simulator with the instance or cluster "shop", our client, and a bare SDK client for what a person would do.
type world struct {
	simulator *awssim.Simulator
	server    *fakeServer
	client    *rdsctl.Client
	person    *rds.Client
	db        contract.RDS
	front     *front
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
	w := newWorld(t, timings, shop)
	instance := awssim.InstanceConfig{ID: "shop", EngineVersion: "15.12", MasterUser: "postgres", Host: "db.example", Port: 5432,
		Server: w.server, VPC: "vpc-1", SecurityGroup: "sg-1", AllocatedGiB: 50}
	if change != nil {
		change(&instance)
	}
	w.simulator.AddInstance(instance)
	return w
}

// newClusterFixture makes a cluster instead: an Aurora one for the engine aurora-postgresql, a Multi-AZ one for postgres.
func newClusterFixture(t *testing.T, timings awssim.Timings, engine string) world {
	t.Helper()
	w := newWorld(t, timings, cluster)
	w.simulator.AddCluster(awssim.ClusterConfig{ID: "shop", Engine: engine, EngineVersion: "15.4", MasterUser: "postgres", Host: "writer.example",
		ReaderHost: "reader.example", Port: 5432, Server: w.server, VPC: "vpc-1", SecurityGroup: "sg-1"})
	return w
}

func newWorld(t *testing.T, timings awssim.Timings, db contract.RDS) world {
	t.Helper()
	w := world{simulator: awssim.New(awssim.Options{Timings: timings}), server: &fakeServer{}, db: db}
	w.front = &front{simulator: w.simulator}
	t.Cleanup(w.simulator.Close)
	endpoint := httptest.NewServer(w.front)
	t.Cleanup(endpoint.Close)
	isolateAWS(t)
	t.Setenv("AWS_ENDPOINT_URL", endpoint.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	w.client = mustOpen(t)
	loaded, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-west-2"), config.WithLogger(logging.Nop{}))
	require.NoError(t, err)
	w.person = rds.NewFromConfig(loaded)
	return w
}

// front stands between the clients and the simulator; each hook may be nil.
type front struct {
	simulator http.Handler
	mu        sync.Mutex
	after     func(action string)              // called when the action has taken effect, before the client has the answer
	rewrite   func(action, body string) string // of answers
}

func (f *front) set(change func(*front)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *front) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(out, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, err := url.ParseQuery(string(body))
	action := form.Get("Action")
	f.mu.Lock()
	after, rewrite := f.after, f.rewrite
	f.mu.Unlock()
	if err != nil || action == "" {
		f.simulator.ServeHTTP(out, r)
		return
	}
	answer := httptest.NewRecorder()
	f.simulator.ServeHTTP(answer, r)
	if after != nil {
		after(action)
	}
	text := answer.Body.String()
	if rewrite != nil {
		text = rewrite(action, text)
	}
	answer.Header().Del("Content-Length")
	maps.Copy(out.Header(), answer.Header())
	out.WriteHeader(answer.Code)
	fmt.Fprint(out, text)
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

const pollInterval = 4 * time.Millisecond

func mustOpen(t *testing.T) *rdsctl.Client {
	t.Helper()
	c, err := rdsctl.Open(t.Context(), rdsctl.Options{Region: "us-west-2", PollInterval: pollInterval, MaxBackoff: 5 * time.Millisecond})
	require.NoError(t, err)
	return c
}

func (w world) inspect(t *testing.T) rdsctl.Instance {
	t.Helper()
	in, err := w.client.Inspect(t.Context(), w.db)
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
	_, err := w.client.Attach(t.Context(), w.db, plan.Group, nil)
	require.NoError(t, err)
	in, err := w.client.Reboot(t.Context(), w.db, noLimit, nil)
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
		_, err = w.client.Attach(t.Context(), shop, name, nil)
		require.NoError(t, err)
		_, err = w.client.Reboot(t.Context(), shop, noLimit, nil)
		require.NoError(t, err)
	}
}

// userValues are what is set in a group.
func (w world) userValues(t *testing.T, group string) map[string]string {
	t.Helper()
	if w.db.Cluster != "" {
		out, err := w.person.DescribeDBClusterParameters(t.Context(), &rds.DescribeDBClusterParametersInput{DBClusterParameterGroupName: &group, Source: aws.String("user")})
		require.NoError(t, err)
		return valuesOf(out.Parameters)
	}
	out, err := w.person.DescribeDBParameters(t.Context(), &rds.DescribeDBParametersInput{DBParameterGroupName: &group, Source: aws.String("user")})
	require.NoError(t, err)
	return valuesOf(out.Parameters)
}

func valuesOf(all []types.Parameter) map[string]string {
	values := map[string]string{}
	for _, p := range all {
		values[*p.ParameterName] = *p.ParameterValue
	}
	return values
}

func (w world) tags(t *testing.T, group string) map[string]string {
	t.Helper()
	return w.tagsOf(t, "pg:"+group)
}

// tagsOf takes the end of an ARN.
func (w world) tagsOf(t *testing.T, resource string) map[string]string {
	t.Helper()
	out, err := w.person.ListTagsForResource(t.Context(), &rds.ListTagsForResourceInput{
		ResourceName: aws.String("arn:aws:rds:us-east-1:123456789012:" + resource)})
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
