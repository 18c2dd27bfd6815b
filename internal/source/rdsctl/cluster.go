package rdsctl

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"timeferry/internal/fault"
)

// statusFailingOver is RDS's own word; it also stands here for a cluster that has no writer at the moment.
const statusFailingOver = "failing-over"

// dbCluster is an Aurora PostgreSQL cluster or a Multi-AZ DB cluster. Both take a cluster parameter group; on Aurora one
// reboots the writer, a Multi-AZ cluster is rebooted as a whole.
type dbCluster struct {
	c  *Client
	id string
}

// describe looks the writer up anew each time: a failover makes another instance the writer.
func (d dbCluster) describe(ctx context.Context) (Instance, error) {
	out, err := d.c.rds.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{DBClusterIdentifier: &d.id})
	if err != nil {
		return Instance{}, d.c.explain(ctx, err, "inspect cluster", d.id)
	}
	if len(out.DBClusters) != 1 {
		return Instance{}, fault.New(fault.Bug, "inspect cluster", d.id, "", "the API answered with %d clusters", len(out.DBClusters))
	}
	in := clusterOf(out.DBClusters[0])
	if len(in.Members) == 0 {
		return in, fault.New(fault.Operator, "inspect cluster", d.id, "add an instance to the cluster, then resume or start again", "it has no instances").WithCode(CodeInstanceState)
	}
	var writer *types.DBInstance
	if in.Writer != "" {
		x, err := d.c.describeInstance(ctx, in.Writer)
		if err != nil && !hasCode(err, "DBInstanceNotFound") { // not found: the cluster is ahead of, or behind, its instances
			return in, err
		}
		if err == nil {
			writer = &x
		}
	}
	return withWriter(in, writer), nil
}

func (d dbCluster) attach(ctx context.Context, group string) error {
	_, err := d.c.rds.ModifyDBCluster(ctx, &rds.ModifyDBClusterInput{DBClusterIdentifier: &d.id, DBClusterParameterGroupName: &group, ApplyImmediately: aws.Bool(true)})
	return err
}

func (d dbCluster) reboot(ctx context.Context, in Instance) error {
	if in.Kind == KindAurora {
		return d.c.rebootInstance(ctx, in.Writer)
	}
	_, err := d.c.rds.RebootDBCluster(ctx, &rds.RebootDBClusterInput{DBClusterIdentifier: &d.id}, once)
	return err
}

// rebooted names what Reboot asks RDS to reboot.
func (in Instance) rebooted() string {
	if in.Kind == KindAurora {
		return in.Writer
	}
	return in.ID
}

func clusterOf(x types.DBCluster) Instance {
	in := Instance{ID: aws.ToString(x.DBClusterIdentifier), Kind: KindMultiAZ, ARN: aws.ToString(x.DBClusterArn), Status: aws.ToString(x.Status),
		Engine: aws.ToString(x.Engine), EngineVersion: aws.ToString(x.EngineVersion), Class: aws.ToString(x.DBClusterInstanceClass),
		Host: aws.ToString(x.Endpoint), Port: int(aws.ToInt32(x.Port)), MasterUser: aws.ToString(x.MasterUsername),
		ParameterGroup: aws.ToString(x.DBClusterParameterGroup), SecurityGroups: securityGroupIDs(x.VpcSecurityGroups), MultiAZ: aws.ToBool(x.MultiAZ),
		ReplicaOf: aws.ToString(x.ReplicationSourceIdentifier), Replicas: x.ReadReplicaIdentifiers, MasterSecretARN: secretARN(x.MasterUserSecret),
		Pending: clusterPendingNames(x.PendingModifiedValues), StorageType: aws.ToString(x.StorageType), AllocatedGiB: int(aws.ToInt32(x.AllocatedStorage)),
		BackupWindow: aws.ToString(x.PreferredBackupWindow), MaintenanceWindow: aws.ToString(x.PreferredMaintenanceWindow),
		BackupRetentionDays: int(aws.ToInt32(x.BackupRetentionPeriod)), PubliclyAccessible: aws.ToBool(x.PubliclyAccessible),
		IAMAuth: aws.ToBool(x.IAMDatabaseAuthenticationEnabled)}
	if strings.HasPrefix(in.Engine, "aurora") {
		in.Kind = KindAurora
	}
	for _, m := range x.DBClusterMembers {
		in.Members = append(in.Members, aws.ToString(m.DBInstanceIdentifier))
		if aws.ToBool(m.IsClusterWriter) {
			in.Writer, in.ApplyStatus = aws.ToString(m.DBInstanceIdentifier), aws.ToString(m.DBClusterParameterGroupStatus)
		}
	}
	return in
}

// withWriter adds what only the writer's instance says; nil is for a writer that is not known now.
func withWriter(in Instance, x *types.DBInstance) Instance {
	if x == nil {
		if in.Status == StatusAvailable {
			in.Status = statusFailingOver
		}
		return in
	}
	writer := instanceOf(*x)
	in.VPC, in.Subnets, in.AvailabilityZone = writer.VPC, writer.Subnets, writer.AvailabilityZone
	if in.Kind == KindAurora { // an Aurora cluster leaves these to its instances
		in.Class, in.PubliclyAccessible = writer.Class, writer.PubliclyAccessible
	}
	if in.Status == StatusAvailable {
		in.Status = writer.Status
	}
	// A reboot can set off what waits for an instance, so it counts as well.
	for _, pending := range writer.Pending {
		in.Pending = append(in.Pending, writer.ID+"."+pending)
	}
	return in
}
