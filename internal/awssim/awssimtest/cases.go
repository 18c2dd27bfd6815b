package awssimtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/stretchr/testify/require"
)

const (
	immediate     = types.ApplyMethodImmediate
	pendingReboot = types.ApplyMethodPendingReboot
)

func (s suite) testMissing(t *testing.T) {
	_, err := s.client.DescribeDBInstances(testContext(t), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: aws.String("no-such-instance")})
	requireCode(t, err, "DBInstanceNotFound", "")
	_, err = s.client.RebootDBInstance(testContext(t), &rds.RebootDBInstanceInput{DBInstanceIdentifier: aws.String("no-such-instance")})
	requireCode(t, err, "DBInstanceNotFound", "")
	_, err = s.client.DescribeDBParameterGroups(testContext(t), &rds.DescribeDBParameterGroupsInput{DBParameterGroupName: aws.String("no-such-group")})
	requireCode(t, err, "DBParameterGroupNotFound", "")
	_, err = s.client.DescribeDBParameters(testContext(t), &rds.DescribeDBParametersInput{DBParameterGroupName: aws.String("no-such-group")})
	requireCode(t, err, "DBParameterGroupNotFound", "")
	requireCode(t, s.modify(t, "no-such-group", set("work_mem", "4096", immediate)), "DBParameterGroupNotFound", "")
}

func (s suite) testPagination(t *testing.T) {
	group := "default." + s.family
	first, err := s.client.DescribeDBParameters(testContext(t), &rds.DescribeDBParametersInput{DBParameterGroupName: &group})
	require.NoError(t, err)
	require.Len(t, first.Parameters, 100, "a page without MaxRecords")
	require.NotEmpty(t, aws.ToString(first.Marker))
	small, err := s.client.DescribeDBParameters(testContext(t), &rds.DescribeDBParametersInput{DBParameterGroupName: &group, MaxRecords: aws.Int32(20)})
	require.NoError(t, err)
	require.Len(t, small.Parameters, 20)
	require.Greater(t, len(s.parameters(t, group, "")), 120)

	_, err = s.client.DescribeDBParameters(testContext(t), &rds.DescribeDBParametersInput{DBParameterGroupName: &group, MaxRecords: aws.Int32(101)})
	requireCode(t, err, "InvalidParameterValue", "MaxRecords")
}

func (s suite) testCatalogue(t *testing.T) {
	all := s.parameters(t, "default."+s.family, "")
	logical := all["rds.logical_replication"]
	require.Equal(t, "static", *logical.ApplyType)
	require.Equal(t, "boolean", *logical.DataType)
	require.Equal(t, "0,1", *logical.AllowedValues)
	require.True(t, *logical.IsModifiable)
	require.NotEqual(t, "1", aws.ToString(logical.ParameterValue))
	timeout := all["wal_sender_timeout"]
	require.Equal(t, "dynamic", *timeout.ApplyType)
	require.Equal(t, "integer", *timeout.DataType)
	require.True(t, strings.HasPrefix(*timeout.Description, "(ms)"), *timeout.Description)
	require.Empty(t, s.parameters(t, "default."+s.family, "user"))
	_, has := all["old_snapshot_threshold"]
	require.Equal(t, s.family <= "postgres16", has, "old_snapshot_threshold ended with PostgreSQL 16")
}

func (s suite) testGroupNames(t *testing.T) {
	create := func(name, family string) error {
		_, err := s.client.CreateDBParameterGroup(testContext(t), &rds.CreateDBParameterGroupInput{DBParameterGroupName: &name,
			DBParameterGroupFamily: &family, Description: aws.String("conformance suite")})
		return err
	}
	for _, name := range []string{"with.period", "1st", "ends-", "two--hyphens", "default.mine"} {
		requireCode(t, create(name, s.family), "InvalidParameterValue", "not a valid identifier")
	}
	requireCode(t, create(s.Prefix+"-family", "postgres1"), "InvalidParameterValue", "not a valid parameter group family")
	made := s.mustCreateGroup(t, "UPPER")
	require.Equal(t, s.Prefix+"-upper", *made.DBParameterGroupName, "names are stored in lower case")
	requireCode(t, create(s.Prefix+"-Upper", s.family), "DBParameterGroupAlreadyExists", "")
}

func (s suite) testDefaultGroup(t *testing.T) {
	name := "default." + s.family
	require.Error(t, s.modify(t, name, set("work_mem", "8192", immediate)))
	_, err := s.client.DeleteDBParameterGroup(testContext(t), &rds.DeleteDBParameterGroupInput{DBParameterGroupName: &name})
	requireCode(t, err, "InvalidDBParameterGroupState", "Default DBParameterGroup cannot be deleted")
	_, err = s.client.CopyDBParameterGroup(testContext(t), &rds.CopyDBParameterGroupInput{SourceDBParameterGroupIdentifier: &name,
		TargetDBParameterGroupIdentifier: aws.String(s.Prefix + "-of-default"), TargetDBParameterGroupDescription: aws.String("x")})
	require.Error(t, err)
}

func (s suite) testModifyGroup(t *testing.T) {
	group := *s.mustCreateGroup(t, "modify").DBParameterGroupName
	var many []types.Parameter
	for i := range 21 {
		many = append(many, set("work_mem", fmt.Sprint(4096+i), immediate))
	}
	for _, c := range []struct {
		name, code, message string
		parameters          []types.Parameter
	}{
		{"more than 20", "InvalidParameterCombination", "more than 20 parameters", many},
		{"immediate on static", "InvalidParameterCombination", "cannot use immediate apply method for static parameter", []types.Parameter{set("rds.logical_replication", "1", immediate)}},
		{"unknown", "InvalidParameterValue", "Could not find parameter with name: no_such_thing", []types.Parameter{set("no_such_thing", "1", immediate)}},
		{"out of range", "InvalidParameterValue", "work_mem", []types.Parameter{set("work_mem", "1", immediate)}},
		{"unit", "InvalidParameterValue", "wal_sender_timeout", []types.Parameter{set("wal_sender_timeout", "30min", immediate)}},
		{"locked", "InvalidParameterValue", "fsync", []types.Parameter{set("fsync", "0", immediate)}},
		{"one bad among good", "InvalidParameterValue", "no_such_thing", []types.Parameter{set("work_mem", "8192", immediate), set("no_such_thing", "1", immediate)}},
	} {
		requireCode(t, s.modify(t, group, c.parameters...), c.code, c.message)
	}
	require.Empty(t, s.parameters(t, group, "user"), "a refused call changes nothing")

	require.NoError(t, s.modify(t, group, set("rds.logical_replication", "1", pendingReboot), set("work_mem", "8192", immediate)))
	user := s.parameters(t, group, "user")
	require.Len(t, user, 2)
	require.Equal(t, "1", *user["rds.logical_replication"].ParameterValue)
	require.Equal(t, "8192", *user["work_mem"].ParameterValue)
}

func (s suite) testCopyGroup(t *testing.T) {
	source := *s.mustCreateGroup(t, "copy-source").DBParameterGroupName
	require.NoError(t, s.modify(t, source, set("work_mem", "16384", immediate)))
	target := s.Prefix + "-copy-target"
	out, err := s.client.CopyDBParameterGroup(testContext(t), &rds.CopyDBParameterGroupInput{SourceDBParameterGroupIdentifier: &source,
		TargetDBParameterGroupIdentifier: &target, TargetDBParameterGroupDescription: aws.String("a copy")})
	require.NoError(t, err)
	s.deleteAtEnd(t, target)
	require.Equal(t, s.family, *out.DBParameterGroup.DBParameterGroupFamily)
	require.Equal(t, "16384", *s.parameters(t, target, "user")["work_mem"].ParameterValue)
	require.NoError(t, s.modify(t, target, set("work_mem", "32768", immediate)))
	require.Equal(t, "16384", *s.parameters(t, source, "user")["work_mem"].ParameterValue, "the copy stands alone")
}

func (s suite) testTags(t *testing.T) {
	group := s.mustCreateGroup(t, "tags", types.Tag{Key: aws.String("a"), Value: aws.String("1")})
	_, err := s.client.AddTagsToResource(testContext(t), &rds.AddTagsToResourceInput{ResourceName: group.DBParameterGroupArn,
		Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("2")}, {Key: aws.String("b"), Value: aws.String("<3 & more>")}}})
	require.NoError(t, err)
	out, err := s.client.ListTagsForResource(testContext(t), &rds.ListTagsForResourceInput{ResourceName: group.DBParameterGroupArn})
	require.NoError(t, err)
	tags := map[string]string{}
	for _, tag := range out.TagList {
		tags[*tag.Key] = *tag.Value
	}
	require.Equal(t, map[string]string{"a": "2", "b": "<3 & more>"}, tags)
}

func (s suite) attach(t *testing.T, group string) (types.DBInstance, error) {
	t.Helper()
	out, err := s.client.ModifyDBInstance(testContext(t), &rds.ModifyDBInstanceInput{DBInstanceIdentifier: &s.id,
		DBParameterGroupName: &group, ApplyImmediately: aws.Bool(true)})
	if err != nil {
		return types.DBInstance{}, err
	}
	return *out.DBInstance, nil
}

func (s suite) testAttachRefusals(t *testing.T) {
	_, err := s.attach(t, "no-such-group")
	requireCode(t, err, "DBParameterGroupNotFound", "")
	other := "postgres14"
	if s.family == other {
		other = "postgres15"
	}
	name := s.Prefix + "-other-family"
	_, err = s.client.CreateDBParameterGroup(testContext(t), &rds.CreateDBParameterGroupInput{DBParameterGroupName: &name,
		DBParameterGroupFamily: &other, Description: aws.String("conformance suite")})
	require.NoError(t, err)
	s.deleteAtEnd(t, name)
	_, err = s.attach(t, name)
	requireCode(t, err, "InvalidParameterCombination", "Please use a Parameter Group with DBParameterGroupFamily "+s.family)
}

func (s suite) testAttachAndReboot(t *testing.T) {
	group := *s.mustCreateGroup(t, "attach").DBParameterGroupName
	require.NoError(t, s.modify(t, group, set("rds.logical_replication", "1", pendingReboot)))
	before := *s.start.DBParameterGroups[0].DBParameterGroupName
	t.Cleanup(func() { s.putBack(t, before) }) // runs before the group is deleted

	answer, err := s.attach(t, group)
	require.NoError(t, err)
	require.Equal(t, group, *answer.DBParameterGroups[0].DBParameterGroupName, "the name changes at once")
	seen := s.waitFor(t, "available", "pending-reboot")
	require.Contains(t, strings.Join(seen, " "), "applying", "saw %v", seen)

	_, err = s.client.DeleteDBParameterGroup(testContext(t), &rds.DeleteDBParameterGroupInput{DBParameterGroupName: &group})
	requireCode(t, err, "InvalidDBParameterGroupState", "still members of this parameter group")

	_, err = s.client.RebootDBInstance(testContext(t), &rds.RebootDBInstanceInput{DBInstanceIdentifier: &s.id})
	require.NoError(t, err)
	seen = s.waitFor(t, "available", "in-sync")
	require.Contains(t, strings.Join(seen, " "), "rebooting/pending-reboot", "saw %v", seen)
}

// putBack gives the instance the group that it had.
func (s suite) putBack(t *testing.T, group string) {
	t.Helper()
	_, err := s.client.ModifyDBInstance(testContext(t), &rds.ModifyDBInstanceInput{DBInstanceIdentifier: &s.id, DBParameterGroupName: &group, ApplyImmediately: aws.Bool(true)})
	require.NoError(t, err)
	s.waitFor(t, "available", "pending-reboot")
	_, err = s.client.RebootDBInstance(testContext(t), &rds.RebootDBInstanceInput{DBInstanceIdentifier: &s.id})
	require.NoError(t, err)
	s.waitFor(t, "available", "in-sync")
}
