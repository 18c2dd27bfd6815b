package rdsctl

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"timeferry/internal/fault"
)

// Values of Instance.ApplyStatus and Instance.Status that mean something here.
const (
	StatusAvailable    = "available"
	ApplyInSync        = "in-sync"
	ApplyApplying      = "applying"
	ApplyPendingReboot = "pending-reboot"
	ApplyFailed        = "failed-to-apply"
)

// Instance is what the API says about an instance or a cluster. Host is empty and Port 0 while it is being created.
type Instance struct {
	ID              string   `json:"id"`
	Kind            string   `json:"kind"`
	ARN             string   `json:"arn,omitempty"`
	Status          string   `json:"status"` // a cluster's, or its writer's where the cluster is available and the writer is not
	Engine          string   `json:"engine"`
	EngineVersion   string   `json:"engineVersion"`
	Family          string   `json:"family,omitempty"` // of parameter groups; set by Inspect only
	Class           string   `json:"class,omitempty"`
	Host            string   `json:"host,omitempty"` // a cluster's: that of the writer's endpoint
	Port            int      `json:"port,omitempty"`
	MasterUser      string   `json:"masterUser"`
	ParameterGroup  string   `json:"parameterGroup"` // a cluster's: its cluster parameter group
	ApplyStatus     string   `json:"applyStatus"`    // a cluster's: how far its writer has taken that group
	VPC             string   `json:"vpc,omitempty"`
	Subnets         []string `json:"subnets,omitempty"`
	SecurityGroups  []string `json:"securityGroups,omitempty"`
	MultiAZ         bool     `json:"multiAZ,omitempty"`
	ReplicaOf       string   `json:"replicaOf,omitempty"`
	Replicas        []string `json:"replicas,omitempty"` // physical read replicas of it, not the members of a cluster
	Cluster         string   `json:"cluster,omitempty"`  // of which an instance is a member
	Writer          string   `json:"writer,omitempty"`   // of a cluster: the instance that writes; empty during a failover
	Members         []string `json:"members,omitempty"`  // of a cluster: all its instances
	MasterSecretARN string   `json:"masterSecretARN,omitempty"`
	// Pending are the names of other modifications that wait for the maintenance window; those of a cluster's writer follow
	// its id.
	Pending             []string `json:"pending,omitempty"`
	StorageType         string   `json:"storageType,omitempty"`
	AllocatedGiB        int      `json:"allocatedGiB"`              // Aurora grows by itself: 1
	MaxAllocatedGiB     int      `json:"maxAllocatedGiB,omitempty"` // up to which the storage grows by itself
	BackupWindow        string   `json:"backupWindow,omitempty"`
	MaintenanceWindow   string   `json:"maintenanceWindow,omitempty"`
	BackupRetentionDays int      `json:"backupRetentionDays,omitempty"`
	AvailabilityZone    string   `json:"availabilityZone,omitempty"` // of a cluster: the writer's
	PubliclyAccessible  bool     `json:"publiclyAccessible,omitempty"`
	IAMAuth             bool     `json:"iamAuth,omitempty"`
	// Message is what is being waited for, and Waited for how long already; only in the reports of Attach and Reboot.
	Message string        `json:"message,omitempty"`
	Waited  time.Duration `json:"waited,omitempty"`
}

// noun is what people call it.
func (in Instance) noun() string {
	if in.isCluster() {
		return "cluster"
	}
	return "instance"
}

func (in Instance) isCluster() bool { return in.Kind == KindAurora || in.Kind == KindMultiAZ }

// dbInstance is a DB instance that is in no cluster.
type dbInstance struct {
	c  *Client
	id string
}

func (d dbInstance) describe(ctx context.Context) (Instance, error) {
	x, err := d.c.describeInstance(ctx, d.id)
	if err != nil {
		return Instance{}, err
	}
	return instanceOf(x), nil
}

func (d dbInstance) attach(ctx context.Context, group string) error {
	_, err := d.c.rds.ModifyDBInstance(ctx, &rds.ModifyDBInstanceInput{DBInstanceIdentifier: &d.id, DBParameterGroupName: &group, ApplyImmediately: aws.Bool(true)})
	return err
}

func (d dbInstance) reboot(ctx context.Context, _ Instance) error {
	return d.c.rebootInstance(ctx, d.id)
}

func (c *Client) rebootInstance(ctx context.Context, id string) error {
	_, err := c.rds.RebootDBInstance(ctx, &rds.RebootDBInstanceInput{DBInstanceIdentifier: &id}, once)
	return err
}

func (c *Client) describeInstance(ctx context.Context, id string) (types.DBInstance, error) {
	out, err := c.rds.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &id})
	if err != nil {
		return types.DBInstance{}, c.explain(ctx, err, "inspect instance", id)
	}
	if len(out.DBInstances) != 1 {
		return types.DBInstance{}, fault.New(fault.Bug, "inspect instance", id, "", "the API answered with %d instances", len(out.DBInstances))
	}
	return out.DBInstances[0], nil
}

// family asks RDS instead of gluing the engine and the version together. A version that RDS no longer lists has the family
// of the group it runs with.
func (c *Client) family(ctx context.Context, in Instance) (string, error) {
	pages := rds.NewDescribeDBEngineVersionsPaginator(c.rds, &rds.DescribeDBEngineVersionsInput{
		Engine: &in.Engine, EngineVersion: &in.EngineVersion, IncludeAll: aws.Bool(true)})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return "", c.explain(ctx, err, "read engine version", in.EngineVersion)
		}
		for _, v := range out.DBEngineVersions {
			if aws.ToString(v.DBParameterGroupFamily) != "" {
				return *v.DBParameterGroupFamily, nil
			}
		}
	}
	g, err := c.groupsOf(in).get(ctx, in.ParameterGroup)
	if err != nil {
		return "", err
	}
	return g.family, nil
}

func instanceOf(x types.DBInstance) Instance {
	in := Instance{ID: aws.ToString(x.DBInstanceIdentifier), Kind: KindInstance, ARN: aws.ToString(x.DBInstanceArn), Status: aws.ToString(x.DBInstanceStatus),
		Engine: aws.ToString(x.Engine), EngineVersion: aws.ToString(x.EngineVersion), Class: aws.ToString(x.DBInstanceClass),
		MasterUser: aws.ToString(x.MasterUsername), MultiAZ: aws.ToBool(x.MultiAZ),
		ReplicaOf: aws.ToString(x.ReadReplicaSourceDBInstanceIdentifier), Replicas: x.ReadReplicaDBInstanceIdentifiers, Cluster: aws.ToString(x.DBClusterIdentifier),
		Pending: pendingNames(x.PendingModifiedValues), StorageType: aws.ToString(x.StorageType), AllocatedGiB: int(aws.ToInt32(x.AllocatedStorage)),
		MaxAllocatedGiB: int(aws.ToInt32(x.MaxAllocatedStorage)), BackupWindow: aws.ToString(x.PreferredBackupWindow),
		MaintenanceWindow: aws.ToString(x.PreferredMaintenanceWindow), BackupRetentionDays: int(aws.ToInt32(x.BackupRetentionPeriod)),
		AvailabilityZone: aws.ToString(x.AvailabilityZone), PubliclyAccessible: aws.ToBool(x.PubliclyAccessible), IAMAuth: aws.ToBool(x.IAMDatabaseAuthenticationEnabled),
		SecurityGroups: securityGroupIDs(x.VpcSecurityGroups), MasterSecretARN: secretARN(x.MasterUserSecret)}
	if x.Endpoint != nil {
		in.Host, in.Port = aws.ToString(x.Endpoint.Address), int(aws.ToInt32(x.Endpoint.Port))
	}
	if x.DBSubnetGroup != nil {
		in.VPC = aws.ToString(x.DBSubnetGroup.VpcId)
		for _, subnet := range x.DBSubnetGroup.Subnets {
			in.Subnets = append(in.Subnets, aws.ToString(subnet.SubnetIdentifier))
		}
	}
	if len(x.DBParameterGroups) > 0 { // PostgreSQL instances have exactly one
		in.ParameterGroup = aws.ToString(x.DBParameterGroups[0].DBParameterGroupName)
		in.ApplyStatus = aws.ToString(x.DBParameterGroups[0].ParameterApplyStatus)
	}
	return in
}

func securityGroupIDs(groups []types.VpcSecurityGroupMembership) []string {
	var out []string
	for _, g := range groups {
		out = append(out, aws.ToString(g.VpcSecurityGroupId))
	}
	return out
}

func secretARN(s *types.MasterUserSecret) string {
	if s == nil {
		return ""
	}
	return aws.ToString(s.SecretArn)
}
