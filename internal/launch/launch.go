package launch

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"timeferry/internal/fault"
)

// Machine is one of ours.
type Machine struct {
	ID            string `json:"id"`
	State         string `json:"state"`
	Type          string `json:"type"`
	PrivateIP     string `json:"privateIP,omitempty"`
	PublicIP      string `json:"publicIP,omitempty"`
	Subnet        string `json:"subnet,omitempty"`
	SecurityGroup string `json:"securityGroup,omitempty"`
	Reason        string `json:"reason,omitempty"` // why it is in that state, where EC2 says
}

// Launched is the outcome of Launch. Existing: the machine was there before.
type Launched struct {
	Machine  Machine `json:"machine"`
	Existing bool    `json:"existing"`
}

// ProgressFunc is told, in words, what is being waited for. It may be nil.
type ProgressFunc func(message string)

func (f ProgressFunc) tell(format string, args ...any) {
	if f != nil {
		f(fmt.Sprintf(format, args...))
	}
}

// Launch launches the machine and waits until it runs. Repeatable: a machine of the migration that is there already is
// given back as Existing, and a launch of which nobody learned the answer yields the same machine again.
func (c *Client) Launch(ctx context.Context, o Order, progress ProgressFunc) (Launched, error) {
	if err := o.validate(); err != nil {
		return Launched{}, err
	}
	if err := o.Setup.validate(); err != nil {
		return Launched{}, err
	}
	there, gone, err := c.machines(ctx, o.Migration)
	if err != nil {
		return Launched{}, err
	}
	if len(there) > 0 {
		return Launched{Machine: there[0], Existing: true}, nil
	}
	plan, err := c.Plan(ctx, o)
	if err != nil {
		return Launched{}, err
	}
	script, err := userData(o, plan)
	if err != nil {
		return Launched{}, err
	}
	progress.tell("launching %s in %s", plan.Type, plan.Subnet)
	id, err := c.runInstance(ctx, plan, func(group string) *ec2.RunInstancesInput { return runInput(o, plan, group, script, gone) })
	if err != nil {
		return Launched{}, err
	}
	m, err := c.awaitRunning(ctx, id, progress)
	return Launched{Machine: m}, err
}

// runInput is the whole request. The token makes EC2 take a repeated request for the same one. It must be another one after
// a termination, since EC2 remembers tokens for a day: the group, which goes with its machine, makes it so, and where the
// group outlived its machine the machines that are gone do.
func runInput(o Order, p Plan, group, script string, gone []Machine) *ec2.RunInstancesInput {
	token := sha256.New()
	fmt.Fprintf(token, "timeferry machine %s %s", o.Migration, group)
	for _, m := range gone {
		fmt.Fprintf(token, " %s", m.ID)
	}
	tags := tagsOf(o.Migration)
	in := &ec2.RunInstancesInput{ImageId: &p.Image, InstanceType: types.InstanceType(p.Type), MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		ClientToken: aws.String(hex.EncodeToString(token.Sum(nil))), UserData: aws.String(base64.StdEncoding.EncodeToString([]byte(script))),
		NetworkInterfaces: []types.InstanceNetworkInterfaceSpecification{{DeviceIndex: aws.Int32(0), SubnetId: &p.Subnet, Groups: []string{group},
			AssociatePublicIpAddress: &p.PublicAddress, DeleteOnTermination: aws.Bool(true)}},
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{
			VolumeType: types.VolumeTypeGp3, VolumeSize: aws.Int32(int32(p.DiskGiB)), Encrypted: aws.Bool(true), DeleteOnTermination: aws.Bool(true)}}},
		// A program that can be made to fetch a URL must not get at the role's credentials, nor may a container.
		MetadataOptions: &types.InstanceMetadataOptionsRequest{HttpEndpoint: types.InstanceMetadataEndpointStateEnabled,
			HttpTokens: types.HttpTokensStateRequired, HttpPutResponseHopLimit: aws.Int32(1)},
		InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorStop, // a shutdown must not lose the spool
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: tags},
			{ResourceType: types.ResourceTypeVolume, Tags: tags}},
	}
	switch {
	case strings.HasPrefix(o.InstanceProfile, "arn:"):
		in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Arn: &o.InstanceProfile}
	case o.InstanceProfile != "":
		in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: &o.InstanceProfile}
	}
	return in
}

// runInstance asks for the machine in its security group. EC2 may not know the group yet that was just made, and may still
// show one that was just deleted: it is looked for again each time.
func (c *Client) runInstance(ctx context.Context, p Plan, input func(group string) *ec2.RunInstancesInput) (string, error) {
	for tries := 1; ; tries++ {
		group, err := c.needGroup(ctx, p.Migration, p.VPC)
		if err != nil {
			return "", err
		}
		out, err := c.ec2.RunInstances(ctx, input(group))
		switch {
		case err == nil && len(out.Instances) == 1:
			return aws.ToString(out.Instances[0].InstanceId), nil
		case err == nil:
			return "", fault.New(fault.Bug, "launch", "the machine", "", "EC2 answered with %d machines", len(out.Instances))
		case !hasCode(err, "InvalidGroup.NotFound") || tries == settleAttempts:
			return "", explain(ctx, err, attempt{"ec2:RunInstances", "launch", "the machine"})
		}
		if err := c.pause(ctx); err != nil {
			return "", fmt.Errorf("launch the machine: %w", err)
		}
	}
}

func (c *Client) awaitRunning(ctx context.Context, id string, progress ProgressFunc) (Machine, error) {
	unseen := 0
	for {
		m, found, err := c.machine(ctx, id)
		if err != nil {
			return Machine{ID: id}, err
		}
		switch {
		case !found:
			if unseen++; unseen == settleAttempts {
				return Machine{ID: id}, fault.New(fault.NotReady, "launch", id, "repeat the command: it finds the machine, or launches one", "EC2 does not show the machine that it launched")
			}
			progress.tell("machine %s is on its way", id)
		case m.State == string(types.InstanceStateNameRunning):
			return m, nil
		case m.State != string(types.InstanceStateNamePending):
			return m, fault.New(fault.Operator, "launch", id, "run starter machine terminate, mend the cause, and launch again", "it is %s at once: %s", m.State, m.Reason).WithCode(CodeLaunchFailed)
		default:
			progress.tell("machine %s is %s", id, m.State)
		}
		if err := c.pause(ctx); err != nil {
			return m, fmt.Errorf("wait for machine %s: %w", id, err)
		}
	}
}

// Machines lists the migration's machines that are not terminated.
func (c *Client) Machines(ctx context.Context, migration string) ([]Machine, error) {
	there, _, err := c.machines(ctx, migration)
	return there, err
}

// machines gives the migration's machines, those that can be seen and are terminated or on the way there apart.
func (c *Client) machines(ctx context.Context, migration string) (there, gone []Machine, err error) {
	all, err := c.describe(ctx, &ec2.DescribeInstancesInput{Filters: ourFilters(migration)})
	if err != nil {
		return nil, nil, err
	}
	for _, x := range all {
		m := machineOf(x)
		if m.ended() {
			gone = append(gone, m)
		} else {
			there = append(there, m)
		}
	}
	slices.SortFunc(gone, func(a, b Machine) int { return strings.Compare(a.ID, b.ID) })
	return there, gone, nil
}

func (m Machine) ended() bool {
	return m.State == string(types.InstanceStateNameTerminated) || m.State == string(types.InstanceStateNameShuttingDown)
}

// machine reads one by its id.
func (c *Client) machine(ctx context.Context, id string) (m Machine, found bool, err error) {
	all, err := c.describe(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if hasCode(err, "InvalidInstanceID.NotFound") {
		return Machine{}, false, nil
	}
	if err != nil || len(all) == 0 {
		return Machine{}, false, err
	}
	return machineOf(all[0]), true, nil
}

func (c *Client) describe(ctx context.Context, in *ec2.DescribeInstancesInput) ([]types.Instance, error) {
	var all []types.Instance
	for pages := ec2.NewDescribeInstancesPaginator(c.ec2, in); pages.HasMorePages(); {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, explain(ctx, err, attempt{"ec2:DescribeInstances", "look for", "machines"})
		}
		for _, r := range out.Reservations {
			all = append(all, r.Instances...)
		}
	}
	return all, nil
}

func machineOf(x types.Instance) Machine {
	m := Machine{ID: aws.ToString(x.InstanceId), Type: string(x.InstanceType), PrivateIP: aws.ToString(x.PrivateIpAddress),
		PublicIP: aws.ToString(x.PublicIpAddress), Subnet: aws.ToString(x.SubnetId)}
	if x.State != nil {
		m.State = string(x.State.Name)
	}
	if x.StateReason != nil {
		m.Reason = aws.ToString(x.StateReason.Message)
	}
	if len(x.SecurityGroups) > 0 {
		m.SecurityGroup = aws.ToString(x.SecurityGroups[0].GroupId)
	}
	return m
}
