package launch

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"timeferry/internal/fault"
	"timeferry/internal/machine"
)

// Image is Ubuntu 24.04 for x86-64, in its newest build; EC2 looks it up itself.
const Image = "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"

// Plan is the machine that would be launched.
type Plan struct {
	Migration        string   `json:"migration"`
	Region           string   `json:"region"`
	Type             string   `json:"type"`
	CPUs             int      `json:"cpus"`
	MemoryBytes      int64    `json:"memoryBytes"`
	DiskGiB          int64    `json:"diskGiB"`
	DatabaseBytes    int64    `json:"databaseBytes"`
	Image            string   `json:"image"`
	VPC              string   `json:"vpc"`
	Subnet           string   `json:"subnet"`
	AvailabilityZone string   `json:"availabilityZone"`
	PublicAddress    bool     `json:"publicAddress"`
	SecurityGroup    string   `json:"securityGroup"` // its name: it is made with the machine
	InstanceProfile  string   `json:"instanceProfile,omitempty"`
	PostgresClient   int      `json:"postgresClient"`
	Notes            []string `json:"notes,omitempty"`
}

// Plan says what Launch would launch. It reads from AWS and changes nothing.
func (c *Client) Plan(ctx context.Context, o Order) (Plan, error) {
	if err := o.validate(); err != nil {
		return Plan{}, err
	}
	major, err := o.Source.major()
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Migration: o.Migration, Region: c.region, Type: cmp.Or(o.Type, machine.TypeFor(o.DatabaseBytes).Name), DatabaseBytes: o.DatabaseBytes,
		Image: Image, VPC: o.Source.VPC, PublicAddress: o.PublicAddress, SecurityGroup: groupName(o.Migration),
		InstanceProfile: o.InstanceProfile, PostgresClient: major}
	if p.DiskGiB, err = machine.DiskGiB(o.DatabaseBytes); err != nil {
		return Plan{}, err
	}
	if err := c.describeType(ctx, &p); err != nil {
		return Plan{}, err
	}
	if err := c.chooseSubnet(ctx, o, &p); err != nil {
		return Plan{}, err
	}
	if !p.PublicAddress {
		p.Notes = append(p.Notes, "without a public address the subnet needs a NAT gateway, since the machine fetches packages and the worker")
	}
	return p, nil
}

// describeType asks EC2 what the type has, and whether the region offers it.
func (c *Client) describeType(ctx context.Context, p *Plan) error {
	out, err := c.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{types.InstanceType(p.Type)}})
	if err != nil {
		return explain(ctx, err, attempt{"ec2:DescribeInstanceTypes", "look up machine type", p.Type})
	}
	if len(out.InstanceTypes) != 1 {
		return badOrder("--type", "choose a type that region "+c.region+" has", "%s is not known there", p.Type)
	}
	t := out.InstanceTypes[0]
	if t.ProcessorInfo != nil && len(t.ProcessorInfo.SupportedArchitectures) > 0 && !slices.Contains(t.ProcessorInfo.SupportedArchitectures, types.ArchitectureTypeX8664) {
		return badOrder("--type", "choose one for x86-64, like m6i.large", "%s has another processor than the worker is built for", p.Type)
	}
	if t.VCpuInfo != nil {
		p.CPUs = int(aws.ToInt32(t.VCpuInfo.DefaultVCpus))
	}
	if t.MemoryInfo != nil {
		p.MemoryBytes = aws.ToInt64(t.MemoryInfo.SizeInMiB) << 20
	}
	need := machine.NeedOf(p.DatabaseBytes, false)
	for _, f := range machine.Compare(machine.Facts{CPUs: p.CPUs, MemoryBytes: p.MemoryBytes}, need, "", machine.ModeWarn) {
		p.Notes = append(p.Notes, p.Type+" is too small: "+f.Message)
	}
	return nil
}

// chooseSubnet takes the one asked for, or of the database's subnets one in its zone, with the most free addresses.
func (c *Client) chooseSubnet(ctx context.Context, o Order, p *Plan) error {
	ids := o.Source.Subnets
	if o.Subnet != "" {
		ids = []string{o.Subnet}
	}
	if len(ids) == 0 {
		return noSubnet(o, "RDS names no subnet of it")
	}
	out, err := c.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: ids})
	if err != nil {
		return explain(ctx, err, attempt{"ec2:DescribeSubnets", "look up subnets of", o.Source.ID})
	}
	zone := o.Source.AvailabilityZone
	fitting := slices.DeleteFunc(out.Subnets, func(s types.Subnet) bool { return aws.ToString(s.VpcId) != o.Source.VPC })
	if len(fitting) == 0 {
		return noSubnet(o, "none of %v is in its VPC %s", ids, o.Source.VPC)
	}
	best := slices.MinFunc(fitting, func(a, b types.Subnet) int {
		return cmp.Or(outsideZone(a, zone)-outsideZone(b, zone), cmp.Compare(aws.ToInt32(b.AvailableIpAddressCount), aws.ToInt32(a.AvailableIpAddressCount)),
			cmp.Compare(aws.ToString(a.SubnetId), aws.ToString(b.SubnetId)))
	})
	if best.AvailableIpAddressCount != nil && *best.AvailableIpAddressCount < 1 {
		return noSubnet(o, "subnet %s has no free address", aws.ToString(best.SubnetId))
	}
	p.Subnet, p.AvailabilityZone = aws.ToString(best.SubnetId), aws.ToString(best.AvailabilityZone)
	if outsideZone(best, zone) == 1 {
		p.Notes = append(p.Notes, fmt.Sprintf("the database is in zone %s and the machine would be in %s: AWS charges for what goes between", zone, p.AvailabilityZone))
	}
	return nil
}

func noSubnet(o Order, format string, args ...any) error {
	return fault.New(fault.Operator, "choose a subnet beside", o.Source.ID, "name a subnet of its VPC with --subnet", format, args...).WithCode(CodeNoSubnet)
}

func outsideZone(s types.Subnet, zone string) int {
	if zone == "" || aws.ToString(s.AvailabilityZone) == zone {
		return 0
	}
	return 1
}
