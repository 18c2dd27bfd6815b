package rdsctl

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/stretchr/testify/require"
)

func TestAllows(t *testing.T) {
	for _, c := range []struct {
		kind, allowed, value string
		want                 bool
	}{
		{"integer", "-1-86400", "-1", true},
		{"integer", "-1-86400", "-2", false},
		{"integer", "-1-86400", "86401", false},
		{"integer", "0-3600000", "1800000", true},
		{"integer", "0-3600000", "1.5", false},
		{"integer", "0-3600000", "30min", false},
		{"integer", "0-3600000", "", false},
		{"integer", "16-1073741823", "{DBInstanceClassMemory/32768}", true},
		{"integer", "1,2,4", "4", true},
		{"integer", "1,2,4", "3", false},
		{"integer", "", "7", true},
		{"float", "0-1.79769e+308", "1.1", true},
		{"float", "0-1.79769e+308", "-1", false},
		{"boolean", "0,1", "1", true},
		{"boolean", "0,1", "on", false}, // canonical has made it 1 before
		{"string", "on,off", "off", true},
		{"string", "on,off", "perhaps", false},
		{"string", "", "anything", true},
		{"list", "a,b", "b, a", true},
		{"list", "a,b", "a,c", false},
	} {
		require.Equal(t, c.want, allows(c.kind, c.allowed, c.value), "%s %q in %q", c.kind, c.value, c.allowed)
	}
}

// TestNewGroupCarriesOver: a default group has no values of people's, but one that had would not lose them.
func TestNewGroupCarriesOver(t *testing.T) {
	current := parameters{
		"work_mem":                {ParameterValue: aws.String("65536"), Source: aws.String("user"), ApplyType: aws.String("dynamic"), DataType: aws.String("integer")},
		"temp_buffers":            {ParameterValue: aws.String("1000"), Source: aws.String("system"), ApplyType: aws.String("dynamic"), DataType: aws.String("integer")},
		"rds.logical_replication": {ParameterValue: aws.String("0"), Source: aws.String("system"), ApplyType: aws.String("static"), DataType: aws.String("boolean")},
	}
	plan := planNewGroup(Instance{Family: "postgres15", ParameterGroup: "default.postgres15"}, "mine", current, map[string]string{"rds.logical_replication": "1"})
	require.Equal(t, []Change{{Name: "rds.logical_replication", Old: "0", New: "1", Static: true}, {Name: "work_mem", Old: "65536", New: "65536"}}, plan.Changes)
	require.Empty(t, plan.CopyFrom)
	require.True(t, plan.Create)
}

func TestDifferingComparesByMeaning(t *testing.T) {
	p := parameters{"b": {ParameterValue: aws.String("1"), DataType: aws.String("boolean")}, "n": {ParameterValue: aws.String("10"), DataType: aws.String("integer")},
		"s": {ParameterValue: aws.String("on"), DataType: aws.String("string")}, "unset": types.Parameter{DataType: aws.String("integer")}}
	require.Empty(t, p.differing(map[string]string{"b": "on", "n": "010", "s": "on"}))
	require.Len(t, p.differing(map[string]string{"b": "off", "n": "11", "s": "1", "unset": "-1"}), 4)
}

func modifiable(kind, allowed, description string) types.Parameter {
	return types.Parameter{DataType: &kind, AllowedValues: &allowed, Description: &description, IsModifiable: aws.Bool(true)}
}

func TestOursFitTheFamily(t *testing.T) {
	fixed := modifiable("integer", "0-100", "")
	fixed.IsModifiable, fixed.ParameterValue = aws.Bool(false), aws.String("7")
	asWanted := fixed
	asWanted.ParameterValue = aws.String("60")
	p := parameters{
		"rds.logical_replication": modifiable("boolean", "0,1", ""),
		"wal_sender_timeout":      modifiable("integer", "0-600000", "(ms) Sets the maximum time"),
		"tcp_keepalives_idle":     modifiable("integer", "30-7200", "(s) Time"),
		"tcp_keepalives_interval": fixed,
		"tcp_keepalives_count":    asWanted,
	}
	fitting, skipped := p.fit(Required(15), Required(15))
	require.Equal(t, map[string]string{"rds.logical_replication": "1", "wal_sender_timeout": "600000", "tcp_keepalives_idle": "30"}, fitting)
	require.Equal(t, []string{"old_snapshot_threshold", "tcp_keepalives_interval"}, skipped)
	_, err := p.normalise(fitting)
	require.NoError(t, err)

	asked := map[string]string{"wal_sender_timeout": "3600000", "no_such": "1", "old_snapshot_threshold": "60", "tcp_keepalives_interval": "5"}
	fitting, skipped = p.fit(asked, Required(15))
	require.Equal(t, asked, fitting, "what the spec asks for stays as it is")
	require.Empty(t, skipped)
	_, err = p.normalise(fitting)
	for name := range asked {
		require.ErrorContains(t, err, name, "and is refused")
	}

	delete(p, "rds.logical_replication")
	fitting, _ = p.fit(Required(15), Required(15))
	_, err = p.normalise(fitting)
	require.ErrorContains(t, err, "rds.logical_replication", "without it there is no migration")
}

func TestNearest(t *testing.T) {
	for _, c := range []struct{ kind, allowed, value, want string }{
		{"integer", "0-3600000", "1800000", "1800000"},
		{"integer", "0-60000", "1800000", "60000"},
		{"integer", "30-60", "10", "30"},
		{"integer", "-1-86400", "-5", "-1"},
		{"integer", "0,10,100", "60", "100"},
		{"integer", "0, 10, 100", "40", "10"},
		{"integer", "", "40", "40"},
		{"boolean", "0,1", "1", "1"},
	} {
		require.Equal(t, c.want, nearest(modifiable(c.kind, c.allowed, ""), c.value), "%s in %q", c.value, c.allowed)
	}
}

func TestInUnit(t *testing.T) {
	require.Equal(t, "1800", inUnit("1800000", "ms", "s"))
	require.Equal(t, "10000", inUnit("10", "s", "ms"))
	require.Equal(t, "10", inUnit("10", "s", "s"))
	require.Equal(t, "60", inUnit("60", "", ""))
	require.Equal(t, "10", inUnit("10", "s", ""), "RDS names no unit")
	require.Equal(t, "-1", inUnit("-1", "min", "s"))
}

func TestBackoffGrowsToFourIntervals(t *testing.T) {
	require.Equal(t, 5*time.Second, backoff(5*time.Second, 0))
	require.Equal(t, 6250*time.Millisecond, backoff(5*time.Second, 1))
	require.Equal(t, 20*time.Second, backoff(5*time.Second, 7))
	require.Equal(t, 20*time.Second, backoff(5*time.Second, 1<<20))
	var waited time.Duration
	for look := range unseenLooks {
		waited += backoff(defaultPollInterval, look)
	}
	require.InDelta(t, 3.5, waited.Minutes(), 0.5, "what unseenLooks says")
}

func TestInstanceOfAnAnswer(t *testing.T) {
	require.Equal(t, Instance{ID: "shop", Kind: KindInstance, Class: "db.m6g.large", StorageType: "gp3", AllocatedGiB: 100, MaxAllocatedGiB: 500, BackupWindow: "03:00-03:30",
		MaintenanceWindow: "sun:05:00-sun:05:30", BackupRetentionDays: 14, AvailabilityZone: "us-west-2a", PubliclyAccessible: true, IAMAuth: true,
		VPC: "vpc-1", Subnets: []string{"subnet-1", "subnet-2"}, Replicas: []string{"r1"}}, instanceOf(detailed()))
}

func detailed() types.DBInstance {
	return types.DBInstance{DBInstanceIdentifier: aws.String("shop"), DBInstanceClass: aws.String("db.m6g.large"), StorageType: aws.String("gp3"),
		AllocatedStorage: aws.Int32(100), MaxAllocatedStorage: aws.Int32(500), PreferredBackupWindow: aws.String("03:00-03:30"),
		PreferredMaintenanceWindow: aws.String("sun:05:00-sun:05:30"), BackupRetentionPeriod: aws.Int32(14), AvailabilityZone: aws.String("us-west-2a"),
		PubliclyAccessible: aws.Bool(true), IAMDatabaseAuthenticationEnabled: aws.Bool(true), ReadReplicaDBInstanceIdentifiers: []string{"r1"},
		DBSubnetGroup: &types.DBSubnetGroup{VpcId: aws.String("vpc-1"), Subnets: []types.Subnet{{SubnetIdentifier: aws.String("subnet-1")}, {SubnetIdentifier: aws.String("subnet-2")}}}}
}

func TestClusterOfAnAnswer(t *testing.T) {
	x := types.DBCluster{DBClusterIdentifier: aws.String("shop"), Engine: aws.String("aurora-postgresql"), Status: aws.String("available"), StorageType: aws.String("aurora-iopt1"),
		PreferredBackupWindow: aws.String("03:00-03:30"), PreferredMaintenanceWindow: aws.String("sun:05:00-sun:05:30"), BackupRetentionPeriod: aws.Int32(14),
		IAMDatabaseAuthenticationEnabled: aws.Bool(true), MasterUserSecret: &types.MasterUserSecret{SecretArn: aws.String("arn:secret")},
		DBClusterMembers: []types.DBClusterMember{{DBInstanceIdentifier: aws.String("a"), IsClusterWriter: aws.Bool(false), DBClusterParameterGroupStatus: aws.String("in-sync")},
			{DBInstanceIdentifier: aws.String("b"), IsClusterWriter: aws.Bool(true), DBClusterParameterGroupStatus: aws.String("pending-reboot")}}}
	want := Instance{ID: "shop", Kind: KindAurora, Status: "available", Engine: "aurora-postgresql", StorageType: "aurora-iopt1", BackupWindow: "03:00-03:30",
		MaintenanceWindow: "sun:05:00-sun:05:30", BackupRetentionDays: 14, IAMAuth: true, MasterSecretARN: "arn:secret", Members: []string{"a", "b"}, Writer: "b", ApplyStatus: "pending-reboot"}
	in := clusterOf(x)
	require.Equal(t, want, in)

	writer := detailed()
	writer.DBInstanceIdentifier, writer.DBInstanceStatus = aws.String("b"), aws.String("rebooting")
	writer.PendingModifiedValues = &types.PendingModifiedValues{MultiAZ: aws.Bool(true)}
	want.Status, want.Class, want.VPC, want.Subnets, want.AvailabilityZone = "rebooting", "db.m6g.large", "vpc-1", []string{"subnet-1", "subnet-2"}, "us-west-2a"
	want.PubliclyAccessible, want.Pending = true, []string{"b.MultiAZ"}
	require.Equal(t, want, withWriter(in, &writer))

	in.Status = "modifying"
	require.Equal(t, "modifying", withWriter(in, &writer).Status, "the cluster's own comes first")
	require.Equal(t, "modifying", withWriter(in, nil).Status)
}

// What RDS does not let be changed on Aurora or elsewhere is not raised.
func TestHeadroomLeavesFixedParametersAlone(t *testing.T) {
	require.Empty(t, Headroom(map[string]string{"max_replication_slots": "5"}, Usage{Slots: 5, Allowed: map[string]string{"max_replication_slots": fixedRange}}))
}
