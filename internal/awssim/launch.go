package awssim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// launch is what a RunInstances asks for.
type launch struct {
	Machine
	least, most int
	public      bool
}

const defaultRootDevice = "/dev/sda1"

// imageGiB is the size of the AMIs' own disk, the least that a root disk may have.
const imageGiB = 8

func (s *Simulator) readLaunch(c call) (wanted launch, err error) {
	if wanted.least, wanted.most, err = readCount(c); err != nil {
		return wanted, err
	}
	if wanted.ImageID, wanted.Architecture, err = s.resolveImage(c.get("ImageId")); err != nil {
		return wanted, err
	}
	if err := wanted.readType(c); err != nil {
		return wanted, err
	}
	if err := s.readNetwork(c, &wanted); err != nil {
		return wanted, err
	}
	if wanted.UserData, err = decodeUserData(c.get("UserData")); err != nil {
		return wanted, err
	}
	if err := wanted.readMetadataOptions(c); err != nil {
		return wanted, err
	}
	if err := wanted.readVolumes(c); err != nil {
		return wanted, err
	}
	wanted.InstanceProfile = c.get("IamInstanceProfile.Arn") + c.get("IamInstanceProfile.Name")
	return wanted, wanted.readTags(c)
}

func readCount(c call) (least, most int, err error) {
	for _, end := range []struct {
		name string
		to   *int
	}{{"MinCount", &least}, {"MaxCount", &most}} {
		text := c.get(end.name)
		if text == "" {
			return 0, 0, refuse("MissingParameter", "The request must contain the parameter %s", end.name)
		}
		if *end.to, err = strconv.Atoi(text); err != nil || *end.to < 1 {
			return 0, 0, refuse("InvalidParameterValue", "Value (%s) for parameter %s is invalid. A value greater than 0 is expected.", text, end.name)
		}
	}
	if least > most {
		return 0, 0, refuse("InvalidParameterValue", "Value (%d) for parameter minCount is invalid. It must not exceed maxCount.", least)
	}
	return least, most, nil
}

func (l *launch) readType(c call) error {
	l.Type = c.get("InstanceType")
	if l.Type == "" {
		l.Type = "m6i.large"
	}
	kind, known := findMachineType(l.Type)
	if !known {
		return refuse("InvalidParameterValue", "Invalid value '%s' for InstanceType.", l.Type)
	}
	if kind.architecture != l.Architecture {
		return refuse("InvalidParameterValue", "The architecture '%s' of the specified instance type does not match the architecture '%s' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.", kind.architecture, l.Architecture)
	}
	return nil
}

// readNetwork takes the subnet and groups of the request itself, or of its one network interface.
func (s *Simulator) readNetwork(c call, l *launch) error {
	subnetID, groups := c.get("SubnetId"), plainList(c.form, "SecurityGroupId")
	if c.form.Has("NetworkInterface.1.DeviceIndex") || c.form.Has("NetworkInterface.1.SubnetId") {
		if subnetID != "" || len(groups) > 0 {
			return refuse("InvalidParameterCombination", "Network interfaces and an instance-level subnet ID or security groups may not be specified on the same request")
		}
		subnetID, groups = c.get("NetworkInterface.1.SubnetId"), plainList(c.form, "NetworkInterface.1.SecurityGroupId")
		l.public = c.isTrue("NetworkInterface.1.AssociatePublicIpAddress")
	}
	if subnetID == "" {
		subnetID = defaultSubnet
	}
	n, i, err := s.world.subnet(subnetID)
	if err != nil {
		return err
	}
	l.VPC, l.Subnet, l.AvailabilityZone = n.id, subnetID, s.zone(n.subnets[i].zone)
	if len(groups) == 0 {
		groups = []string{s.ownGroup(n.id)}
	}
	for _, id := range groups {
		g := s.world.security[id]
		if g == nil {
			return noSecurityGroup(id)
		}
		if g.config.VPC != n.id {
			return refuse("InvalidParameter", "Security group %s and subnet %s belong to different networks.", id, subnetID)
		}
	}
	l.SecurityGroups = groups
	return nil
}

// ownGroup is the VPC's default security group, which machines get that name none.
func (s *Simulator) ownGroup(vpc string) string {
	id := "sg-" + strings.TrimPrefix(vpc, "vpc-")
	if s.world.security[id] == nil {
		s.addSecurityGroup(SecurityGroupConfig{ID: id, Name: "default", Description: "default VPC security group", VPC: vpc})
	}
	return id
}

func (l *launch) readMetadataOptions(c call) error {
	switch tokens := c.get("MetadataOptions.HttpTokens"); tokens {
	case "", "optional":
	case "required":
		l.TokensRequired = true
	default:
		return refuse("InvalidParameterValue", "Value (%s) for parameter httpTokens is invalid. Valid values: optional, required", tokens)
	}
	l.TokenHops = 1
	if text := c.get("MetadataOptions.HttpPutResponseHopLimit"); text != "" {
		hops, err := strconv.Atoi(text)
		if err != nil || hops < 1 || hops > 64 {
			return refuse("InvalidParameterValue", "Value (%s) for parameter httpPutResponseHopLimit is invalid. It must be between 1 and 64", text)
		}
		l.TokenHops = hops
	}
	return nil
}

// readVolumes gives the root disk first, with the AMI's own values where the request says nothing.
func (l *launch) readVolumes(c call) error {
	l.Volumes = []Volume{{Device: defaultRootDevice, SizeGiB: imageGiB, Type: "gp3", DeleteOnTermination: true}}
	for i := 1; c.form.Has(fmt.Sprintf("BlockDeviceMapping.%d.DeviceName", i)); i++ {
		prefix := fmt.Sprintf("BlockDeviceMapping.%d.", i)
		v := Volume{Device: c.get(prefix + "DeviceName"), Type: "gp2", DeleteOnTermination: true}
		isRoot := v.Device == defaultRootDevice
		if isRoot {
			v = l.Volumes[0]
		}
		if err := v.read(c, prefix+"Ebs.", isRoot); err != nil {
			return err
		}
		if isRoot {
			l.Volumes[0] = v
			continue
		}
		l.Volumes = append(l.Volumes, v)
	}
	return nil
}

func (v *Volume) read(c call, prefix string, isRoot bool) error {
	if text := c.get(prefix + "VolumeSize"); text != "" {
		size, err := strconv.Atoi(text)
		if err != nil || size < 1 || size > 16384 {
			return refuse("InvalidParameterValue", "Volume of %sGiB is too small or too large for volume type %s; minimum is 1GiB, maximum is 16384GiB.", text, v.Type)
		}
		v.SizeGiB = size
	}
	if kind := c.get(prefix + "VolumeType"); kind != "" {
		if !slices.Contains([]string{"gp2", "gp3", "io1", "io2", "st1", "sc1", "standard"}, kind) {
			return refuse("InvalidParameterValue", "Invalid volume type: %s", kind)
		}
		v.Type = kind
	}
	v.Encrypted = v.Encrypted || c.isTrue(prefix+"Encrypted")
	if c.form.Has(prefix + "DeleteOnTermination") {
		v.DeleteOnTermination = c.isTrue(prefix + "DeleteOnTermination")
	}
	switch {
	case isRoot && v.SizeGiB < imageGiB:
		return refuse("InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot, expect size >= %dGB", v.SizeGiB, imageGiB)
	case v.SizeGiB == 0:
		return refuse("MissingParameter", "The request must contain the parameter size or snapshotId")
	}
	return nil
}

// readTags reads the tags of the machine and of its volumes; those of other things are checked and not kept.
func (l *launch) readTags(c call) error {
	all, err := tagSpecifications(c, "instance", "volume", "network-interface")
	if err != nil {
		return err
	}
	l.Tags = all["instance"]
	for i := range l.Volumes {
		l.Volumes[i].Tags = all["volume"]
	}
	return nil
}

// tagSpecifications reads TagSpecification.N by type of resource.
func tagSpecifications(c call, allowed ...string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	for _, kind := range allowed {
		out[kind] = map[string]string{}
	}
	for i := 1; c.form.Has(fmt.Sprintf("TagSpecification.%d.ResourceType", i)); i++ {
		kind := c.get(fmt.Sprintf("TagSpecification.%d.ResourceType", i))
		if out[kind] == nil {
			return nil, refuse("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", kind)
		}
		if err := readEC2Tags(c, fmt.Sprintf("TagSpecification.%d.Tag", i), out[kind]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func readEC2Tags(c call, prefix string, into map[string]string) error {
	for _, tag := range formList(c.form, prefix, "Key", "Value") {
		if tag["Key"] == "" || strings.HasPrefix(strings.ToLower(tag["Key"]), "aws:") {
			return refuse("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		}
		into[tag["Key"]] = tag["Value"]
	}
	return nil
}
