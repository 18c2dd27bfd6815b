package awssim_test

import (
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

// withRetries is for answers of several packets, whose connection the SDK sometimes loses.
func withRetries(o *rds.Options) { o.RetryMaxAttempts, o.Retryer = 5, retry.NewStandard() }

func (w world) cluster(t *testing.T, id string) types.DBCluster {
	t.Helper()
	out, err := w.rds.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{DBClusterIdentifier: &id})
	require.NoError(t, err)
	return out.DBClusters[0]
}

// requireMembers waits until the cluster and the members' group statuses are as wanted.
func (w world) requireMembers(t *testing.T, id, status string, want ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		cl := w.cluster(t, id)
		var have []string
		for _, m := range cl.DBClusterMembers {
			have = append(have, *m.DBClusterParameterGroupStatus)
		}
		return *cl.Status == status && slices.Equal(want, have)
	}, 5*time.Second, 2*time.Millisecond, "never %s/%s", status, want)
}

func (w world) mustAttachClusterGroup(t *testing.T, cluster, group, family string) {
	t.Helper()
	_, err := w.rds.CreateDBClusterParameterGroup(t.Context(), &rds.CreateDBClusterParameterGroupInput{DBClusterParameterGroupName: &group,
		DBParameterGroupFamily: &family, Description: aws.String("d")})
	require.NoError(t, err)
	_, err = w.rds.ModifyDBClusterParameterGroup(t.Context(), &rds.ModifyDBClusterParameterGroupInput{DBClusterParameterGroupName: &group,
		Parameters: []types.Parameter{{ParameterName: aws.String("rds.logical_replication"), ParameterValue: aws.String("1"), ApplyMethod: types.ApplyMethodPendingReboot}}})
	require.NoError(t, err)
	_, err = w.rds.ModifyDBCluster(t.Context(), &rds.ModifyDBClusterInput{DBClusterIdentifier: &cluster, DBClusterParameterGroupName: &group})
	require.NoError(t, err)
}

func (w world) rebootMember(t *testing.T, id string) {
	t.Helper()
	_, err := w.rds.RebootDBInstance(t.Context(), &rds.RebootDBInstanceInput{DBInstanceIdentifier: &id})
	require.NoError(t, err)
}

func TestAuroraTakesClusterGroupAtRebootOfWriter(t *testing.T) {
	w := newFixture(t)
	server := &fakeServer{}
	w.simulator.AddCluster(awssim.ClusterConfig{ID: "shops", EngineVersion: "16.4", MasterUser: "boss", Host: "127.0.0.1", Port: 5432, Server: server})
	cl := w.cluster(t, "SHOPS")
	require.Equal(t, []string{"aurora-postgresql", "default.aurora-postgresql16", "127.0.0.1"}, []string{*cl.Engine, *cl.DBClusterParameterGroup, *cl.Endpoint})
	require.True(t, *cl.DBClusterMembers[0].IsClusterWriter)
	require.False(t, *cl.DBClusterMembers[1].IsClusterWriter)

	w.mustAttachClusterGroup(t, "shops", "mine", "aurora-postgresql16")
	w.requireMembers(t, "shops", "modifying", "applying", "applying")
	w.requireMembers(t, "shops", "available", "pending-reboot", "pending-reboot")
	w.rebootMember(t, "shops-instance-2")
	w.requireMembers(t, "shops", "available", "pending-reboot", "in-sync")
	require.Empty(t, server.restarts, "a reader's reboot does not touch the writer")
	w.rebootMember(t, "shops-instance-1")
	w.requireMembers(t, "shops", "available", "in-sync", "in-sync")
	require.Equal(t, "logical", server.restarts[0]["wal_level"])

	_, err := w.rds.RebootDBCluster(t.Context(), &rds.RebootDBClusterInput{DBClusterIdentifier: aws.String("shops")})
	requireCode(t, err, "InvalidParameterCombination")
	_, err = w.rds.DeleteDBClusterParameterGroup(t.Context(), &rds.DeleteDBClusterParameterGroupInput{DBClusterParameterGroupName: aws.String("mine")})
	requireCode(t, err, "InvalidDBParameterGroupState")
	in, err := w.rds.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: aws.String("shops-instance-1")})
	require.NoError(t, err)
	require.Equal(t, "shops", *in.DBInstances[0].DBClusterIdentifier)
}

func TestMultiAZClusterTakesGroupAtItsOwnReboot(t *testing.T) {
	w := newFixture(t)
	server := &fakeServer{}
	w.simulator.AddCluster(awssim.ClusterConfig{ID: "three", Engine: "postgres", EngineVersion: "15.12", Server: server})
	w.mustAttachClusterGroup(t, "three", "mine", "postgres15")
	w.requireMembers(t, "three", "available", "pending-reboot", "pending-reboot", "pending-reboot")
	reboot := func() error {
		_, err := w.rds.RebootDBCluster(t.Context(), &rds.RebootDBClusterInput{DBClusterIdentifier: aws.String("three")})
		return err
	}
	w.simulator.Inject(awssim.Fault{Kind: awssim.RefuseReboot})
	requireCode(t, reboot(), "InvalidDBClusterStateFault")
	require.NoError(t, reboot())
	require.Equal(t, "available", *w.cluster(t, "three").Status, "for a moment nothing shows")
	requireCode(t, reboot(), "InvalidDBClusterStateFault")
	w.requireMembers(t, "three", "rebooting", "pending-reboot", "pending-reboot", "pending-reboot")
	w.requireMembers(t, "three", "available", "in-sync", "in-sync", "in-sync")
	require.Equal(t, "logical", server.restarts[0]["wal_level"])

	_, err := w.rds.ModifyDBClusterParameterGroup(t.Context(), &rds.ModifyDBClusterParameterGroupInput{DBClusterParameterGroupName: aws.String("mine"),
		Parameters: []types.Parameter{{ParameterName: aws.String("work_mem"), ParameterValue: aws.String("8192"), ApplyMethod: types.ApplyMethodImmediate}}})
	require.NoError(t, err)
	w.requireMembers(t, "three", "available", "in-sync", "in-sync", "in-sync")
	require.Equal(t, "8192", server.reloads[0]["work_mem"])
}

func TestClusterCallsAreRefused(t *testing.T) {
	w := newFixture(t)
	w.simulator.AddCluster(awssim.ClusterConfig{ID: "shops", EngineVersion: "17.4"})
	modify := func(cluster, group string) error {
		_, err := w.rds.ModifyDBCluster(t.Context(), &rds.ModifyDBClusterInput{DBClusterIdentifier: &cluster, DBClusterParameterGroupName: &group})
		return err
	}
	requireCode(t, modify("none", "x"), "DBClusterNotFoundFault")
	requireCode(t, modify("shops", "none"), "DBClusterParameterGroupNotFound")
	requireCode(t, modify("shops", "default.aurora-postgresql16"), "InvalidParameterCombination")
	_, err := w.rds.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{DBClusterIdentifier: aws.String("none")})
	requireCode(t, err, "DBClusterNotFoundFault")
	_, err = w.rds.DescribeDBClusterParameters(t.Context(), &rds.DescribeDBClusterParametersInput{DBClusterParameterGroupName: aws.String("none")})
	requireCode(t, err, "DBParameterGroupNotFound")
	_, err = w.rds.CopyDBClusterParameterGroup(t.Context(), &rds.CopyDBClusterParameterGroupInput{SourceDBClusterParameterGroupIdentifier: aws.String("default.aurora-postgresql17"),
		TargetDBClusterParameterGroupIdentifier: aws.String("copy"), TargetDBClusterParameterGroupDescription: aws.String("d")})
	requireCode(t, err, "InvalidParameterValue")
	w.simulator.Inject(awssim.Fault{Kind: awssim.ForceStatus, Instance: "shops", Code: "backing-up"})
	requireCode(t, modify("shops", "default.aurora-postgresql17"), "InvalidDBClusterStateFault")
}

func TestClusterGroupsAreTheirOwn(t *testing.T) {
	w := newFixture(t)
	create := func(name string) error {
		_, err := w.rds.CreateDBClusterParameterGroup(t.Context(), &rds.CreateDBClusterParameterGroupInput{DBClusterParameterGroupName: &name,
			DBParameterGroupFamily: aws.String("aurora-postgresql15"), Description: aws.String("d"), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
		return err
	}
	require.NoError(t, create("mine"))
	requireCode(t, create("mine"), "DBParameterGroupAlreadyExists")
	w.mustGroup(t, "mine") // an instance group may have the same name
	copied, err := w.rds.CopyDBClusterParameterGroup(t.Context(), &rds.CopyDBClusterParameterGroupInput{SourceDBClusterParameterGroupIdentifier: aws.String("mine"),
		TargetDBClusterParameterGroupIdentifier: aws.String("copy"), TargetDBClusterParameterGroupDescription: aws.String("d")})
	require.NoError(t, err)
	require.Equal(t, "arn:aws:rds:us-east-1:123456789012:cluster-pg:copy", *copied.DBClusterParameterGroup.DBClusterParameterGroupArn)
	groups, err := w.rds.DescribeDBClusterParameterGroups(t.Context(), &rds.DescribeDBClusterParameterGroupsInput{DBClusterParameterGroupName: aws.String("mine")})
	require.NoError(t, err)
	tags, err := w.rds.ListTagsForResource(t.Context(), &rds.ListTagsForResourceInput{ResourceName: groups.DBClusterParameterGroups[0].DBClusterParameterGroupArn})
	require.NoError(t, err)
	require.Equal(t, "v", *tags.TagList[0].Value)
	names := map[string]bool{}
	pages := rds.NewDescribeDBClusterParametersPaginator(rds.New(w.rds.Options(), withRetries), &rds.DescribeDBClusterParametersInput{DBClusterParameterGroupName: aws.String("mine")})
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		require.NoError(t, err)
		for _, p := range out.Parameters {
			names[*p.ParameterName] = true
		}
	}
	require.True(t, names["rds.logical_replication"])
	_, err = w.rds.DeleteDBClusterParameterGroup(t.Context(), &rds.DeleteDBClusterParameterGroupInput{DBClusterParameterGroupName: aws.String("copy")})
	require.NoError(t, err)
}
