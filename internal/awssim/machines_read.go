package awssim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

type groupNameXML struct {
	ID   string `xml:"groupId"`
	Name string `xml:"groupName"`
}

type ebsXML struct {
	VolumeID            string `xml:"volumeId"`
	Status              string `xml:"status"`
	AttachTime          string `xml:"attachTime"`
	DeleteOnTermination bool   `xml:"deleteOnTermination"`
}

type blockDeviceXML struct {
	Device string `xml:"deviceName"`
	EBS    ebsXML `xml:"ebs"`
}

type profileXML struct {
	ARN string `xml:"arn"`
	ID  string `xml:"id"`
}

type metadataOptionsXML struct {
	State    string `xml:"state"`
	Tokens   string `xml:"httpTokens"`
	Hops     int    `xml:"httpPutResponseHopLimit"`
	Endpoint string `xml:"httpEndpoint"`
}

type interfaceXML struct {
	ID        string         `xml:"networkInterfaceId"`
	Subnet    string         `xml:"subnetId"`
	VPC       string         `xml:"vpcId"`
	Status    string         `xml:"status"`
	PrivateIP string         `xml:"privateIpAddress"`
	Groups    []groupNameXML `xml:"groupSet>item"`
}

type machineXML struct {
	ID             string             `xml:"instanceId"`
	ImageID        string             `xml:"imageId"`
	State          stateXML           `xml:"instanceState"`
	PrivateName    string             `xml:"privateDnsName"`
	PublicName     string             `xml:"dnsName"`
	Index          int                `xml:"amiLaunchIndex"`
	Type           string             `xml:"instanceType"`
	Launched       string             `xml:"launchTime"`
	Zone           string             `xml:"placement>availabilityZone"`
	Monitoring     string             `xml:"monitoring>state"`
	Subnet         string             `xml:"subnetId,omitempty"`
	VPC            string             `xml:"vpcId,omitempty"`
	PrivateIP      string             `xml:"privateIpAddress,omitempty"`
	PublicIP       string             `xml:"ipAddress,omitempty"`
	Groups         []groupNameXML     `xml:"groupSet>item"`
	Architecture   string             `xml:"architecture"`
	RootDeviceType string             `xml:"rootDeviceType"`
	RootDevice     string             `xml:"rootDeviceName"`
	BlockDevices   []blockDeviceXML   `xml:"blockDeviceMapping>item"`
	Virtualization string             `xml:"virtualizationType"`
	ClientToken    string             `xml:"clientToken"`
	Tags           []ec2TagXML        `xml:"tagSet>item"`
	Hypervisor     string             `xml:"hypervisor"`
	Interfaces     []interfaceXML     `xml:"networkInterfaceSet>item"`
	Profile        *profileXML        `xml:"iamInstanceProfile,omitempty"`
	EBSOptimized   bool               `xml:"ebsOptimized"`
	Metadata       metadataOptionsXML `xml:"metadataOptions"`
}

type reservationXML struct {
	ID       string       `xml:"reservationId"`
	OwnerID  string       `xml:"ownerId"`
	Machines []machineXML `xml:"instancesSet>item"`
}

func (s *Simulator) reservationXML(all []*machine) reservationXML {
	return reservationXML{ID: all[0].reservation, OwnerID: s.options.Account, Machines: mapped(all, s.machineXML)}
}

// machineXML leaves out what a terminated machine no longer has: network and disks.
func (s *Simulator) machineXML(m *machine) machineXML {
	out := machineXML{ID: m.ID, ImageID: m.ImageID, State: newStateXML(m.State), Index: m.index, Type: m.Type,
		Launched: m.Launched.Format(time.RFC3339), Zone: m.AvailabilityZone, Monitoring: "disabled", Architecture: m.Architecture,
		RootDeviceType: "ebs", RootDevice: defaultRootDevice, Virtualization: "hvm", ClientToken: m.clientToken, Tags: ec2Tags(m.Tags),
		Hypervisor: "xen", EBSOptimized: true, Metadata: metadataOptionsXML{"applied", "optional", m.TokenHops, "enabled"}}
	if m.TokensRequired {
		out.Metadata.Tokens = "required"
	}
	if m.InstanceProfile != "" {
		out.Profile = &profileXML{m.InstanceProfile, "AIPA0123456789ABCDEFG"}
		if !strings.HasPrefix(m.InstanceProfile, "arn:") {
			out.Profile.ARN = "arn:aws:iam::" + s.options.Account + ":instance-profile/" + m.InstanceProfile
		}
	}
	if m.State == machineTerminated {
		return out
	}
	out.Subnet, out.VPC, out.PrivateIP, out.PublicIP = m.Subnet, m.VPC, m.PrivateIP, m.PublicIP
	out.PrivateName = "ip-" + strings.ReplaceAll(m.PrivateIP, ".", "-") + ".ec2.internal"
	for _, id := range m.SecurityGroups {
		g := groupNameXML{ID: id}
		if known := s.world.security[id]; known != nil {
			g.Name = known.config.Name
		}
		out.Groups = append(out.Groups, g)
	}
	for _, v := range m.Volumes {
		out.BlockDevices = append(out.BlockDevices, blockDeviceXML{v.Device, ebsXML{v.ID, "attached", out.Launched, v.DeleteOnTermination}})
	}
	out.Interfaces = []interfaceXML{{"eni-" + strings.TrimPrefix(m.ID, "i-"), m.Subnet, m.VPC, "in-use", m.PrivateIP, out.Groups}}
	return out
}

type describeMachinesResult struct {
	NextToken    string           `xml:"nextToken,omitempty"`
	Reservations []reservationXML `xml:"reservationSet>item"`
}

var machineFilters = []string{"instance-id", "instance-state-name", "instance-type", "image-id", "vpc-id", "subnet-id", "client-token",
	"availability-zone", "private-ip-address", "tag-key", "instance.group-id"}

// selectMachines applies the ids and filters of a request.
func selectMachines(c call) ([]*machine, error) {
	filters, err := ec2Filters(c.form, machineFilters...)
	if err != nil {
		return nil, err
	}
	ids := plainList(c.form, "InstanceId")
	for _, id := range ids {
		if _, err := c.world.machine(id); err != nil {
			return nil, err
		}
	}
	var all []*machine
	for _, m := range c.world.sortedMachines() {
		if (len(ids) == 0 || slices.Contains(ids, m.ID)) && m.passes(filters) {
			all = append(all, m)
		}
	}
	return all, nil
}

// passes treats the two filters apart that look at lists.
func (m *machine) passes(filters map[string][]string) bool {
	attributes := map[string]string{"instance-id": m.ID, "instance-state-name": m.State, "instance-type": m.Type, "image-id": m.ImageID,
		"vpc-id": m.VPC, "subnet-id": m.Subnet, "client-token": m.clientToken, "availability-zone": m.AvailabilityZone, "private-ip-address": m.PrivateIP}
	for name, wanted := range filters {
		switch name {
		case "tag-key":
			if !slices.ContainsFunc(wanted, func(key string) bool { _, has := m.Tags[key]; return has }) {
				return false
			}
		case "instance.group-id":
			if !slices.ContainsFunc(wanted, func(id string) bool { return slices.Contains(m.SecurityGroups, id) }) {
				return false
			}
		default:
			if !passes(map[string][]string{name: wanted}, attributes, m.Tags) {
				return false
			}
		}
	}
	return true
}

// describeMachines puts machines that were launched together into one reservation, unless a page ends between them.
func (s *Simulator) describeMachines(c call) (any, error) {
	all, err := selectMachines(c)
	if err != nil {
		return nil, err
	}
	part, token, err := ec2Page(c.form, all)
	out := describeMachinesResult{NextToken: token}
	for len(part) > 0 {
		n := slices.IndexFunc(part, func(m *machine) bool { return m.reservation != part[0].reservation })
		if n < 0 {
			n = len(part)
		}
		out.Reservations = append(out.Reservations, s.reservationXML(part[:n]))
		part = part[n:]
	}
	return out, err
}

type checkXML struct {
	Status string `xml:"status"`
}

type machineStatusXML struct {
	ID       string   `xml:"instanceId"`
	Zone     string   `xml:"availabilityZone"`
	State    stateXML `xml:"instanceState"`
	System   checkXML `xml:"systemStatus"`
	Instance checkXML `xml:"instanceStatus"`
}

type describeMachineStatusResult struct {
	NextToken string             `xml:"nextToken,omitempty"`
	Statuses  []machineStatusXML `xml:"instanceStatusSet>item"`
}

// describeMachineStatus tells of running machines only, unless asked for all.
func (s *Simulator) describeMachineStatus(c call) (any, error) {
	all, err := selectMachines(c)
	if err != nil {
		return nil, err
	}
	var rows []machineStatusXML
	for _, m := range all {
		check := "not-applicable"
		switch {
		case m.State == machineRunning && m.checked:
			check = "ok"
		case m.State == machineRunning:
			check = "initializing"
		case !c.isTrue("IncludeAllInstances"):
			continue
		}
		rows = append(rows, machineStatusXML{m.ID, m.AvailabilityZone, newStateXML(m.State), checkXML{check}, checkXML{check}})
	}
	part, token, err := ec2Page(c.form, rows)
	return describeMachineStatusResult{NextToken: token, Statuses: part}, err
}

// MachineMetadata gives what Metadata needs to serve a machine that was launched here, its user data too.
func (s *Simulator) MachineMetadata(id string) (MetadataConfig, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.world.machine(id)
	if err != nil {
		return MetadataConfig{}, fmt.Errorf("awssim: %w", err)
	}
	return MetadataConfig{InstanceID: m.ID, InstanceType: m.Type, ImageID: m.ImageID, PrivateIP: m.PrivateIP, Region: s.options.Region,
		AvailabilityZone: m.AvailabilityZone, VPC: m.VPC, Subnet: m.Subnet, SecurityGroup: strings.Join(m.SecurityGroups, "\n"), UserData: m.UserData}, nil
}
