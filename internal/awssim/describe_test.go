package awssim_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

func filter(name string, values ...string) []types.Filter {
	return []types.Filter{{Name: &name, Values: values}}
}

func TestInstanceSaysEverything(t *testing.T) {
	w := newFixture(t)
	in := w.instance(t)
	require.Equal(t, []any{"03:12-03:42", "sun:07:30-sun:08:00", int32(7), "gp3", false, false, false, "rds-ca-rsa2048-g1", "us-east-1a", "us-east-1b", true},
		[]any{*in.PreferredBackupWindow, *in.PreferredMaintenanceWindow, *in.BackupRetentionPeriod, *in.StorageType, *in.PubliclyAccessible,
			*in.IAMDatabaseAuthenticationEnabled, *in.DeletionProtection, *in.CACertificateIdentifier, *in.AvailabilityZone, *in.SecondaryAvailabilityZone, *in.StorageEncrypted})
	require.Nil(t, in.MaxAllocatedStorage)
	require.Equal(t, w.simulator.SubnetIDs("vpc-1"), []string{*in.DBSubnetGroup.Subnets[0].SubnetIdentifier, *in.DBSubnetGroup.Subnets[1].SubnetIdentifier})
	require.Equal(t, "vpc-1", *in.DBSubnetGroup.VpcId)
	require.Regexp(t, "^db-[A-Z2-7]{26}$", *in.DbiResourceId)

	w.simulator.AddInstance(awssim.InstanceConfig{ID: "other", EngineVersion: "16.3", BackupWindow: "01:00-01:30", MaintenanceWindow: "mon:01:00-mon:01:30", BackupRetentionDays: -1,
		StorageType: "io1", MaxAllocatedGiB: 500, Public: true, IAMAuthentication: true, DeletionProtection: true, CACertificate: "rds-ca-ecc384-g1",
		AvailabilityZone: "us-east-1c", Tags: map[string]string{"owner": "me"}})
	out, err := w.rds.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{Filters: filter("db-instance-id", "OTHER")})
	require.NoError(t, err)
	require.Len(t, out.DBInstances, 1)
	in = out.DBInstances[0]
	require.Equal(t, []any{"01:00-01:30", "mon:01:00-mon:01:30", int32(0), "io1", int32(500), true, true, true, "rds-ca-ecc384-g1", "us-east-1c", "me"},
		[]any{*in.PreferredBackupWindow, *in.PreferredMaintenanceWindow, *in.BackupRetentionPeriod, *in.StorageType, *in.MaxAllocatedStorage, *in.PubliclyAccessible,
			*in.IAMDatabaseAuthenticationEnabled, *in.DeletionProtection, *in.CACertificateIdentifier, *in.AvailabilityZone, *in.TagList[0].Value})
}

func TestFilters(t *testing.T) {
	w := newFixture(t)
	w.simulator.AddCluster(awssim.ClusterConfig{ID: "aurora", EngineVersion: "15.4", IAMAuthentication: true, BackupWindow: "01:00-01:30"})
	w.simulator.AddCluster(awssim.ClusterConfig{ID: "multi", Engine: "postgres", EngineVersion: "15.12", Public: true})
	instances := func(filters []types.Filter) int {
		out, err := w.rds.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{Filters: filters}, withRetries)
		require.NoError(t, err)
		return len(out.DBInstances)
	}
	require.Equal(t, 2, instances(filter("db-cluster-id", "aurora")))
	require.Equal(t, 3, instances(filter("db-cluster-id", "arn:aws:rds:us-east-1:123456789012:cluster:multi")))
	require.Equal(t, 5, instances(filter("db-cluster-id", "aurora", "multi")))
	require.Equal(t, 4, instances(filter("engine", "postgres")))
	require.Equal(t, 0, instances(append(filter("engine", "postgres"), filter("db-cluster-id", "aurora")...)))
	clusters, err := w.rds.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{Filters: filter("engine", "aurora-postgresql")}, withRetries)
	require.NoError(t, err)
	require.Len(t, clusters.DBClusters, 1)
	cl := clusters.DBClusters[0]
	require.Equal(t, []any{"aurora", "01:00-01:30", true, "aurora", "rds-ca-rsa2048-g1"},
		[]any{*cl.DBClusterIdentifier, *cl.PreferredBackupWindow, *cl.IAMDatabaseAuthenticationEnabled, *cl.StorageType, *cl.CertificateDetails.CAIdentifier})
	require.Nil(t, cl.PubliclyAccessible)
	require.True(t, *w.cluster(t, "multi").PubliclyAccessible)
	_, err = w.rds.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{Filters: filter("colour", "red")})
	requireCode(t, err, "InvalidParameterValue")
}

func TestPendingModificationsAreSet(t *testing.T) {
	w := newFixture(t)
	w.simulator.AddCluster(awssim.ClusterConfig{ID: "aurora", EngineVersion: "15.4", Pending: awssim.PendingModifications{EngineVersion: "15.5"}})
	require.Equal(t, "15.5", *w.cluster(t, "aurora").PendingModifiedValues.EngineVersion)
	require.Error(t, w.simulator.SetPending("aurora", awssim.PendingModifications{Class: "db.r6g.large"}))
	require.Error(t, w.simulator.SetPending("none", awssim.PendingModifications{}))
	require.NoError(t, w.simulator.SetPending("shop", awssim.PendingModifications{AllocatedGiB: 90, EngineVersion: "15.13", MultiAZ: aws.Bool(false)}))
	pending := w.instance(t).PendingModifiedValues
	require.Equal(t, []any{int32(90), "15.13", false}, []any{*pending.AllocatedStorage, *pending.EngineVersion, *pending.MultiAZ})

	_, err := w.rds.ModifyDBInstance(t.Context(), &rds.ModifyDBInstanceInput{DBInstanceIdentifier: aws.String("shop"), ApplyImmediately: aws.Bool(true)})
	require.NoError(t, err)
	w.requireState(t, "available", "in-sync")
	in := w.instance(t)
	require.Equal(t, []any{int32(90), "15.13", false}, []any{*in.AllocatedStorage, *in.EngineVersion, *in.MultiAZ}, "somebody else's changes are flushed too")

	w.mustClusterGroup(t, "one", "aurora-postgresql15")
	_, err = w.rds.ModifyDBCluster(t.Context(), &rds.ModifyDBClusterInput{DBClusterIdentifier: aws.String("aurora"), DBClusterParameterGroupName: aws.String("one")})
	require.NoError(t, err)
	w.requireMembers(t, "aurora", "available", "pending-reboot", "pending-reboot")
	require.NotNil(t, w.cluster(t, "aurora").PendingModifiedValues)
	_, err = w.rds.ModifyDBCluster(t.Context(), &rds.ModifyDBClusterInput{DBClusterIdentifier: aws.String("aurora"), ApplyImmediately: aws.Bool(true)})
	require.NoError(t, err)
	w.requireMembers(t, "aurora", "available", "pending-reboot", "pending-reboot")
	require.Nil(t, w.cluster(t, "aurora").PendingModifiedValues)
	require.Equal(t, "15.5", *w.cluster(t, "aurora").EngineVersion)
}

func (w world) mustClusterGroup(t *testing.T, name, family string) {
	t.Helper()
	_, err := w.rds.CreateDBClusterParameterGroup(t.Context(), &rds.CreateDBClusterParameterGroupInput{DBClusterParameterGroupName: &name,
		DBParameterGroupFamily: &family, Description: aws.String("d")})
	require.NoError(t, err)
}

func TestClusterFailsOver(t *testing.T) {
	w := newFixture(t)
	w.simulator.AddCluster(awssim.ClusterConfig{ID: "aurora", EngineVersion: "15.4"})
	writer := func() string {
		for _, m := range w.cluster(t, "aurora").DBClusterMembers {
			if *m.IsClusterWriter {
				return *m.DBInstanceIdentifier
			}
		}
		return ""
	}
	w.mustAttachClusterGroup(t, "aurora", "one", "aurora-postgresql15")
	w.requireMembers(t, "aurora", "available", "pending-reboot", "pending-reboot")
	require.Equal(t, "aurora-instance-1", writer())
	require.NoError(t, w.simulator.FailOver("aurora", ""))
	require.Equal(t, "failing-over", *w.cluster(t, "aurora").Status)
	require.ErrorContains(t, w.simulator.FailOver("aurora", ""), "InvalidDBClusterStateFault")
	w.requireMembers(t, "aurora", "available", "in-sync", "pending-reboot")
	require.Equal(t, "aurora-instance-2", writer())

	_, err := w.rds.FailoverDBCluster(t.Context(), &rds.FailoverDBClusterInput{DBClusterIdentifier: aws.String("aurora"), TargetDBInstanceIdentifier: aws.String("none")})
	requireCode(t, err, "DBInstanceNotFound")
	_, err = w.rds.FailoverDBCluster(t.Context(), &rds.FailoverDBClusterInput{DBClusterIdentifier: aws.String("aurora"), TargetDBInstanceIdentifier: aws.String("aurora-instance-1")})
	require.NoError(t, err)
	w.requireMembers(t, "aurora", "available", "in-sync", "in-sync")
	require.Equal(t, "aurora-instance-1", writer())
	require.Error(t, w.simulator.FailOver("aurora", "aurora-instance-1"), "it is the writer")
	require.Error(t, w.simulator.FailOver("none", ""))
}
