package awssim

import (
	"maps"
	"slices"
	"strings"
)

type ec2TagXML struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

type groupReferenceXML struct {
	GroupID string `xml:"groupId"`
	UserID  string `xml:"userId"`
}

type ruleXML struct {
	ID          string             `xml:"securityGroupRuleId"`
	GroupID     string             `xml:"groupId"`
	OwnerID     string             `xml:"groupOwnerId"`
	IsEgress    bool               `xml:"isEgress"`
	Protocol    string             `xml:"ipProtocol"`
	FromPort    int                `xml:"fromPort"`
	ToPort      int                `xml:"toPort"`
	CIDR4       string             `xml:"cidrIpv4,omitempty"`
	CIDR6       string             `xml:"cidrIpv6,omitempty"`
	Reference   *groupReferenceXML `xml:"referencedGroupInfo,omitempty"`
	Description string             `xml:"description,omitempty"`
	Tags        []ec2TagXML        `xml:"tagSet>item"`
}

type authorizeResult struct {
	Return bool      `xml:"return"`
	Rules  []ruleXML `xml:"securityGroupRuleSet>item"`
}

type revokeResult struct {
	Return  bool      `xml:"return"`
	Revoked []ruleXML `xml:"revokedSecurityGroupRuleSet>item"`
}

func ec2Tags(tags map[string]string) []ec2TagXML {
	var out []ec2TagXML
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, ec2TagXML{key, tags[key]})
	}
	return out
}

func (s *Simulator) ruleXML(g *securityGroup, r Rule) ruleXML {
	out := ruleXML{ID: r.ID, GroupID: g.config.ID, OwnerID: s.options.Account, Protocol: r.Protocol, FromPort: r.FromPort,
		ToPort: r.ToPort, Description: r.Description, Tags: ec2Tags(r.Tags)}
	switch {
	case r.SourceGroup != "":
		out.Reference = &groupReferenceXML{r.SourceGroup, s.options.Account}
	case strings.Contains(r.CIDR, ":"):
		out.CIDR6 = r.CIDR
	default:
		out.CIDR4 = r.CIDR
	}
	return out
}

type describeRulesResult struct {
	NextToken string    `xml:"nextToken,omitempty"`
	Rules     []ruleXML `xml:"securityGroupRuleSet>item"`
}

func (s *Simulator) describeRules(c call) (any, error) {
	filters, err := ec2Filters(c.form, "group-id", "security-group-rule-id")
	if err != nil {
		return nil, err
	}
	wanted, found := plainList(c.form, "SecurityGroupRuleId"), map[string]bool{}
	var all []ruleXML
	for _, id := range slices.Sorted(maps.Keys(c.world.security)) {
		g := c.world.security[id]
		for _, r := range g.rules {
			found[r.ID] = true
			if len(wanted) > 0 && !slices.Contains(wanted, r.ID) ||
				!passes(filters, map[string]string{"group-id": id, "security-group-rule-id": r.ID}, r.Tags) {
				continue
			}
			all = append(all, s.ruleXML(g, r))
		}
	}
	for _, id := range wanted {
		if !found[id] {
			return nil, noRule(id)
		}
	}
	part, token, err := ec2Page(c.form, all)
	return describeRulesResult{NextToken: token, Rules: part}, err
}

type rangeXML struct {
	CIDR4       string `xml:"cidrIp,omitempty"`
	CIDR6       string `xml:"cidrIpv6,omitempty"`
	Description string `xml:"description,omitempty"`
}

type pairXML struct {
	GroupID     string `xml:"groupId"`
	UserID      string `xml:"userId"`
	Description string `xml:"description,omitempty"`
}

type permissionXML struct {
	Protocol string     `xml:"ipProtocol"`
	FromPort *int       `xml:"fromPort,omitempty"`
	ToPort   *int       `xml:"toPort,omitempty"`
	Groups   []pairXML  `xml:"groups>item"`
	Ranges   []rangeXML `xml:"ipRanges>item"`
	Ranges6  []rangeXML `xml:"ipv6Ranges>item"`
}

type securityGroupInfoXML struct {
	OwnerID     string          `xml:"ownerId"`
	ID          string          `xml:"groupId"`
	Name        string          `xml:"groupName"`
	Description string          `xml:"groupDescription"`
	VPC         string          `xml:"vpcId"`
	Ingress     []permissionXML `xml:"ipPermissions>item"`
	Egress      []permissionXML `xml:"ipPermissionsEgress>item"`
	Tags        []ec2TagXML     `xml:"tagSet>item"`
}

type describeSecurityGroupsResult struct {
	NextToken string                 `xml:"nextToken,omitempty"`
	Groups    []securityGroupInfoXML `xml:"securityGroupInfo>item"`
}

func (s *Simulator) describeSecurityGroups(c call) (any, error) {
	filters, err := ec2Filters(c.form, "group-id", "group-name", "vpc-id")
	if err != nil {
		return nil, err
	}
	ids, names := plainList(c.form, "GroupId"), plainList(c.form, "GroupName")
	for _, id := range ids {
		if c.world.security[id] == nil {
			return nil, noSecurityGroup(id)
		}
	}
	var all []securityGroupInfoXML
	for _, id := range slices.Sorted(maps.Keys(c.world.security)) {
		g := c.world.security[id]
		if len(ids) > 0 && !slices.Contains(ids, id) || len(names) > 0 && !slices.Contains(names, g.config.Name) ||
			!passes(filters, map[string]string{"group-id": id, "group-name": g.config.Name, "vpc-id": g.config.VPC}, g.config.Tags) {
			continue
		}
		all = append(all, s.securityGroupXML(g))
	}
	part, token, err := ec2Page(c.form, all)
	return describeSecurityGroupsResult{NextToken: token, Groups: part}, err
}

// securityGroupXML puts rules for the same ports together, as EC2 does. Outbound, everything is allowed.
func (s *Simulator) securityGroupXML(g *securityGroup) securityGroupInfoXML {
	out := securityGroupInfoXML{OwnerID: s.options.Account, ID: g.config.ID, Name: g.config.Name, Description: g.config.Description,
		VPC: g.config.VPC, Tags: ec2Tags(g.config.Tags),
		Egress: []permissionXML{{Protocol: "-1", Ranges: []rangeXML{{CIDR4: "0.0.0.0/0"}}}}}
	type traffic struct {
		protocol string
		from, to int
	}
	places := map[traffic]int{}
	for _, r := range g.rules {
		key := traffic{r.Protocol, r.FromPort, r.ToPort}
		i, known := places[key]
		if !known {
			i = len(out.Ingress)
			places[key] = i
			p := permissionXML{Protocol: r.Protocol}
			if r.Protocol != "-1" {
				p.FromPort, p.ToPort = &r.FromPort, &r.ToPort
			}
			out.Ingress = append(out.Ingress, p)
		}
		s.addPeer(&out.Ingress[i], r)
	}
	return out
}

func (s *Simulator) addPeer(p *permissionXML, r Rule) {
	switch {
	case r.SourceGroup != "":
		p.Groups = append(p.Groups, pairXML{r.SourceGroup, s.options.Account, r.Description})
	case strings.Contains(r.CIDR, ":"):
		p.Ranges6 = append(p.Ranges6, rangeXML{CIDR6: r.CIDR, Description: r.Description})
	default:
		p.Ranges = append(p.Ranges, rangeXML{CIDR4: r.CIDR, Description: r.Description})
	}
}
