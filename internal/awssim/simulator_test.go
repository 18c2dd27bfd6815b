package awssim_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smithy "github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

// fakeServer records what the hook was told.
type fakeServer struct {
	mu       sync.Mutex
	restarts []map[string]string
	reloads  []map[string]string
	fail     error
}

func (f *fakeServer) Restart(_ context.Context, parameters map[string]string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restarts = append(f.restarts, parameters)
	return f.fail
}

func (f *fakeServer) Reload(_ context.Context, parameters map[string]string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reloads = append(f.reloads, parameters)
	return nil
}

type world struct {
	simulator *awssim.Simulator
	server    *fakeServer
	rds       *rds.Client
	secrets   *secretsmanager.Client
	url       string
}

// slow lets every state last long enough to be seen on a busy machine.
var slow = awssim.Timings{Modifying: 200 * time.Millisecond, Applying: 200 * time.Millisecond,
	BeforeReboot: 200 * time.Millisecond, Rebooting: 200 * time.Millisecond}

func newFixture(t *testing.T) world {
	t.Helper()
	w := world{simulator: awssim.New(awssim.Options{Timings: slow}), server: &fakeServer{}}
	t.Cleanup(w.simulator.Close)
	endpoint := httptest.NewServer(w.simulator)
	t.Cleanup(endpoint.Close)
	w.url = endpoint.URL
	w.simulator.AddInstance(awssim.InstanceConfig{ID: "shop", EngineVersion: "15.12", MasterUser: "postgres",
		Host: "127.0.0.1", Port: 5432, Server: w.server, VPC: "vpc-1", SecurityGroup: "sg-1", AllocatedGiB: 50, MultiAZ: true})
	login := credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")
	w.rds = rds.New(rds.Options{Region: "us-east-1", BaseEndpoint: &endpoint.URL, Credentials: login, RetryMaxAttempts: 1})
	w.secrets = secretsmanager.New(secretsmanager.Options{Region: "us-east-1", BaseEndpoint: &endpoint.URL, Credentials: login, RetryMaxAttempts: 1})
	return w
}

func (w world) instance(t *testing.T) types.DBInstance {
	t.Helper()
	out, err := w.rds.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: aws.String("SHOP")})
	require.NoError(t, err)
	return out.DBInstances[0]
}

func (w world) requireState(t *testing.T, status, apply string) {
	t.Helper()
	require.Eventually(t, func() bool {
		in := w.instance(t)
		return *in.DBInstanceStatus == status && *in.DBParameterGroups[0].ParameterApplyStatus == apply
	}, 5*time.Second, 2*time.Millisecond, "never %s/%s", status, apply)
}

func (w world) mustGroup(t *testing.T, name string) {
	t.Helper()
	_, err := w.rds.CreateDBParameterGroup(t.Context(), &rds.CreateDBParameterGroupInput{DBParameterGroupName: &name,
		DBParameterGroupFamily: aws.String("postgres15"), Description: aws.String("d")})
	require.NoError(t, err)
}

func (w world) mustSet(t *testing.T, group, name, value string, method types.ApplyMethod) {
	t.Helper()
	_, err := w.rds.ModifyDBParameterGroup(t.Context(), &rds.ModifyDBParameterGroupInput{DBParameterGroupName: &group,
		Parameters: []types.Parameter{{ParameterName: &name, ParameterValue: &value, ApplyMethod: method}}})
	require.NoError(t, err)
}

func (w world) mustAttach(t *testing.T, group string) {
	t.Helper()
	_, err := w.rds.ModifyDBInstance(t.Context(), &rds.ModifyDBInstanceInput{DBInstanceIdentifier: aws.String("shop"), DBParameterGroupName: &group})
	require.NoError(t, err)
}

func (w world) reboot(t *testing.T, failover bool) error {
	t.Helper()
	_, err := w.rds.RebootDBInstance(t.Context(), &rds.RebootDBInstanceInput{DBInstanceIdentifier: aws.String("shop"), ForceFailover: &failover})
	return err
}

func requireCode(t *testing.T, err error, code string) {
	t.Helper()
	var api smithy.APIError
	require.True(t, errors.As(err, &api), "not an API error: %v", err)
	require.Equal(t, code, api.ErrorCode())
}

func TestInstanceIsDescribed(t *testing.T) {
	in := newFixture(t).instance(t)
	require.Equal(t, "127.0.0.1", *in.Endpoint.Address)
	require.Equal(t, int32(5432), *in.Endpoint.Port)
	require.Equal(t, "vpc-1", *in.DBSubnetGroup.VpcId)
	require.Equal(t, "sg-1", *in.VpcSecurityGroups[0].VpcSecurityGroupId)
	require.Equal(t, "default.postgres15", *in.DBParameterGroups[0].DBParameterGroupName)
	require.Equal(t, "in-sync", *in.DBParameterGroups[0].ParameterApplyStatus)
	require.Nil(t, in.PendingModifiedValues.AllocatedStorage)
	require.True(t, *in.MultiAZ)
}

func TestRebootRestartsWithTranslatedValues(t *testing.T) {
	w := newFixture(t)
	w.mustGroup(t, "mine")
	w.mustSet(t, "mine", "rds.logical_replication", "1", types.ApplyMethodPendingReboot)
	w.mustSet(t, "mine", "wal_sender_timeout", "1800000", types.ApplyMethodImmediate)
	w.mustSet(t, "mine", "log_connections", "1", types.ApplyMethodImmediate)
	w.mustSet(t, "mine", "shared_buffers", "{DBInstanceClassMemory/32768}", types.ApplyMethodPendingReboot)
	w.mustSet(t, "mine", "rds.force_ssl", "0", types.ApplyMethodImmediate)
	w.mustAttach(t, "mine")
	w.requireState(t, "available", "pending-reboot")
	require.Empty(t, w.server.restarts, "attaching restarts nothing")
	require.Empty(t, w.server.reloads, "a newly attached group waits for the reboot, dynamic values too")

	require.NoError(t, w.reboot(t, false))
	require.Equal(t, "available", *w.instance(t).DBInstanceStatus, "for a moment nothing shows")
	requireCode(t, w.reboot(t, false), "InvalidDBInstanceState")
	w.requireState(t, "rebooting", "pending-reboot")
	w.requireState(t, "available", "in-sync")
	require.Equal(t, []map[string]string{{"wal_level": "logical", "rds.logical_replication": "on", "max_wal_senders": "20",
		"max_replication_slots": "20", "wal_sender_timeout": "1800000", "log_connections": "on"}}, w.server.restarts)
}

func TestDynamicValueOfAttachedGroupIsReloaded(t *testing.T) {
	w := newFixture(t)
	w.mustGroup(t, "mine")
	w.mustAttach(t, "mine")
	w.requireState(t, "available", "pending-reboot")
	require.NoError(t, w.reboot(t, false))
	w.requireState(t, "available", "in-sync")

	w.mustSet(t, "mine", "work_mem", "8192", types.ApplyMethodImmediate)
	require.Equal(t, "applying", *w.instance(t).DBParameterGroups[0].ParameterApplyStatus)
	w.requireState(t, "available", "in-sync")
	require.Equal(t, []map[string]string{{"wal_level": "replica", "rds.logical_replication": "off", "work_mem": "8192"}}, w.server.reloads)

	w.mustSet(t, "mine", "max_connections", "200", types.ApplyMethodPendingReboot)
	w.requireState(t, "available", "pending-reboot")
	require.Len(t, w.server.restarts, 1)
}

func TestFailoverDoesNotApplyStaticValues(t *testing.T) {
	w := newFixture(t)
	w.mustGroup(t, "mine")
	w.mustSet(t, "mine", "rds.logical_replication", "1", types.ApplyMethodPendingReboot)
	w.mustAttach(t, "mine")
	w.requireState(t, "available", "pending-reboot")
	require.NoError(t, w.reboot(t, true))
	w.requireState(t, "rebooting", "pending-reboot")
	w.requireState(t, "available", "pending-reboot")
	require.Equal(t, "replica", w.server.restarts[0]["wal_level"])
}

func TestFailedStartIsIncompatibleParameters(t *testing.T) {
	w := newFixture(t)
	w.server.fail = errors.New("does not start")
	require.NoError(t, w.reboot(t, false))
	w.requireState(t, "incompatible-parameters", "in-sync")
	w.server.mu.Lock()
	w.server.fail = nil
	w.server.mu.Unlock()
	require.NoError(t, w.reboot(t, false))
	w.requireState(t, "available", "in-sync")
}

func TestApplyImmediatelyFlushesOtherModifications(t *testing.T) {
	w := newFixture(t)
	modify := func(input *rds.ModifyDBInstanceInput) {
		input.DBInstanceIdentifier = aws.String("shop")
		_, err := w.rds.ModifyDBInstance(t.Context(), input)
		require.NoError(t, err)
	}
	modify(&rds.ModifyDBInstanceInput{AllocatedStorage: aws.Int32(100)})
	require.Equal(t, int32(100), *w.instance(t).PendingModifiedValues.AllocatedStorage)
	require.Equal(t, int32(50), *w.instance(t).AllocatedStorage)

	w.mustGroup(t, "mine")
	modify(&rds.ModifyDBInstanceInput{DBParameterGroupName: aws.String("mine"), ApplyImmediately: aws.Bool(true)})
	w.requireState(t, "available", "pending-reboot")
	require.Equal(t, int32(100), *w.instance(t).AllocatedStorage)
	require.Nil(t, w.instance(t).PendingModifiedValues.AllocatedStorage)

	_, err := w.rds.ModifyDBInstance(t.Context(), &rds.ModifyDBInstanceInput{DBInstanceIdentifier: aws.String("shop")})
	requireCode(t, err, "InvalidParameterCombination")
}

func TestFaults(t *testing.T) {
	w := newFixture(t)
	describe := func() error {
		_, err := w.rds.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{})
		return err
	}
	w.simulator.Inject(awssim.Fault{Kind: awssim.Throttle, Count: 2})
	requireCode(t, describe(), "Throttling")
	requireCode(t, describe(), "Throttling")
	require.NoError(t, describe())

	w.simulator.Inject(awssim.Fault{Kind: awssim.FailCall, Action: "RebootDBInstance", Code: "AccessDenied", Status: http.StatusForbidden})
	require.NoError(t, describe(), "a fault of another action")
	requireCode(t, w.reboot(t, false), "AccessDenied")

	w.simulator.Inject(awssim.Fault{Kind: awssim.RefuseReboot})
	requireCode(t, w.reboot(t, false), "InvalidDBInstanceState")

	w.simulator.Inject(awssim.Fault{Kind: awssim.BackingUp, Instance: "shop", For: 500 * time.Millisecond})
	require.Equal(t, "backing-up", *w.instance(t).DBInstanceStatus)
	requireCode(t, w.reboot(t, false), "InvalidDBInstanceState")
	w.requireState(t, "available", "in-sync")

	w.simulator.Inject(awssim.Fault{Kind: awssim.LoseAnswer})
	_, err := w.rds.CreateDBParameterGroup(t.Context(), &rds.CreateDBParameterGroupInput{DBParameterGroupName: aws.String("lost"),
		DBParameterGroupFamily: aws.String("postgres15"), Description: aws.String("d")})
	requireCode(t, err, "InternalFailure")
	read := func(name string) error {
		_, err := w.rds.DescribeDBParameterGroups(t.Context(), &rds.DescribeDBParameterGroupsInput{DBParameterGroupName: &name})
		return err
	}
	require.NoError(t, read("lost"), "the call took effect")

	w.simulator.Inject(awssim.Fault{Kind: awssim.StaleReads, Count: 2})
	w.mustGroup(t, "late")
	requireCode(t, read("late"), "DBParameterGroupNotFound")
	requireCode(t, read("late"), "DBParameterGroupNotFound")
	require.NoError(t, read("late"))
	require.Equal(t, 2, w.simulator.Calls("CreateDBParameterGroup"))
}

func TestSecrets(t *testing.T) {
	w := newFixture(t)
	arn := w.simulator.PutSecret("rds!db-shop", `{"password":"p\"1"}`)
	for _, id := range []string{arn, "rds!db-shop"} {
		out, err := w.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &id})
		require.NoError(t, err)
		require.Equal(t, `{"password":"p\"1"}`, *out.SecretString)
		require.Equal(t, arn, *out.ARN)
	}
	first, err := w.secrets.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &arn})
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), *first.LastChangedDate, time.Minute)
	require.Equal(t, arn, w.simulator.PutSecret("rds!db-shop", "rotated"), "a new version keeps its ARN")
	second, err := w.secrets.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &arn})
	require.NoError(t, err)
	require.NotEqual(t, first.VersionIdsToStages, second.VersionIdsToStages)
	_, err = w.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("other")})
	requireCode(t, err, "ResourceNotFoundException")
}

func TestRequestsNobodyServes(t *testing.T) {
	w := newFixture(t)
	for body, code := range map[string]string{
		"Action=DescribeDBInstances&Version=2000-01-01": "NoSuchVersion",
		"Action=DropEverything&Version=2014-10-31":      "InvalidAction",
		"Action=%zz": "MalformedQueryString",
		"Action=CreateDBInstance&Version=2014-10-31": "InvalidAction",
	} {
		response, err := http.Post(w.url, "application/x-www-form-urlencoded", strings.NewReader(body))
		require.NoError(t, err)
		text := new(strings.Builder)
		require.NoError(t, response.Write(text))
		require.Contains(t, text.String(), "<Code>"+code+"</Code>")
	}
}

func TestCloseEndsTransitions(t *testing.T) {
	simulator := awssim.New(awssim.Options{Timings: awssim.Timings{BeforeReboot: time.Hour}})
	endpoint := httptest.NewServer(simulator)
	t.Cleanup(endpoint.Close)
	simulator.AddInstance(awssim.InstanceConfig{ID: "shop", EngineVersion: "15.12"})
	response, err := http.Post(endpoint.URL, "application/x-www-form-urlencoded",
		strings.NewReader("Action=RebootDBInstance&Version=2014-10-31&DBInstanceIdentifier=shop"))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	simulator.Close() // hangs if it does not
}
