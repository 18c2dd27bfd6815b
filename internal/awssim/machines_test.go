package awssim_test

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

const ubuntu = "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"

func launch(subnet, group string) *ec2.RunInstancesInput {
	tags := []types.Tag{{Key: aws.String("timeferry:migration"), Value: aws.String("shop")}}
	return &ec2.RunInstancesInput{ImageId: aws.String(ubuntu), InstanceType: types.InstanceTypeM6iLarge, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		ClientToken: aws.String("token"), UserData: aws.String(base64.StdEncoding.EncodeToString([]byte("#cloud-config\n"))),
		MetadataOptions:    &types.InstanceMetadataOptionsRequest{HttpTokens: types.HttpTokensStateRequired, HttpPutResponseHopLimit: aws.Int32(1)},
		IamInstanceProfile: &types.IamInstanceProfileSpecification{Name: aws.String("timeferry")},
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{
			VolumeSize: aws.Int32(75), VolumeType: types.VolumeTypeGp3, Encrypted: aws.Bool(true)}}},
		NetworkInterfaces: []types.InstanceNetworkInterfaceSpecification{{DeviceIndex: aws.Int32(0), SubnetId: &subnet, Groups: []string{group}, AssociatePublicIpAddress: aws.Bool(false)}},
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: tags}, {ResourceType: types.ResourceTypeVolume, Tags: tags}}}
}

func TestMachineIsLaunchedAndTerminated(t *testing.T) {
	simulator, client := newEC2(t, awssim.Options{})
	subnets, err := client.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{Filters: []types.Filter{{Name: aws.String("vpc-id"), Values: []string{"vpc-1"}}}})
	require.NoError(t, err)
	require.Len(t, subnets.Subnets, 2)
	require.Equal(t, simulator.SubnetIDs("vpc-1")[1], *subnets.Subnets[1].SubnetId)
	require.Equal(t, "us-east-1b", *subnets.Subnets[1].AvailabilityZone)

	group, err := client.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("timeferry-shop"), Description: aws.String("d"), VpcId: aws.String("vpc-1")})
	require.NoError(t, err)
	run, err := client.RunInstances(t.Context(), launch(*subnets.Subnets[1].SubnetId, *group.GroupId))
	require.NoError(t, err)
	require.Len(t, run.Instances, 1)
	require.Equal(t, types.InstanceStateNamePending, run.Instances[0].State.Name)
	require.Equal(t, types.HttpTokensStateRequired, run.Instances[0].MetadataOptions.HttpTokens)
	id := *run.Instances[0].InstanceId

	again, err := client.RunInstances(t.Context(), launch(*subnets.Subnets[1].SubnetId, *group.GroupId))
	require.NoError(t, err)
	require.Equal(t, id, *again.Instances[0].InstanceId, "the same token launches nothing more")
	other := launch(*subnets.Subnets[1].SubnetId, *group.GroupId)
	other.InstanceType = types.InstanceTypeM6iXlarge
	_, err = client.RunInstances(t.Context(), other)
	requireCode(t, err, "IdempotentParameterMismatch")

	quick := func(o *ec2.InstanceStatusOkWaiterOptions) {
		o.MinDelay, o.MaxDelay = time.Millisecond, 5*time.Millisecond
	}
	require.NoError(t, ec2.NewInstanceStatusOkWaiter(client).Wait(t.Context(), &ec2.DescribeInstanceStatusInput{InstanceIds: []string{id}}, 10*time.Second, quick))
	m := simulator.Machines()[0]
	require.Equal(t, awssim.Machine{ID: id, State: "running", Type: "m6i.large", ImageID: "ami-0a240400000000001", Architecture: "x86_64", VPC: "vpc-1",
		Subnet: *subnets.Subnets[1].SubnetId, AvailabilityZone: "us-east-1b", PrivateIP: m.PrivateIP, SecurityGroups: []string{*group.GroupId},
		InstanceProfile: "timeferry", UserData: "#cloud-config\n", TokensRequired: true, TokenHops: 1, Launched: m.Launched,
		Volumes: []awssim.Volume{{ID: m.Volumes[0].ID, Device: "/dev/sda1", SizeGiB: 75, Type: "gp3", Encrypted: true, DeleteOnTermination: true, Tags: map[string]string{"timeferry:migration": "shop"}}},
		Tags:    map[string]string{"timeferry:migration": "shop"}}, m)
	found, err := client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{Filters: []types.Filter{
		{Name: aws.String("tag:timeferry:*"), Values: []string{"shop"}}}})
	require.NoError(t, err)
	require.Empty(t, found.Reservations, "a tag's key has no wildcards")
	found, err = client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("tag:timeferry:migration"), Values: []string{"sh*"}},
		{Name: aws.String("instance-state-name"), Values: []string{"pending", "running"}}, {Name: aws.String("instance.group-id"), Values: []string{*group.GroupId}}}})
	require.NoError(t, err)
	require.Equal(t, m.PrivateIP, *found.Reservations[0].Instances[0].PrivateIpAddress)

	_, err = client.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: group.GroupId})
	requireCode(t, err, "DependencyViolation")
	ended, err := client.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	require.NoError(t, err)
	require.Equal(t, types.InstanceStateNameShuttingDown, ended.TerminatingInstances[0].CurrentState.Name)
	require.Equal(t, types.InstanceStateNameRunning, ended.TerminatingInstances[0].PreviousState.Name)
	require.NoError(t, ec2.NewInstanceTerminatedWaiter(client).Wait(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}}, 10*time.Second,
		func(o *ec2.InstanceTerminatedWaiterOptions) {
			o.MinDelay, o.MaxDelay = time.Millisecond, 5*time.Millisecond
		}))
	_, err = client.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: group.GroupId})
	require.NoError(t, err)
	_, err = client.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	require.NoError(t, err, "what has ended may be ended")
}

func TestLaunchIsRefused(t *testing.T) {
	simulator, client := newEC2(t, awssim.Options{})
	simulator.AddImage("ami-arm", "arm64")
	subnet := simulator.SubnetIDs("vpc-1")[0]
	simulator.AddSecurityGroup(awssim.SecurityGroupConfig{ID: "sg-elsewhere", VPC: "vpc-2"})
	for name, c := range map[string]struct {
		change func(*ec2.RunInstancesInput)
		code   string
	}{
		"no such image":        {func(in *ec2.RunInstancesInput) { in.ImageId = aws.String("ami-none") }, "InvalidAMIID.NotFound"},
		"not an image":         {func(in *ec2.RunInstancesInput) { in.ImageId = aws.String("ubuntu") }, "InvalidAMIID.Malformed"},
		"no such path":         {func(in *ec2.RunInstancesInput) { in.ImageId = aws.String("resolve:ssm:/none") }, "InvalidParameterValue"},
		"wrong architecture":   {func(in *ec2.RunInstancesInput) { in.ImageId = aws.String("ami-arm") }, "InvalidParameterValue"},
		"no such type":         {func(in *ec2.RunInstancesInput) { in.InstanceType = "m6i.tiny" }, "InvalidParameterValue"},
		"no such subnet":       {func(in *ec2.RunInstancesInput) { in.NetworkInterfaces[0].SubnetId = aws.String("subnet-none") }, "InvalidSubnetID.NotFound"},
		"no such group":        {func(in *ec2.RunInstancesInput) { in.NetworkInterfaces[0].Groups = []string{"sg-none"} }, "InvalidGroup.NotFound"},
		"group elsewhere":      {func(in *ec2.RunInstancesInput) { in.NetworkInterfaces[0].Groups = []string{"sg-elsewhere"} }, "InvalidParameter"},
		"subnet twice":         {func(in *ec2.RunInstancesInput) { in.SubnetId = &subnet }, "InvalidParameterCombination"},
		"user data":            {func(in *ec2.RunInstancesInput) { in.UserData = aws.String("#!/bin/sh") }, "InvalidUserData.Malformed"},
		"disk too small":       {func(in *ec2.RunInstancesInput) { in.BlockDeviceMappings[0].Ebs.VolumeSize = aws.Int32(4) }, "InvalidBlockDeviceMapping"},
		"no machine":           {func(in *ec2.RunInstancesInput) { in.MaxCount = aws.Int32(0) }, "InvalidParameterValue"},
		"tags of other things": {func(in *ec2.RunInstancesInput) { in.TagSpecifications[0].ResourceType = "vpc" }, "InvalidParameterValue"},
		"dry run":              {func(in *ec2.RunInstancesInput) { in.DryRun = aws.Bool(true) }, "DryRunOperation"},
	} {
		input := launch(subnet, "sg-1")
		c.change(input)
		_, err := client.RunInstances(t.Context(), input)
		require.Error(t, err, name)
		requireCode(t, err, c.code)
	}
	simulator.Inject(awssim.Fault{Kind: awssim.FailCall, Action: "RunInstances", Code: "UnauthorizedOperation", Status: 403, Message: "You are not authorized to perform this operation."})
	_, err := client.RunInstances(t.Context(), launch(subnet, "sg-1"))
	requireCode(t, err, "UnauthorizedOperation")
	require.Empty(t, simulator.Machines())

	_, err = client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{"i-none"}})
	requireCode(t, err, "InvalidInstanceID.NotFound")
	_, err = client.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{"i-none"}})
	requireCode(t, err, "InvalidInstanceID.NotFound")
	_, err = client.DescribeInstanceTypes(t.Context(), &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"m6i.tiny"}})
	requireCode(t, err, "InvalidInstanceType")
}

func TestMachinesArePaged(t *testing.T) {
	simulator, client := newEC2(t, awssim.Options{})
	client = ec2.New(client.Options(), func(o *ec2.Options) { o.RetryMaxAttempts, o.Retryer = 5, retry.NewStandard() }) // see withRetries
	input := launch(simulator.SubnetIDs("vpc-1")[0], "sg-1")
	input.MaxCount = aws.Int32(12)
	run, err := client.RunInstances(t.Context(), input)
	require.NoError(t, err)
	require.Len(t, run.Instances, 12)
	pages := ec2.NewDescribeInstancesPaginator(client, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(5)})
	addresses, sizes := map[string]bool{}, []int{}
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		require.NoError(t, err)
		sizes = append(sizes, len(out.Reservations[0].Instances))
		for _, m := range out.Reservations[0].Instances {
			addresses[*m.PrivateIpAddress] = true
		}
	}
	require.Equal(t, []int{5, 5, 2}, sizes)
	require.Len(t, addresses, 12)
	_, err = client.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{*run.Instances[0].InstanceId, "sg-1", simulator.Machines()[1].Volumes[0].ID},
		Tags: []types.Tag{{Key: aws.String("owner"), Value: aws.String("me")}}})
	require.NoError(t, err)
	require.Equal(t, "me", simulator.Machines()[0].Tags["owner"])
	require.NotContains(t, simulator.Machines()[1].Tags, "owner")
	require.Equal(t, "me", simulator.Machines()[1].Volumes[0].Tags["owner"])
	require.NotContains(t, simulator.Machines()[0].Volumes[0].Tags, "owner")
	_, err = client.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{*run.Instances[1].InstanceId, "i-none"}, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
	requireCode(t, err, "InvalidInstanceID.NotFound")
	require.NotContains(t, simulator.Machines()[1].Tags, "a", "all or nothing")
}

func TestMachineTypes(t *testing.T) {
	_, client := newEC2(t, awssim.Options{})
	out, err := client.DescribeInstanceTypes(t.Context(), &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"m6i.large", "r7i.2xlarge", "c7g.xlarge"}})
	require.NoError(t, err)
	have := map[types.InstanceType][]any{}
	for _, x := range out.InstanceTypes {
		have[x.InstanceType] = []any{*x.VCpuInfo.DefaultVCpus, *x.MemoryInfo.SizeInMiB, x.ProcessorInfo.SupportedArchitectures[0]}
	}
	require.Equal(t, map[types.InstanceType][]any{"m6i.large": {int32(2), int64(8192), types.ArchitectureTypeX8664},
		"r7i.2xlarge": {int32(8), int64(65536), types.ArchitectureTypeX8664}, "c7g.xlarge": {int32(4), int64(8192), types.ArchitectureTypeArm64}}, have)
}

func TestSecurityGroupsComeAndGo(t *testing.T) {
	simulator, client := newEC2(t, awssim.Options{})
	create := func(name, vpc string) (*ec2.CreateSecurityGroupOutput, error) {
		return client.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: &name, Description: aws.String("d"), VpcId: &vpc,
			TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSecurityGroup, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}}})
	}
	one, err := create("one", "vpc-1")
	require.NoError(t, err)
	_, err = create("one", "vpc-1")
	requireCode(t, err, "InvalidGroup.Duplicate")
	_, err = create("one", "vpc-none")
	requireCode(t, err, "InvalidVpcID.NotFound")
	_, err = create("sg-one", "vpc-1")
	requireCode(t, err, "InvalidParameterValue")
	vpcs, err := client.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{VpcIds: []string{"vpc-1"}})
	require.NoError(t, err)
	require.NotEmpty(t, *vpcs.Vpcs[0].CidrBlock)

	_, err = client.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: aws.String("sg-1")})
	requireCode(t, err, "DependencyViolation")
	_, err = client.AuthorizeSecurityGroupIngress(t.Context(), &ec2.AuthorizeSecurityGroupIngressInput{GroupId: aws.String("sg-1"), IpPermissions: []types.IpPermission{
		{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(5432), ToPort: aws.Int32(5432), UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: one.GroupId}}}}})
	require.NoError(t, err)
	_, err = client.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: one.GroupId})
	requireCode(t, err, "DependencyViolation")
	_, err = client.RevokeSecurityGroupIngress(t.Context(), &ec2.RevokeSecurityGroupIngressInput{GroupId: aws.String("sg-1"), SecurityGroupRuleIds: []string{simulator.Ingress("sg-1")[0].ID}})
	require.NoError(t, err)
	found, err := client.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{{Name: aws.String("tag:k"), Values: []string{"v"}}}})
	require.NoError(t, err)
	require.Len(t, found.SecurityGroups, 1)
	_, err = client.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: one.GroupId})
	require.NoError(t, err)
	_, err = client.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: one.GroupId})
	requireCode(t, err, "InvalidGroup.NotFound")
}
