package launch_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/fault"
	"timeferry/internal/launch"
)

func TestPlan(t *testing.T) {
	w := newWorld(t)
	plan, err := w.client.Plan(t.Context(), w.order(t))
	require.NoError(t, err)
	require.Equal(t, "m6i.large", plan.Type)
	require.Equal(t, 2, plan.CPUs)
	require.Equal(t, 8*gib, plan.MemoryBytes)
	require.EqualValues(t, 150, plan.DiskGiB)
	require.Equal(t, "vpc-1", plan.VPC)
	require.Equal(t, "us-west-2b", plan.AvailabilityZone, "the database's")
	require.Equal(t, 15, plan.PostgresClient)
	require.False(t, plan.PublicAddress)
	require.Contains(t, strings.Join(plan.Notes, "\n"), "NAT gateway")
	for _, call := range w.simulator.Log() {
		require.Regexp(t, "^ec2:Describe", call.String(), "a plan changes nothing")
	}
	require.Empty(t, w.simulator.Machines())
}

func TestPlanFollowsWishes(t *testing.T) {
	w := newWorld(t)
	order := w.order(t)
	order.Type, order.PublicAddress = "t3.medium", true
	order.Source.AvailabilityZone = "us-west-2d" // none of its subnets is there
	plan, err := w.client.Plan(t.Context(), order)
	require.NoError(t, err)
	require.Contains(t, strings.Join(plan.Notes, "\n"), "t3.medium is too small: the worker's machine has 4 GiB of memory, and 8 GiB are needed")
	require.Contains(t, strings.Join(plan.Notes, "\n"), "in zone us-west-2d and the machine would be in us-west-2")
	require.NotContains(t, strings.Join(plan.Notes, "\n"), "NAT")

	order.Subnet = order.Source.Subnets[1]
	plan, err = w.client.Plan(t.Context(), order)
	require.NoError(t, err)
	require.Equal(t, order.Subnet, plan.Subnet)
}

func TestPlanRefuses(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		spoil func(*launch.Order)
		code  string
		part  string
	}{
		"a type for ARM":   {func(o *launch.Order) { o.Type = "m7g.large" }, launch.CodeBadOrder, "x86-64"},
		"no such type":     {func(o *launch.Order) { o.Type = "m9x.large" }, launch.CodeLaunchRefused, "m9x.large"},
		"no such subnet":   {func(o *launch.Order) { o.Subnet = "subnet-none" }, launch.CodeLaunchRefused, "subnet-none"},
		"no subnets":       {func(o *launch.Order) { o.Source.Subnets = nil }, launch.CodeNoSubnet, "--subnet"},
		"another VPC":      {func(o *launch.Order) { o.Source.VPC = "vpc-2" }, launch.CodeNoSubnet, "vpc-2"},
		"too large a disk": {func(o *launch.Order) { o.DatabaseBytes = 1 << 50 }, "", "64 TiB"},
	} {
		t.Run(name, func(t *testing.T) {
			order := w.order(t)
			c.spoil(&order)
			_, err := w.client.Plan(t.Context(), order)
			requireFault(t, err, fault.Operator, c.code, c.part)
		})
	}
}

func TestLaunchAndTerminate(t *testing.T) {
	w := newWorld(t)
	var told []string
	launched, err := w.client.Launch(t.Context(), w.order(t), func(message string) { told = append(told, message) })
	require.NoError(t, err)
	require.False(t, launched.Existing)
	require.Equal(t, "running", launched.Machine.State)
	require.NotEmpty(t, told)
	all := w.simulator.Machines()
	require.Len(t, all, 1)
	m := all[0]
	require.Equal(t, launched.Machine.ID, m.ID)
	require.Equal(t, launched.Machine.PrivateIP, m.PrivateIP)
	require.Equal(t, []string{launched.Machine.SecurityGroup}, m.SecurityGroups)
	require.Equal(t, "vpc-1", m.VPC)
	require.Empty(t, m.PublicIP)
	require.True(t, m.TokensRequired)
	require.Equal(t, 1, m.TokenHops)
	require.Equal(t, "timeferry-worker", m.InstanceProfile)
	require.Len(t, m.Volumes, 1)
	tags := map[string]string{"Name": "timeferry-shop", launch.TagMigration: "shop", launch.TagMachine: "yes"}
	require.Equal(t, tags, m.Tags)
	require.Equal(t, tags, m.Volumes[0].Tags)
	require.Equal(t, []any{150, "gp3", true, true}, []any{m.Volumes[0].SizeGiB, m.Volumes[0].Type, m.Volumes[0].Encrypted, m.Volumes[0].DeleteOnTermination})
	require.Contains(t, m.UserData, "postgresql-client-15")
	require.Empty(t, w.simulator.Ingress(m.SecurityGroups[0]), "nobody comes in")

	again, err := w.client.Launch(t.Context(), w.order(t), nil)
	require.NoError(t, err)
	require.Equal(t, launch.Launched{Machine: launched.Machine, Existing: true}, again)
	require.Len(t, w.simulator.Machines(), 1)

	gone, err := w.client.Terminate(t.Context(), "shop", nil, nil)
	require.NoError(t, err)
	require.Equal(t, launch.Terminated{Machines: []string{m.ID}, SecurityGroups: m.SecurityGroups}, gone)
	require.Empty(t, w.running())
	require.Empty(t, w.groups(t))
	gone, err = w.client.Terminate(t.Context(), "shop", nil, nil)
	require.NoError(t, err)
	require.Equal(t, launch.Terminated{Machines: []string{}, SecurityGroups: []string{}}, gone)

	after, err := w.client.Launch(t.Context(), w.order(t), nil)
	require.NoError(t, err)
	require.NotEqual(t, m.ID, after.Machine.ID, "EC2 remembers the token of the first")
}

// TestLaunchDiesAnywhere lets the answer of every call be lost in turn, and once each call itself; what follows is one
// machine with one group, whatever was learned of it.
func TestLaunchDiesAnywhere(t *testing.T) {
	for _, action := range []string{"DescribeInstances", "DescribeInstanceTypes", "DescribeSubnets", "DescribeSecurityGroups", "CreateSecurityGroup", "RunInstances"} {
		for _, kind := range []awssim.FaultKind{awssim.LoseAnswer, awssim.FailCall} {
			t.Run(action+" "+string(kind), func(t *testing.T) {
				w := newWorld(t)
				order := w.order(t)
				w.simulator.Inject(awssim.Fault{Kind: kind, Action: action, Code: "InternalError", Status: 500, Count: 8}) // all attempts of one call
				_, err := w.client.Launch(t.Context(), order, nil)
				if action == "CreateSecurityGroup" && kind == awssim.LoseAnswer {
					require.NoError(t, err, "the second attempt finds the group of the first")
				} else {
					require.Equal(t, fault.Transient, fault.Classify(err), "%v", err)
				}
				_, err = w.client.Launch(t.Context(), order, nil)
				require.NoError(t, err)
				require.Len(t, w.running(), 1)
				require.Equal(t, []string{"timeferry-machine-shop"}, w.groups(t))
				_, err = w.client.Terminate(t.Context(), "shop", nil, nil)
				require.NoError(t, err)
				require.Empty(t, w.groups(t))
			})
		}
	}
}

// TestTheWholeLifeUnderThrottlingAndLag is the same life with 30 % of the calls throttled and reads that lag behind.
func TestTheWholeLifeUnderThrottlingAndLag(t *testing.T) {
	w := newWorld(t)
	order := w.order(t)
	w.simulator.Inject(awssim.Fault{Kind: awssim.Throttle, Percent: 30})
	w.simulator.Inject(awssim.Fault{Kind: awssim.ReadLag, For: 60 * time.Millisecond})
	for range 3 {
		first, err := w.client.Launch(t.Context(), order, nil)
		require.NoError(t, err)
		second, err := w.client.Launch(t.Context(), order, nil)
		require.NoError(t, err)
		require.Equal(t, first.Machine.ID, second.Machine.ID)
		require.Len(t, w.running(), 1)
		require.Eventually(t, func() bool {
			_, err := w.client.Terminate(t.Context(), "shop", nil, nil)
			return err == nil && len(w.running()) == 0
		}, 10*time.Second, 10*time.Millisecond)
		require.Eventually(t, func() bool { // a person who launches again sees that it has ended
			there, err := w.client.Machines(t.Context(), "shop")
			return err == nil && len(there) == 0
		}, 10*time.Second, 10*time.Millisecond)
	}
}

func TestTerminateRefusesWhatIsNotOurs(t *testing.T) {
	w := newWorld(t)
	launched, err := w.client.Launch(t.Context(), w.order(t), nil)
	require.NoError(t, err)
	out, err := w.person.RunInstances(t.Context(), &ec2.RunInstancesInput{ImageId: aws.String(launch.Image), InstanceType: types.InstanceTypeM6iLarge, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		SubnetId:          &launched.Machine.Subnet,
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: aws.String(launch.TagMigration), Value: aws.String("shop")}}}}})
	require.NoError(t, err)
	theirs := *out.Instances[0].InstanceId

	_, err = w.client.Terminate(t.Context(), "shop", []string{launched.Machine.ID, theirs}, nil)
	requireFault(t, err, fault.Operator, launch.CodeNotOurs, theirs, "timeferry:machine=yes")
	_, err = w.client.Terminate(t.Context(), "other", []string{launched.Machine.ID}, nil)
	requireFault(t, err, fault.Operator, launch.CodeNotOurs, launched.Machine.ID)
	require.Zero(t, w.simulator.Calls("TerminateInstances"))
	gone, err := w.client.Terminate(t.Context(), "other", nil, nil)
	require.NoError(t, err)
	require.Empty(t, gone.Machines)

	gone, err = w.client.Terminate(t.Context(), "shop", nil, nil)
	require.NoError(t, err)
	require.Equal(t, []string{launched.Machine.ID}, gone.Machines)
	require.Len(t, w.running(), 1, "somebody else's goes on")
}

// A group of that name that somebody else made is neither used nor deleted.
func TestAGroupOfSomebodyElseIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	_, err := w.person.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("timeferry-machine-shop"), Description: aws.String("theirs"), VpcId: aws.String("vpc-1")})
	require.NoError(t, err)
	_, err = w.client.Launch(t.Context(), w.order(t), nil)
	requireFault(t, err, fault.Operator, launch.CodeNotOurs, "timeferry-machine-shop")
	require.Empty(t, w.simulator.Machines())
	_, err = w.client.Terminate(t.Context(), "shop", nil, nil)
	require.NoError(t, err)
	require.Len(t, w.groups(t), 1)
}

func TestAGroupInUseIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	_, err := w.client.Launch(t.Context(), w.order(t), nil)
	require.NoError(t, err)
	w.simulator.Inject(awssim.Fault{Kind: awssim.FailCall, Action: "DeleteSecurityGroup", Code: "DependencyViolation", Message: "resource sg-1 has a dependent object", Count: 3})
	_, err = w.client.Terminate(t.Context(), "shop", nil, nil)
	require.NoError(t, err)
	require.Equal(t, 4, w.simulator.Calls("DeleteSecurityGroup"))
	require.Empty(t, w.groups(t))
}

func TestWhatEC2SaysBecomesARemedy(t *testing.T) {
	for _, c := range []struct{ action, awsCode, code, hint string }{
		{"RunInstances", "UnauthorizedOperation", launch.CodeAccessDenied, "allow ec2:RunInstances, as deploy/iam/machine.json does"},
		{"CreateSecurityGroup", "UnauthorizedOperation", launch.CodeAccessDenied, "allow ec2:CreateSecurityGroup, as deploy/iam/machine.json does"},
		{"RunInstances", "InsufficientInstanceCapacity", launch.CodeLaunchRefused, "another --type"},
		{"RunInstances", "VcpuLimitExceeded", launch.CodeLaunchRefused, "quota"},
		{"RunInstances", "InvalidParameterValue", launch.CodeLaunchRefused, "--instance-profile"},
		{"DescribeInstances", "ExpiredToken", launch.CodeCredentials, "AWS_PROFILE"},
	} {
		t.Run(c.action+" "+c.awsCode, func(t *testing.T) {
			w := newWorld(t)
			order := w.order(t)
			w.simulator.Inject(awssim.Fault{Kind: awssim.FailCall, Action: c.action, Code: c.awsCode, Status: 403, Count: 8,
				Message: "You are not authorized to perform this operation. Encoded authorization failure message: 4a6f"})
			_, err := w.client.Launch(t.Context(), order, nil)
			requireFault(t, err, fault.Operator, c.code, c.awsCode, c.hint)
			require.NotContains(t, err.Error(), "4a6f")
		})
	}
}

// A new group that EC2 does not see yet is no reason to give up.
func TestRunInstancesWaitsForItsGroup(t *testing.T) {
	w := newWorld(t)
	order := w.order(t)
	w.simulator.Inject(awssim.Fault{Kind: awssim.FailCall, Action: "RunInstances", Code: "InvalidGroup.NotFound", Message: "The security group 'sg-1' does not exist", Count: 2})
	_, err := w.client.Launch(t.Context(), order, nil)
	require.NoError(t, err)
	require.Equal(t, 3, w.simulator.Calls("RunInstances"))
}

func TestOpenWithoutRegion(t *testing.T) {
	isolateAWS(t)
	_, err := launch.Open(t.Context(), launch.Options{})
	requireFault(t, err, fault.Operator, launch.CodeNoAWSConfig, "--region")
}
