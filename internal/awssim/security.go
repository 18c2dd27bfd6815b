package awssim

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// maxRules is how many inbound rules a security group may have.
const maxRules = 60

// Rule is one inbound rule of a security group. Exactly one of CIDR and SourceGroup says who may come in.
type Rule struct {
	ID          string // given by the simulator
	Protocol    string // tcp, udp, icmp, or -1 for everything
	FromPort    int    // -1 without ports
	ToPort      int
	CIDR        string // IPv4 or IPv6
	SourceGroup string
	Description string
	Tags        map[string]string
}

// sameTraffic ignores what does not make two rules different for EC2: id, description and tags.
func (r Rule) sameTraffic(o Rule) bool {
	return r.Protocol == o.Protocol && r.FromPort == o.FromPort && r.ToPort == o.ToPort && r.CIDR == o.CIDR && r.SourceGroup == o.SourceGroup
}

// String is how EC2 names a rule in an error.
func (r Rule) String() string {
	peer, protocol := r.CIDR, strings.ToUpper(r.Protocol)
	if r.SourceGroup != "" {
		peer = r.SourceGroup
	}
	if r.Protocol == "-1" {
		protocol = "ALL"
	}
	if r.FromPort == -1 {
		return fmt.Sprintf("peer: %s, %s, ALLOW", peer, protocol)
	}
	return fmt.Sprintf("peer: %s, %s, from port: %d, to port: %d, ALLOW", peer, protocol, r.FromPort, r.ToPort)
}

// SecurityGroupConfig describes a security group that exists from the start.
type SecurityGroupConfig struct {
	ID          string
	Name        string // default: the ID
	Description string
	VPC         string // default: that of an instance without one
	Ingress     []Rule
	Tags        map[string]string
}

type securityGroup struct {
	config SecurityGroupConfig
	rules  []Rule // in the order in which they were made
}

func (g *securityGroup) clone() *securityGroup {
	return &securityGroup{config: g.config, rules: slices.Clone(g.rules)}
}

// AddSecurityGroup makes a security group, or replaces it. The groups of instances and clusters exist without it, empty.
func (s *Simulator) AddSecurityGroup(config SecurityGroupConfig) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addSecurityGroup(config)
}

func (s *Simulator) addSecurityGroup(config SecurityGroupConfig) {
	if config.Name == "" {
		config.Name = config.ID
	}
	if config.Description == "" {
		config.Description = config.Name
	}
	if config.VPC == "" {
		config.VPC = defaultVPC
	}
	s.needNetwork(config.VPC)
	g := &securityGroup{config: config}
	for _, r := range config.Ingress {
		r.ID = s.ruleID()
		g.rules = append(g.rules, r)
	}
	s.world.security[config.ID] = g
}

// needSecurityGroup makes the group of an instance, unless it is there.
func (s *Simulator) needSecurityGroup(id, vpc string) {
	if s.world.security[id] == nil {
		s.addSecurityGroup(SecurityGroupConfig{ID: id, VPC: vpc})
	}
}

// Ingress gives the inbound rules of a security group, in the order in which they were made.
func (s *Simulator) Ingress(groupID string) []Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.world.security[groupID]
	if g == nil {
		return nil
	}
	return slices.Clone(g.rules)
}

func (s *Simulator) ruleID() string {
	s.serial++
	return fmt.Sprintf("sgr-%017x", s.serial)
}

// tellIngress calls the hook once the lock is free. A later change may already be among the rules it gets; the last call
// always gets the last state.
func (s *Simulator) tellIngress(id string) {
	if s.options.OnIngress == nil {
		return
	}
	s.after = append(s.after, func() {
		s.hooks.Lock()
		defer s.hooks.Unlock()
		s.options.OnIngress(id, s.Ingress(id))
	})
}

func (w *world) securityGroup(c call) (*securityGroup, error) {
	id, name := c.get("GroupId"), c.get("GroupName")
	if id == "" && name == "" {
		return nil, refuse("MissingParameter", "The request must contain the parameter groupName or groupId")
	}
	for _, g := range w.security {
		if id == g.config.ID || id == "" && name == g.config.Name {
			return g, nil
		}
	}
	return nil, noSecurityGroup(id + name)
}

func noSecurityGroup(id string) *apiError {
	return refuse("InvalidGroup.NotFound", "The security group '%s' does not exist", id)
}

// authorizeIngress adds all rules of the request, or none.
func (s *Simulator) authorizeIngress(c call) (any, error) {
	g, err := s.world.securityGroup(c)
	if err != nil {
		return nil, err
	}
	rules, err := s.readRules(c)
	if err != nil {
		return nil, err
	}
	tags, err := tagSpecifications(c, "security-group-rule")
	if err != nil {
		return nil, err
	}
	for i, r := range rules {
		if slices.ContainsFunc(g.rules, r.sameTraffic) {
			return nil, refuse("InvalidPermission.Duplicate", `the specified rule "%s" already exists`, r)
		}
		if slices.ContainsFunc(rules[:i], r.sameTraffic) {
			return nil, refuse("InvalidParameterValue", "The same permission must not appear multiple times")
		}
	}
	if len(g.rules)+len(rules) > maxRules {
		return nil, refuse("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached.")
	}
	out := authorizeResult{Return: true}
	for _, r := range rules {
		r.ID, r.Tags = s.ruleID(), maps.Clone(tags["security-group-rule"])
		g.rules = append(g.rules, r)
		out.Rules = append(out.Rules, s.ruleXML(g, r))
		s.options.Logf("security group %s: rule %s (%s) is added", g.config.ID, r.ID, r)
	}
	s.tellIngress(g.config.ID)
	return out, nil
}

// revokeIngress removes all rules of the request, by id or by what they say, or none.
func (s *Simulator) revokeIngress(c call) (any, error) {
	g, err := s.world.securityGroup(c)
	if err != nil {
		return nil, err
	}
	gone := map[string]bool{}
	ids := plainList(c.form, "SecurityGroupRuleId")
	for _, id := range ids {
		if !slices.ContainsFunc(g.rules, func(r Rule) bool { return r.ID == id }) {
			return nil, noRule(id)
		}
		gone[id] = true
	}
	if len(ids) == 0 {
		rules, err := s.readRules(c)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			i := slices.IndexFunc(g.rules, r.sameTraffic)
			if i < 0 {
				return nil, refuse("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
			}
			gone[g.rules[i].ID] = true
		}
	}
	out := revokeResult{Return: true}
	var kept []Rule
	for _, r := range g.rules {
		if !gone[r.ID] {
			kept = append(kept, r)
			continue
		}
		out.Revoked = append(out.Revoked, s.ruleXML(g, r))
		s.options.Logf("security group %s: rule %s (%s) is revoked", g.config.ID, r.ID, r)
	}
	g.rules = kept
	s.tellIngress(g.config.ID)
	return out, nil
}

func noRule(id string) *apiError {
	return refuse("InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist", id)
}

// readRules reads IpPermissions, or the older form with one rule in the request itself.
func (s *Simulator) readRules(c call) ([]Rule, error) {
	var out []Rule
	for i := 1; c.form.Has(fmt.Sprintf("IpPermissions.%d.IpProtocol", i)); i++ {
		prefix := fmt.Sprintf("IpPermissions.%d.", i)
		base, err := readTraffic(c, prefix)
		if err != nil {
			return nil, err
		}
		for _, list := range []struct{ name, field string }{{"IpRanges", "CidrIp"}, {"Ipv6Ranges", "CidrIpv6"}, {"Groups", "GroupId"}} {
			for _, peer := range formList(c.form, prefix+list.name, list.field, "Description") {
				r := base
				r.Description = peer["Description"]
				if err := s.setPeer(&r, list.field, peer[list.field]); err != nil {
					return nil, err
				}
				out = append(out, r)
			}
		}
	}
	if cidr := c.get("CidrIp"); cidr != "" {
		r, err := readTraffic(c, "")
		if err == nil {
			err = s.setPeer(&r, "CidrIp", cidr)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, refuse("MissingParameter", "Either 'ipPermissions' or 'securityGroupRuleIds' should be provided.")
	}
	return out, nil
}

func (s *Simulator) setPeer(r *Rule, field, value string) error {
	if field == "GroupId" {
		if s.world.security[value] == nil {
			return noSecurityGroup(value)
		}
		r.SourceGroup = value
		return nil
	}
	prefix, err := netip.ParsePrefix(value)
	if err != nil || prefix.Addr().Is4() != (field == "CidrIp") {
		return refuse("InvalidParameterValue", "CIDR block %s is malformed", value)
	}
	r.CIDR = prefix.Masked().String()
	return nil
}

var protocolNames = map[string]string{"6": "tcp", "17": "udp", "1": "icmp"}

func readTraffic(c call, prefix string) (Rule, error) {
	r := Rule{Protocol: strings.ToLower(c.get(prefix + "IpProtocol")), FromPort: -1, ToPort: -1}
	if name, isNumber := protocolNames[r.Protocol]; isNumber {
		r.Protocol = name
	}
	if !slices.Contains([]string{"tcp", "udp", "icmp", "-1"}, r.Protocol) {
		return r, refuse("InvalidParameterValue", "Invalid value '%s' for IP protocol. Unknown protocol.", r.Protocol)
	}
	if r.Protocol == "-1" {
		return r, nil
	}
	for _, end := range []struct {
		name string
		to   *int
	}{{"FromPort", &r.FromPort}, {"ToPort", &r.ToPort}} {
		n, err := strconv.Atoi(c.get(prefix + end.name))
		if err != nil || n < -1 || n > 65535 {
			return r, refuse("InvalidParameterValue", "Invalid value '%s' for portRange. Must specify both from and to ports with TCP/UDP.", c.get(prefix+end.name))
		}
		*end.to = n
	}
	if r.FromPort > r.ToPort {
		return r, refuse("InvalidParameterValue", "Invalid TCP/UDP port range (%d:%d)", r.FromPort, r.ToPort)
	}
	return r, nil
}
