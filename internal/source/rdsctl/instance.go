package rdsctl

import (
	"context"
	"strings"

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

// Instance is what the API says about one. Host is empty and Port 0 while it is being created.
type Instance struct {
	ID              string   `json:"id"`
	ARN             string   `json:"arn,omitempty"`
	Status          string   `json:"status"`
	Engine          string   `json:"engine"`
	EngineVersion   string   `json:"engineVersion"`
	Family          string   `json:"family,omitempty"` // of parameter groups; set by Inspect only
	Host            string   `json:"host,omitempty"`
	Port            int      `json:"port,omitempty"`
	MasterUser      string   `json:"masterUser"`
	ParameterGroup  string   `json:"parameterGroup"`
	ApplyStatus     string   `json:"applyStatus"`
	VPC             string   `json:"vpc,omitempty"`
	SecurityGroups  []string `json:"securityGroups,omitempty"`
	MultiAZ         bool     `json:"multiAZ,omitempty"`
	ReplicaOf       string   `json:"replicaOf,omitempty"`
	Replicas        []string `json:"replicas,omitempty"` // physical read replicas of it
	Cluster         string   `json:"cluster,omitempty"`
	MasterSecretARN string   `json:"masterSecretARN,omitempty"`
	Pending         []string `json:"pending,omitempty"` // names of other modifications that wait for the maintenance window
	AllocatedGiB    int      `json:"allocatedGiB"`
	// Message is what is being waited for; only in the reports of Attach and Reboot.
	Message string `json:"message,omitempty"`
}

// Inspect reads an instance and the family of parameter groups that it takes.
func (c *Client) Inspect(ctx context.Context, id string) (Instance, error) {
	in, err := c.describe(ctx, id)
	if err != nil {
		return Instance{}, err
	}
	if !strings.Contains(in.Engine, "postgres") {
		return Instance{}, fault.New(fault.Operator, "inspect instance", id, "name an instance whose engine is PostgreSQL", "its engine is %s", in.Engine).WithCode(CodeNotPostgres)
	}
	if in.Family, err = c.family(ctx, in); err != nil {
		return Instance{}, err
	}
	return in, nil
}

// describe reads the instance without its family: one call, for polling.
func (c *Client) describe(ctx context.Context, id string) (Instance, error) {
	out, err := c.rds.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &id})
	if err != nil {
		return Instance{}, c.explain(ctx, err, "inspect instance", id)
	}
	if len(out.DBInstances) != 1 {
		return Instance{}, fault.New(fault.Bug, "inspect instance", id, "", "the API answered with %d instances", len(out.DBInstances))
	}
	return instanceOf(out.DBInstances[0]), nil
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
	g, err := c.group(ctx, in.ParameterGroup)
	if err != nil {
		return "", err
	}
	return aws.ToString(g.DBParameterGroupFamily), nil
}

func instanceOf(x types.DBInstance) Instance {
	in := Instance{ID: aws.ToString(x.DBInstanceIdentifier), ARN: aws.ToString(x.DBInstanceArn), Status: aws.ToString(x.DBInstanceStatus), Engine: aws.ToString(x.Engine),
		EngineVersion: aws.ToString(x.EngineVersion), MasterUser: aws.ToString(x.MasterUsername), MultiAZ: aws.ToBool(x.MultiAZ),
		ReplicaOf: aws.ToString(x.ReadReplicaSourceDBInstanceIdentifier), Replicas: x.ReadReplicaDBInstanceIdentifiers, Cluster: aws.ToString(x.DBClusterIdentifier),
		AllocatedGiB: int(aws.ToInt32(x.AllocatedStorage)), Pending: pendingNames(x.PendingModifiedValues)}
	if x.Endpoint != nil {
		in.Host, in.Port = aws.ToString(x.Endpoint.Address), int(aws.ToInt32(x.Endpoint.Port))
	}
	if x.DBSubnetGroup != nil {
		in.VPC = aws.ToString(x.DBSubnetGroup.VpcId)
	}
	if x.MasterUserSecret != nil {
		in.MasterSecretARN = aws.ToString(x.MasterUserSecret.SecretArn)
	}
	for _, g := range x.VpcSecurityGroups {
		in.SecurityGroups = append(in.SecurityGroups, aws.ToString(g.VpcSecurityGroupId))
	}
	if len(x.DBParameterGroups) > 0 { // PostgreSQL instances have exactly one
		in.ParameterGroup = aws.ToString(x.DBParameterGroups[0].DBParameterGroupName)
		in.ApplyStatus = aws.ToString(x.DBParameterGroups[0].ParameterApplyStatus)
	}
	return in
}

// pendingNames lists the fields that are set. The API sends an empty element when nothing is pending.
func pendingNames(p *types.PendingModifiedValues) []string {
	if p == nil {
		return nil
	}
	var names []string
	for _, field := range []struct {
		name string
		set  bool
	}{
		{"AdditionalStorageVolumes", len(p.AdditionalStorageVolumes) > 0},
		{"AllocatedStorage", p.AllocatedStorage != nil},
		{"AutomationMode", p.AutomationMode != ""},
		{"BackupRetentionPeriod", p.BackupRetentionPeriod != nil},
		{"CACertificateIdentifier", p.CACertificateIdentifier != nil},
		{"DBCapacityReservationIdentifier", p.DBCapacityReservationIdentifier != nil},
		{"DBInstanceClass", p.DBInstanceClass != nil},
		{"DBInstanceIdentifier", p.DBInstanceIdentifier != nil},
		{"DBSubnetGroupName", p.DBSubnetGroupName != nil},
		{"DedicatedLogVolume", p.DedicatedLogVolume != nil},
		{"Engine", p.Engine != nil},
		{"EngineVersion", p.EngineVersion != nil},
		{"IAMDatabaseAuthenticationEnabled", p.IAMDatabaseAuthenticationEnabled != nil},
		{"Iops", p.Iops != nil},
		{"LicenseModel", p.LicenseModel != nil},
		{"MasterUserPassword", p.MasterUserPassword != nil},
		{"MultiAZ", p.MultiAZ != nil},
		{"MultiTenant", p.MultiTenant != nil},
		{"PendingCloudwatchLogsExports", p.PendingCloudwatchLogsExports != nil},
		{"Port", p.Port != nil},
		{"ProcessorFeatures", len(p.ProcessorFeatures) > 0},
		{"ResumeFullAutomationModeTime", p.ResumeFullAutomationModeTime != nil},
		{"StorageThroughput", p.StorageThroughput != nil},
		{"StorageType", p.StorageType != nil},
	} {
		if field.set {
			names = append(names, field.name)
		}
	}
	return names
}
