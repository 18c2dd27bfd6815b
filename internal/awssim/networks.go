package awssim

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// network is a VPC with one subnet in each of two zones.
type network struct {
	id      string
	number  int // its addresses are 10.number.0.0/16
	subnets []subnet
	tags    map[string]string
}

type subnet struct {
	id   string
	zone string // letter
	used int    // addresses given to machines
	tags map[string]string
}

func (n *network) clone() *network {
	out := *n
	out.subnets, out.tags = slices.Clone(n.subnets), maps.Clone(n.tags)
	for i := range out.subnets {
		out.subnets[i].tags = maps.Clone(out.subnets[i].tags)
	}
	return &out
}

// firstHost is the first address of a subnet that AWS gives to machines, as it keeps the first four for itself.
const firstHost = 4

func (n *network) cidr() string { return fmt.Sprintf("10.%d.0.0/16", n.number) }

// cidr of the i-th subnet.
func (n *network) subnetCIDR(i int) string { return fmt.Sprintf("10.%d.%d.0/24", n.number, i) }

var subnetZones = []string{"a", "b"}

// defaultSubnet is the one of zone a in the VPC of instances that name none.
const defaultSubnet = "subnet-0123456789abcdef0"

// SubnetIDs gives the subnets of a VPC that exists because something is in it: one in each of two zones.
func (s *Simulator) SubnetIDs(vpc string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.world.networks[vpc]
	if n == nil {
		return nil
	}
	return mapped(n.subnets, func(x subnet) string { return x.id })
}

// needNetwork makes a VPC, unless it is there. Its subnets' ids follow from its own, so that they can be written down.
func (s *Simulator) needNetwork(vpc string) *network {
	if n := s.world.networks[vpc]; n != nil {
		return n
	}
	n := &network{id: vpc, number: len(s.world.networks)}
	for _, zone := range subnetZones {
		sum := sha256.Sum256([]byte(vpc + zone))
		id := fmt.Sprintf("subnet-%x", sum)[:len(defaultSubnet)]
		if vpc == defaultVPC && zone == "a" {
			id = defaultSubnet
		}
		n.subnets = append(n.subnets, subnet{id: id, zone: zone})
	}
	s.world.networks[vpc] = n
	return n
}

func (s *Simulator) zone(letter string) string { return s.options.Region + letter }

// subnet finds a subnet and the VPC that it is part of.
func (w *world) subnet(id string) (*network, int, error) {
	for _, n := range w.networks {
		if i := slices.IndexFunc(n.subnets, func(x subnet) bool { return x.id == id }); i >= 0 {
			return n, i, nil
		}
	}
	return nil, 0, refuse("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
}

type vpcXML struct {
	ID        string      `xml:"vpcId"`
	OwnerID   string      `xml:"ownerId"`
	State     string      `xml:"state"`
	CIDR      string      `xml:"cidrBlock"`
	Tenancy   string      `xml:"instanceTenancy"`
	IsDefault bool        `xml:"isDefault"`
	Tags      []ec2TagXML `xml:"tagSet>item"`
}

type describeVPCsResult struct {
	NextToken string   `xml:"nextToken,omitempty"`
	VPCs      []vpcXML `xml:"vpcSet>item"`
}

func (s *Simulator) describeVPCs(c call) (any, error) {
	filters, err := ec2Filters(c.form, "vpc-id", "state", "cidr", "is-default")
	if err != nil {
		return nil, err
	}
	ids := plainList(c.form, "VpcId")
	for _, id := range ids {
		if c.world.networks[id] == nil {
			return nil, noVPC(id)
		}
	}
	var all []vpcXML
	for _, id := range slices.Sorted(maps.Keys(c.world.networks)) {
		n := c.world.networks[id]
		row := vpcXML{ID: id, OwnerID: s.options.Account, State: "available", CIDR: n.cidr(), Tenancy: "default",
			IsDefault: id == defaultVPC, Tags: ec2Tags(n.tags)}
		attributes := map[string]string{"vpc-id": id, "state": row.State, "cidr": row.CIDR, "is-default": fmt.Sprint(row.IsDefault)}
		if (len(ids) == 0 || slices.Contains(ids, id)) && passes(filters, attributes, n.tags) {
			all = append(all, row)
		}
	}
	part, token, err := ec2Page(c.form, all)
	return describeVPCsResult{NextToken: token, VPCs: part}, err
}

func noVPC(id string) *apiError {
	return refuse("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", id)
}

type subnetXML struct {
	ID         string      `xml:"subnetId"`
	ARN        string      `xml:"subnetArn"`
	State      string      `xml:"state"`
	OwnerID    string      `xml:"ownerId"`
	VPC        string      `xml:"vpcId"`
	CIDR       string      `xml:"cidrBlock"`
	Free       int         `xml:"availableIpAddressCount"`
	Zone       string      `xml:"availabilityZone"`
	DefaultFor bool        `xml:"defaultForAz"`
	PublicIP   bool        `xml:"mapPublicIpOnLaunch"`
	Tags       []ec2TagXML `xml:"tagSet>item"`
}

type describeSubnetsResult struct {
	NextToken string      `xml:"nextToken,omitempty"`
	Subnets   []subnetXML `xml:"subnetSet>item"`
}

func (s *Simulator) describeSubnets(c call) (any, error) {
	filters, err := ec2Filters(c.form, "subnet-id", "vpc-id", "availability-zone", "state")
	if err != nil {
		return nil, err
	}
	ids := plainList(c.form, "SubnetId")
	for _, id := range ids {
		if _, _, err := c.world.subnet(id); err != nil {
			return nil, err
		}
	}
	var all []subnetXML
	for _, vpc := range slices.Sorted(maps.Keys(c.world.networks)) {
		n := c.world.networks[vpc]
		for i, x := range n.subnets {
			row := subnetXML{ID: x.id, ARN: s.arn("ec2", "subnet", x.id), State: "available", OwnerID: s.options.Account, VPC: vpc, CIDR: n.subnetCIDR(i),
				Free: 251 - x.used, Zone: s.zone(x.zone), DefaultFor: vpc == defaultVPC, Tags: ec2Tags(x.tags)}
			row.ARN = strings.Replace(row.ARN, "subnet:", "subnet/", 1)
			attributes := map[string]string{"subnet-id": x.id, "vpc-id": vpc, "availability-zone": row.Zone, "state": row.State}
			if (len(ids) == 0 || slices.Contains(ids, x.id)) && passes(filters, attributes, x.tags) {
				all = append(all, row)
			}
		}
	}
	part, token, err := ec2Page(c.form, all)
	return describeSubnetsResult{NextToken: token, Subnets: part}, err
}
