package awssim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

type createSecurityGroupResult struct {
	Return bool        `xml:"return"`
	ID     string      `xml:"groupId"`
	Tags   []ec2TagXML `xml:"tagSet>item"`
}

func (s *Simulator) createSecurityGroup(c call) (any, error) {
	name, description, vpc := c.get("GroupName"), c.get("GroupDescription"), c.get("VpcId")
	if vpc == "" {
		vpc = defaultVPC
	}
	switch {
	case name == "":
		return nil, refuse("MissingParameter", "The request must contain the parameter GroupName")
	case description == "":
		return nil, refuse("MissingParameter", "The request must contain the parameter GroupDescription")
	case strings.HasPrefix(name, "sg-"):
		return nil, refuse("InvalidParameterValue", "Value (%s) for parameter GroupName is invalid. Group names may not be in the format sg-*.", name)
	case s.world.networks[vpc] == nil:
		return nil, noVPC(vpc)
	}
	for _, g := range s.world.security {
		if g.config.VPC == vpc && g.config.Name == name {
			return nil, refuse("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", name, vpc)
		}
	}
	tags, err := tagSpecifications(c, "security-group")
	if err != nil {
		return nil, err
	}
	s.serial++
	config := SecurityGroupConfig{ID: fmt.Sprintf("sg-%017x", s.serial), Name: name, Description: description, VPC: vpc, Tags: tags["security-group"]}
	s.addSecurityGroup(config)
	s.options.Logf("security group %s (%s) exists", config.ID, name)
	return createSecurityGroupResult{Return: true, ID: config.ID, Tags: ec2Tags(config.Tags)}, nil
}

type deleteSecurityGroupResult struct {
	Return bool   `xml:"return"`
	ID     string `xml:"groupId"`
}

func (s *Simulator) deleteSecurityGroup(c call) (any, error) {
	g, err := s.world.securityGroup(c)
	if err != nil {
		return nil, err
	}
	id := g.config.ID
	if g.config.Name == "default" {
		return nil, refuse("CannotDelete", "the specified group: \"%s\" name: \"default\" cannot be deleted by a user", id)
	}
	if s.dependsOn(id) {
		return nil, refuse("DependencyViolation", "resource %s has a dependent object", id)
	}
	delete(s.world.security, id)
	s.options.Logf("security group %s is deleted", id)
	return deleteSecurityGroupResult{Return: true, ID: id}, nil
}

// dependsOn says whether a database, a machine that is not terminated, or a rule of another group needs the group.
func (s *Simulator) dependsOn(id string) bool {
	for _, in := range s.world.instances {
		if in.config.SecurityGroup == id {
			return true
		}
	}
	for _, cl := range s.world.clusters {
		if cl.config.SecurityGroup == id {
			return true
		}
	}
	for _, m := range s.world.machines {
		if m.State != machineTerminated && slices.Contains(m.SecurityGroups, id) {
			return true
		}
	}
	for other, g := range s.world.security {
		if other != id && slices.ContainsFunc(g.rules, func(r Rule) bool { return r.SourceGroup == id }) {
			return true
		}
	}
	return false
}

type returnResult struct {
	Return bool `xml:"return"`
}

// createTags tags all resources of the request, or none.
func (s *Simulator) createTags(c call) (any, error) {
	added := map[string]string{}
	if err := readEC2Tags(c, "Tag", added); err != nil {
		return nil, err
	}
	ids := plainList(c.form, "ResourceId")
	if len(ids) == 0 || len(added) == 0 {
		return nil, refuse("MissingParameter", "The request must contain the parameters ResourceId and Tag")
	}
	var all []*map[string]string
	for _, id := range ids {
		tags, err := s.ec2Taggable(id)
		if err != nil {
			return nil, err
		}
		all = append(all, tags)
	}
	for _, tags := range all {
		both := maps.Clone(*tags) // never in place: older views of the world may share the map
		if both == nil {
			both = map[string]string{}
		}
		maps.Copy(both, added)
		*tags = both
	}
	return returnResult{true}, nil
}

// ec2Taggable finds the tags of a machine, a volume, a security group, one of its rules, a VPC or a subnet.
func (s *Simulator) ec2Taggable(id string) (*map[string]string, error) {
	w := s.world
	kind, _, _ := strings.Cut(id, "-")
	switch kind {
	case "i":
		m, err := w.machine(id)
		if err != nil {
			return nil, err
		}
		return &m.Tags, nil
	case "subnet":
		n, i, err := w.subnet(id)
		if err != nil {
			return nil, err
		}
		return &n.subnets[i].tags, nil
	case "sg":
		if g := w.security[id]; g != nil {
			return &g.config.Tags, nil
		}
		return nil, noSecurityGroup(id)
	case "vpc":
		if n := w.networks[id]; n != nil {
			return &n.tags, nil
		}
		return nil, noVPC(id)
	case "sgr":
		for _, g := range w.security {
			if i := slices.IndexFunc(g.rules, func(r Rule) bool { return r.ID == id }); i >= 0 {
				return &g.rules[i].Tags, nil
			}
		}
		return nil, noRule(id)
	case "vol":
		for _, m := range w.machines {
			if i := slices.IndexFunc(m.Volumes, func(v Volume) bool { return v.ID == id }); i >= 0 {
				return &m.Volumes[i].Tags, nil
			}
		}
		return nil, refuse("InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
	}
	return nil, refuse("InvalidID", "The ID '%s' is not valid", id)
}
