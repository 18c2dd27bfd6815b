// Package awssimtest is the conformance suite of the RDS API: what the rest of Timeferry relies on, written once, run on
// the simulator and, opt-in, on AWS.
//
// In: a client and an instance that may be rebooted. Out: failed tests.
// Invariants: it cleans up after itself: its parameter groups are deleted, and the instance gets its old group back.
//
// Not here: anything that only a simulator can do, such as faults.
package awssimtest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	smithy "github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"
)

// Options say how patient the suite is.
type Options struct {
	Poll    time.Duration // between looks at the instance; zero: 5 ms, fit for a simulator
	Timeout time.Duration // for one change of state; zero: 10 s
	Prefix  string        // of the names of parameter groups; zero: "conformance"
}

// Run runs the suite. The instance is rebooted twice.
func Run(t *testing.T, client *rds.Client, instanceID string, options Options) {
	t.Helper()
	if options.Poll == 0 {
		options.Poll = 5 * time.Millisecond
	}
	if options.Timeout == 0 {
		options.Timeout = 10 * time.Second
	}
	if options.Prefix == "" {
		options.Prefix = "conformance"
	}
	s := suite{client: client, id: instanceID, Options: options}
	s.start = s.instance(t)
	s.family = s.familyOf(t, s.start)
	t.Run("missing things", s.testMissing)
	t.Run("pagination", s.testPagination)
	t.Run("catalogue", s.testCatalogue)
	t.Run("group names", s.testGroupNames)
	t.Run("default group is read-only", s.testDefaultGroup)
	t.Run("modify group", s.testModifyGroup)
	t.Run("copy group", s.testCopyGroup)
	t.Run("tags", s.testTags)
	t.Run("attach refusals", s.testAttachRefusals)
	t.Run("attach and reboot", s.testAttachAndReboot)
}

type suite struct {
	Options
	client *rds.Client
	id     string
	start  types.DBInstance
	family string
}

// testContext outlives the test's own context, which ends before the cleanups that need it.
func testContext(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }

func (s suite) instance(t *testing.T) types.DBInstance {
	t.Helper()
	out, err := s.client.DescribeDBInstances(testContext(t), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &s.id})
	require.NoError(t, err)
	require.Len(t, out.DBInstances, 1)
	return out.DBInstances[0]
}

func (s suite) familyOf(t *testing.T, in types.DBInstance) string {
	t.Helper()
	out, err := s.client.DescribeDBEngineVersions(testContext(t), &rds.DescribeDBEngineVersionsInput{
		Engine: in.Engine, EngineVersion: in.EngineVersion, IncludeAll: aws.Bool(true)})
	require.NoError(t, err)
	require.NotEmpty(t, out.DBEngineVersions)
	return *out.DBEngineVersions[0].DBParameterGroupFamily
}

// mustCreateGroup makes a group of the instance's family and deletes it at the end.
func (s suite) mustCreateGroup(t *testing.T, name string, tags ...types.Tag) types.DBParameterGroup {
	t.Helper()
	name = s.Prefix + "-" + name
	out, err := s.client.CreateDBParameterGroup(testContext(t), &rds.CreateDBParameterGroupInput{DBParameterGroupName: &name,
		DBParameterGroupFamily: &s.family, Description: aws.String("conformance suite"), Tags: tags})
	require.NoError(t, err)
	s.deleteAtEnd(t, name)
	return *out.DBParameterGroup
}

func (s suite) deleteAtEnd(t *testing.T, name string) {
	t.Helper()
	t.Cleanup(func() {
		_, err := s.client.DeleteDBParameterGroup(testContext(t), &rds.DeleteDBParameterGroupInput{DBParameterGroupName: &name})
		require.NoError(t, err)
	})
}

func (s suite) modify(t *testing.T, group string, parameters ...types.Parameter) error {
	t.Helper()
	_, err := s.client.ModifyDBParameterGroup(testContext(t), &rds.ModifyDBParameterGroupInput{DBParameterGroupName: &group, Parameters: parameters})
	return err
}

func set(name, value string, method types.ApplyMethod) types.Parameter {
	return types.Parameter{ParameterName: &name, ParameterValue: &value, ApplyMethod: method}
}

// parameters reads all pages of a group; source empty means all of them.
func (s suite) parameters(t *testing.T, group, source string) map[string]types.Parameter {
	t.Helper()
	input := &rds.DescribeDBParametersInput{DBParameterGroupName: &group}
	if source != "" {
		input.Source = &source
	}
	out := map[string]types.Parameter{}
	pages := rds.NewDescribeDBParametersPaginator(s.client, input)
	for pages.HasMorePages() {
		part, err := pages.NextPage(testContext(t))
		require.NoError(t, err)
		for _, p := range part.Parameters {
			require.NotContains(t, out, *p.ParameterName, "a parameter on two pages")
			out[*p.ParameterName] = p
		}
	}
	return out
}

func requireCode(t *testing.T, err error, code, messagePart string) {
	t.Helper()
	var api smithy.APIError
	require.Error(t, err)
	require.True(t, errors.As(err, &api), "not an API error: %v", err)
	require.Equal(t, code, api.ErrorCode(), api.ErrorMessage())
	require.Contains(t, api.ErrorMessage(), messagePart)
}

// waitFor polls until the instance is as asked and gives every different "status/apply status" seen on the way.
func (s suite) waitFor(t *testing.T, status, applyStatus string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(testContext(t), s.Timeout)
	defer cancel()
	ticker := time.NewTicker(s.Poll)
	defer ticker.Stop()
	var seen []string
	for {
		in := s.instance(t)
		state := fmt.Sprintf("%s/%s", *in.DBInstanceStatus, *in.DBParameterGroups[0].ParameterApplyStatus)
		if len(seen) == 0 || seen[len(seen)-1] != state {
			seen = append(seen, state)
		}
		if state == status+"/"+applyStatus {
			return seen
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			require.FailNow(t, "the suite's timeout for a change of state is over", "wanted %s/%s, saw %v", status, applyStatus, seen)
		}
	}
}
