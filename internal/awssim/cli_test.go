package awssim_test

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

// cli drives a simulator with the AWS CLI, which knows AWS's API from another source than Timeferry: botocore's models.
type cli struct {
	program   string
	url       string
	simulator *awssim.Simulator
}

// newCLI makes a simulator of its own for a group of calls. Without the program the test is skipped, or fails where
// TIMEFERRY_REQUIRE has the word aws.
func newCLI(t *testing.T) cli {
	t.Helper()
	t.Parallel()
	program := "/usr/bin/aws" // Debian's, before whatever else is on the path
	if _, err := os.Stat(program); err != nil {
		program, err = exec.LookPath("aws")
		if err != nil && slices.Contains(strings.Split(os.Getenv("TIMEFERRY_REQUIRE"), ","), "aws") {
			t.Fatalf("%v; `go run ./sandbox/install` installs it", err)
		}
		if err != nil {
			t.Skipf("%v; set TIMEFERRY_REQUIRE=aws to fail instead", err)
		}
	}
	simulator := awssim.New(awssim.Options{})
	t.Cleanup(simulator.Close)
	endpoint := httptest.NewServer(simulator)
	t.Cleanup(endpoint.Close)
	return cli{program, endpoint.URL, simulator}
}

// run gives the exit status as success or not, and both outputs.
func (c cli) run(t *testing.T, arguments string) (ok bool, out, problem string) {
	t.Helper()
	args := append([]string{"--endpoint-url", c.url, "--region", "us-east-1", "--output", "json"}, strings.Fields(arguments)...)
	command := exec.CommandContext(t.Context(), c.program, args...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_PAGER=",
		"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull, "AWS_MAX_ATTEMPTS=1", "AWS_EC2_METADATA_DISABLED=true", "LC_ALL=C.UTF-8"}
	err := command.Run()
	return err == nil, stdout.String(), stderr.String()
}

// json runs a call that must succeed and gives its answer.
func (c cli) json(t *testing.T, arguments string) map[string]any {
	t.Helper()
	ok, out, problem := c.run(t, arguments)
	require.True(t, ok, "aws %s: %s", arguments, problem)
	var answer map[string]any
	if strings.TrimSpace(out) == "" {
		return nil
	}
	require.NoError(t, json.Unmarshal([]byte(out), &answer), "aws %s: %s", arguments, out)
	return answer
}

// refused runs a call that must fail with that code.
func (c cli) refused(t *testing.T, arguments, code string) {
	t.Helper()
	ok, out, problem := c.run(t, arguments)
	require.False(t, ok, "aws %s: %s", arguments, out)
	require.Contains(t, problem, "("+code+")", "aws %s", arguments)
}

// at follows a path such as "DBInstances.0.Endpoint.Port".
func at(t *testing.T, answer any, path string) any {
	t.Helper()
	for step := range strings.SplitSeq(path, ".") {
		switch have := answer.(type) {
		case map[string]any:
			require.Contains(t, have, step, path)
			answer = have[step]
		case []any:
			index := strings.Index("0123456789", step)
			require.Less(t, index, len(have), "%s in %v", path, have)
			answer = have[index]
		default:
			require.FailNow(t, "nothing to go into", "%s in %v", path, have)
		}
	}
	return answer
}

func requireAt(t *testing.T, answer map[string]any, want map[string]any) {
	t.Helper()
	for path, value := range want {
		require.EqualValues(t, value, at(t, answer, path), path)
	}
}

func TestCLIParameterGroups(t *testing.T) {
	c := newCLI(t)
	requireAt(t, c.json(t, "rds create-db-parameter-group --db-parameter-group-name one --db-parameter-group-family postgres15 --description d --tags Key=migration,Value=shop"),
		map[string]any{"DBParameterGroup.DBParameterGroupName": "one", "DBParameterGroup.DBParameterGroupFamily": "postgres15", "DBParameterGroup.DBParameterGroupArn": "arn:aws:rds:us-east-1:123456789012:pg:one"})
	requireAt(t, c.json(t, "rds modify-db-parameter-group --db-parameter-group-name one --parameters ParameterName=rds.logical_replication,ParameterValue=1,ApplyMethod=pending-reboot"),
		map[string]any{"DBParameterGroupName": "one"})
	c.refused(t, "rds modify-db-parameter-group --db-parameter-group-name one --parameters ParameterName=rds.logical_replication,ParameterValue=0,ApplyMethod=immediate", "InvalidParameterCombination")
	requireAt(t, c.json(t, "rds copy-db-parameter-group --source-db-parameter-group-identifier one --target-db-parameter-group-identifier two --target-db-parameter-group-description d"),
		map[string]any{"DBParameterGroup.DBParameterGroupName": "two"})
	user := c.json(t, "rds describe-db-parameters --db-parameter-group-name two --source user")
	require.Len(t, user["Parameters"], 1)
	requireAt(t, user, map[string]any{"Parameters.0.ParameterName": "rds.logical_replication", "Parameters.0.ParameterValue": "1",
		"Parameters.0.ApplyType": "static", "Parameters.0.IsModifiable": true, "Parameters.0.ApplyMethod": "pending-reboot"})
	all := c.json(t, "rds describe-db-parameters --db-parameter-group-name two --page-size 20")
	require.Greater(t, len(all["Parameters"].([]any)), 20, "the pages are put together")
	require.Greater(t, c.simulator.Calls("DescribeDBParameters"), 3)
	require.Nil(t, c.json(t, "rds delete-db-parameter-group --db-parameter-group-name two"))
	c.refused(t, "rds describe-db-parameter-groups --db-parameter-group-name two", "DBParameterGroupNotFound")
}

func TestCLIInstance(t *testing.T) {
	c := newCLI(t)
	c.simulator.AddInstance(awssim.InstanceConfig{ID: "shop", EngineVersion: "15.12", MasterUser: "postgres", Host: "db.example", Port: 5432,
		VPC: "vpc-1", SecurityGroup: "sg-1", BackupWindow: "01:00-01:30", MaxAllocatedGiB: 200, DeletionProtection: true, Pending: awssim.PendingModifications{Class: "db.m6g.large"}})
	c.simulator.AddInstance(awssim.InstanceConfig{ID: "other", EngineVersion: "16.3"})
	requireAt(t, c.json(t, "rds describe-db-instances --filters Name=db-instance-id,Values=shop"), map[string]any{
		"DBInstances.0.DBInstanceIdentifier": "shop", "DBInstances.0.Endpoint.Port": 5432, "DBInstances.0.PendingModifiedValues.DBInstanceClass": "db.m6g.large",
		"DBInstances.0.DBSubnetGroup.VpcId": "vpc-1", "DBInstances.0.DBSubnetGroup.Subnets.1.SubnetAvailabilityZone.Name": "us-east-1b",
		"DBInstances.0.PreferredBackupWindow": "01:00-01:30", "DBInstances.0.MaxAllocatedStorage": 200, "DBInstances.0.DeletionProtection": true,
		"DBInstances.0.StorageType": "gp3", "DBInstances.0.VpcSecurityGroups.0.VpcSecurityGroupId": "sg-1"})
	c.refused(t, "rds describe-db-instances --filters Name=colour,Values=red", "InvalidParameterValue")
	c.refused(t, "rds describe-db-instances --db-instance-identifier none", "DBInstanceNotFound")
	c.json(t, "rds create-db-parameter-group --db-parameter-group-name one --db-parameter-group-family postgres15 --description d")
	requireAt(t, c.json(t, "rds modify-db-instance --db-instance-identifier shop --db-parameter-group-name one"), map[string]any{
		"DBInstance.DBInstanceStatus": "modifying", "DBInstance.DBParameterGroups.0.ParameterApplyStatus": "applying"})
	require.Nil(t, c.json(t, "rds wait db-instance-available --db-instance-identifier shop"))
	requireAt(t, c.json(t, "rds reboot-db-instance --db-instance-identifier shop"), map[string]any{"DBInstance.DBInstanceStatus": "available",
		"DBInstance.DBParameterGroups.0.ParameterApplyStatus": "pending-reboot"})
	require.Contains(t, at(t, c.json(t, "rds describe-events --source-type db-instance --source-identifier shop"), "Events.0.Message"), "DBParameterGroup one")
}

func TestCLICluster(t *testing.T) {
	c := newCLI(t)
	c.simulator.AddCluster(awssim.ClusterConfig{ID: "aurora", EngineVersion: "15.4", Host: "db.example", Port: 5432})
	c.json(t, "rds create-db-cluster-parameter-group --db-cluster-parameter-group-name one --db-parameter-group-family aurora-postgresql15 --description d")
	requireAt(t, c.json(t, "rds modify-db-cluster-parameter-group --db-cluster-parameter-group-name one --parameters ParameterName=rds.logical_replication,ParameterValue=1,ApplyMethod=pending-reboot"),
		map[string]any{"DBClusterParameterGroupName": "one"})
	requireAt(t, c.json(t, "rds modify-db-cluster --db-cluster-identifier aurora --db-cluster-parameter-group-name one"), map[string]any{
		"DBCluster.DBClusterParameterGroup": "one", "DBCluster.DBClusterMembers.0.DBClusterParameterGroupStatus": "applying"})
	requireAt(t, c.json(t, "rds describe-db-clusters --filters Name=db-cluster-id,Values=aurora"), map[string]any{"DBClusters.0.DBClusterMembers.0.IsClusterWriter": true,
		"DBClusters.0.AvailabilityZones.1": "us-east-1b", "DBClusters.0.StorageType": "aurora"})
	c.refused(t, "rds reboot-db-cluster --db-cluster-identifier aurora", "InvalidParameterCombination")
	requireAt(t, c.json(t, "rds failover-db-cluster --db-cluster-identifier aurora"), map[string]any{"DBCluster.Status": "failing-over"})
}

func TestCLINetwork(t *testing.T) {
	c := newCLI(t)
	c.simulator.AddSecurityGroup(awssim.SecurityGroupConfig{ID: "sg-1", VPC: "vpc-1"})
	opened := c.json(t, "ec2 authorize-security-group-ingress --group-id sg-1 --ip-permissions IpProtocol=tcp,FromPort=5432,ToPort=5432,IpRanges=[{CidrIp=10.0.0.1/32,Description=shop}]")
	requireAt(t, opened, map[string]any{"Return": true, "SecurityGroupRules.0.CidrIpv4": "10.0.0.1/32", "SecurityGroupRules.0.Description": "shop"})
	c.refused(t, "ec2 authorize-security-group-ingress --group-id sg-1 --protocol tcp --port 5432 --cidr 10.0.0.1/32", "InvalidPermission.Duplicate")
	requireAt(t, c.json(t, "ec2 describe-security-group-rules --filters Name=group-id,Values=sg-1"), map[string]any{"SecurityGroupRules.0.FromPort": 5432, "SecurityGroupRules.0.IsEgress": false})
	id := at(t, opened, "SecurityGroupRules.0.SecurityGroupRuleId").(string)
	requireAt(t, c.json(t, "ec2 revoke-security-group-ingress --group-id sg-1 --security-group-rule-ids "+id), map[string]any{"Return": true})
	require.Empty(t, c.simulator.Ingress("sg-1"))
	created := c.json(t, "ec2 create-security-group --group-name timeferry --description d --vpc-id vpc-1")
	c.json(t, "ec2 delete-security-group --group-id "+at(t, created, "GroupId").(string))
}

func TestCLIMachine(t *testing.T) {
	c := newCLI(t)
	c.simulator.AddSecurityGroup(awssim.SecurityGroupConfig{ID: "sg-1", VPC: "vpc-1"})
	requireAt(t, c.json(t, "ec2 describe-instance-types --instance-types m6i.large"), map[string]any{"InstanceTypes.0.VCpuInfo.DefaultVCpus": 2, "InstanceTypes.0.MemoryInfo.SizeInMiB": 8192})
	subnet := at(t, c.json(t, "ec2 describe-subnets --filters Name=vpc-id,Values=vpc-1"), "Subnets.0.SubnetId").(string)
	run := c.json(t, "ec2 run-instances --image-id "+ubuntu+" --instance-type m6i.large --subnet-id "+subnet+" --security-group-ids sg-1 --user-data #cloud-config"+
		" --metadata-options HttpTokens=required --block-device-mappings DeviceName=/dev/sda1,Ebs={VolumeSize=75,VolumeType=gp3,Encrypted=true}"+
		" --tag-specifications ResourceType=instance,Tags=[{Key=migration,Value=shop}]")
	requireAt(t, run, map[string]any{"Instances.0.State.Name": "pending", "Instances.0.MetadataOptions.HttpTokens": "required", "Instances.0.SecurityGroups.0.GroupId": "sg-1", "Instances.0.ImageId": "ami-0a240400000000001"})
	id := at(t, run, "Instances.0.InstanceId").(string)
	require.Equal(t, "#cloud-config", c.simulator.Machines()[0].UserData)
	require.Nil(t, c.json(t, "ec2 wait instance-running --instance-ids "+id))
	requireAt(t, c.json(t, "ec2 describe-instances --filters Name=tag:migration,Values=shop Name=instance-state-name,Values=running"), map[string]any{
		"Reservations.0.Instances.0.InstanceId": id, "Reservations.0.Instances.0.PrivateIpAddress": c.simulator.Machines()[0].PrivateIP, "Reservations.0.Instances.0.Tags.0.Value": "shop"})
	requireAt(t, c.json(t, "ec2 describe-instance-status --instance-ids "+id), map[string]any{"InstanceStatuses.0.InstanceState.Code": 16})
	requireAt(t, c.json(t, "ec2 terminate-instances --instance-ids "+id), map[string]any{"TerminatingInstances.0.CurrentState.Name": "shutting-down", "TerminatingInstances.0.PreviousState.Name": "running"})
	c.refused(t, "ec2 describe-instances --instance-ids i-0123456789abcdef9", "InvalidInstanceID.NotFound")
}

func TestCLISecretsAndParameters(t *testing.T) {
	c := newCLI(t)
	c.simulator.PutSecret("shop", `{"username":"postgres","password":"before"}`)
	c.simulator.PutSSMParameter("/shop/token", "hidden", true)
	requireAt(t, c.json(t, "secretsmanager get-secret-value --secret-id shop"), map[string]any{"SecretString": `{"username":"postgres","password":"before"}`, "VersionStages.0": "AWSCURRENT"})
	requireAt(t, c.json(t, "secretsmanager rotate-secret --secret-id shop"), map[string]any{"Name": "shop"})
	text := at(t, c.json(t, "secretsmanager get-secret-value --secret-id shop"), "SecretString").(string)
	require.NotContains(t, text, "before")
	require.Contains(t, text, `"username":"postgres"`)
	c.refused(t, "secretsmanager get-secret-value --secret-id none", "ResourceNotFoundException")
	requireAt(t, c.json(t, "ssm get-parameter --name /shop/token --with-decryption"), map[string]any{"Parameter.Value": "hidden", "Parameter.Type": "SecureString", "Parameter.Version": 1})
	requireAt(t, c.json(t, "ssm get-parameters --names "+strings.TrimPrefix(ubuntu, "resolve:ssm:")+" /none"), map[string]any{"Parameters.0.Value": "ami-0a240400000000001", "InvalidParameters.0": "/none"})
	c.refused(t, "ssm get-parameter --name /none", "ParameterNotFound")
}

func TestCLIMetrics(t *testing.T) {
	c := newCLI(t)
	c.simulator.AddInstance(awssim.InstanceConfig{ID: "burst", EngineVersion: "15.12", MasterUser: "postgres"})
	const ask = "cloudwatch get-metric-statistics --namespace AWS/RDS --metric-name CPUCreditBalance --statistics Average --period 300 " +
		"--start-time 2026-01-01T00:00:00Z --end-time 2026-01-01T00:10:00Z --dimensions Name=DBInstanceIdentifier,Value="
	requireAt(t, c.json(t, ask+"burst"), map[string]any{"Label": "CPUCreditBalance", "Datapoints": []any{}})
	c.simulator.SetCPUCredits("burst", 288.5)
	requireAt(t, c.json(t, ask+"burst"), map[string]any{"Datapoints.0.Average": 288.5, "Datapoints.0.Unit": "Count"})
	c.refused(t, strings.Replace(ask, "--period 300", "--period 30", 1)+"burst", "InvalidParameterValue")
}
