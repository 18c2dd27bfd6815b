package rdsctl

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"timeferry/internal/fault"
)

// IngressRequest asks for the way from the addresses CIDR to a TCP port behind a security group, for one migration.
type IngressRequest struct {
	Group     string `json:"group"`
	CIDR      string `json:"cidr"`
	Port      int    `json:"port"`
	Migration string `json:"migration"`
}

// Rule is a rule of a security group. Ours: OpenIngress made it for this migration, so that it is ours to revoke.
type Rule struct {
	ID   string `json:"id"`
	Ours bool   `json:"ours,omitempty"`
}

// OpenIngress lets the addresses in. A rule that was there before is found and stays not ours. Repeatable: a rule of which
// an earlier try never learned the id names the migration in its description, and is found as ours.
func (c *Client) OpenIngress(ctx context.Context, request IngressRequest) (Rule, error) {
	prefix, err := workerPrefix(request.CIDR)
	if err != nil {
		return Rule{}, err
	}
	if rule, found, err := c.findRule(ctx, request, prefix); err != nil || found {
		return rule, err
	}
	out, err := c.ec2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &request.Group,
		IpPermissions: []types.IpPermission{permission(request, prefix)}})
	switch {
	case hasCode(err, "InvalidPermission.Duplicate"):
		// It came up in the meantime: somebody else's, or ours, made by a call whose answer was lost.
		return c.awaitRule(ctx, request, prefix)
	case err != nil:
		return Rule{}, c.explain(ctx, err, "open port in security group", request.Group)
	case len(out.SecurityGroupRules) == 0:
		return c.awaitRule(ctx, request, prefix)
	}
	return Rule{ID: aws.ToString(out.SecurityGroupRules[0].SecurityGroupRuleId), Ours: true}, nil
}

// RevokeIngress takes away the rule. One that is gone already, with its group or without, is no error. Give it only rules
// that are Ours.
func (c *Client) RevokeIngress(ctx context.Context, group, ruleID string) error {
	if ruleID == "" {
		return fault.New(fault.Bug, "revoke rule of security group", group, "", "no rule is named")
	}
	_, err := c.ec2.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &group, SecurityGroupRuleIds: []string{ruleID}})
	for _, gone := range []string{"InvalidSecurityGroupRuleId.NotFound", "InvalidPermission.NotFound", "InvalidGroup.NotFound"} {
		if hasCode(err, gone) {
			return nil
		}
	}
	if err != nil {
		return c.explain(ctx, err, "revoke rule "+ruleID+" of security group", group)
	}
	return nil
}

// RevokeIngressOf takes away every rule of the group that was made for the migration, for an abort that does not know
// whether OpenIngress got as far as making one.
func (c *Client) RevokeIngressOf(ctx context.Context, group, migration string) error {
	ids, err := c.IngressOf(ctx, group, migration)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := c.RevokeIngress(ctx, group, id); err != nil {
			return err
		}
	}
	return nil
}

// IngressOf are the rules of the group that were made for the migration and are still there.
func (c *Client) IngressOf(ctx context.Context, group, migration string) (ids []string, err error) {
	rules, err := c.ingressRules(ctx, group)
	if hasCode(err, "InvalidGroup.NotFound") {
		return nil, nil
	}
	for _, rule := range rules {
		if aws.ToString(rule.Description) == ruleDescription(migration) {
			ids = append(ids, aws.ToString(rule.SecurityGroupRuleId))
		}
	}
	return ids, err
}

// ruleDescription marks a rule as ours. A tag would do too, but would ask for one more privilege.
func ruleDescription(migration string) string { return "Timeferry migration " + migration }

func permission(request IngressRequest, prefix netip.Prefix) types.IpPermission {
	description, cidr := ruleDescription(request.Migration), prefix.String()
	p := types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(int32(request.Port)), ToPort: aws.Int32(int32(request.Port))}
	if prefix.Addr().Is4() {
		p.IpRanges = []types.IpRange{{CidrIp: &cidr, Description: &description}}
	} else {
		p.Ipv6Ranges = []types.Ipv6Range{{CidrIpv6: &cidr, Description: &description}}
	}
	return p
}

// workerPrefix reads the range as EC2 keeps it. It refuses what would open the database to everybody.
func workerPrefix(cidr string) (netip.Prefix, error) {
	const hint = "give the private address of the worker under prepare.workerCIDR, like 10.0.1.15/32"
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return netip.Prefix{}, fault.New(fault.Operator, "read address range", fmt.Sprintf("%q", cidr), hint, "it is no range of addresses").WithCode(CodeBadWorkerCIDR)
	}
	if prefix.Bits() == 0 {
		return netip.Prefix{}, fault.New(fault.Operator, "open the database to", cidr, hint, "that is every address there is").WithCode(CodeBadWorkerCIDR)
	}
	return prefix.Masked(), nil
}

// awaitRule finds a rule that EC2 says is there; a lagging read may not show it at once.
func (c *Client) awaitRule(ctx context.Context, request IngressRequest, prefix netip.Prefix) (Rule, error) {
	for attempt := range settleAttempts {
		if rule, found, err := c.findRule(ctx, request, prefix); err != nil || found {
			return rule, err
		}
		if err := c.pause(ctx, attempt); err != nil {
			return Rule{}, err
		}
	}
	return Rule{}, fault.New(fault.NotReady, "open port in security group", request.Group, "it is looked at again", "EC2 says that the rule exists but does not show it yet")
}

// findRule looks for a rule for exactly these addresses and this port. EC2 has at most one.
func (c *Client) findRule(ctx context.Context, request IngressRequest, prefix netip.Prefix) (rule Rule, found bool, err error) {
	rules, err := c.ingressRules(ctx, request.Group)
	if err != nil {
		return Rule{}, false, err
	}
	for _, r := range rules {
		cidr := aws.ToString(r.CidrIpv4) + aws.ToString(r.CidrIpv6) // one of them is set, or none
		port := int32(request.Port)
		if aws.ToString(r.IpProtocol) == "tcp" && aws.ToInt32(r.FromPort) == port && aws.ToInt32(r.ToPort) == port && cidr == prefix.String() {
			return Rule{ID: aws.ToString(r.SecurityGroupRuleId), Ours: aws.ToString(r.Description) == ruleDescription(request.Migration)}, true, nil
		}
	}
	return Rule{}, false, nil
}

func (c *Client) ingressRules(ctx context.Context, group string) ([]types.SecurityGroupRule, error) {
	var rules []types.SecurityGroupRule
	pages := ec2.NewDescribeSecurityGroupRulesPaginator(c.ec2, &ec2.DescribeSecurityGroupRulesInput{
		Filters: []types.Filter{{Name: aws.String("group-id"), Values: []string{group}}}})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, c.explain(ctx, err, "read rules of security group", group)
		}
		for _, r := range out.SecurityGroupRules {
			if !aws.ToBool(r.IsEgress) {
				rules = append(rules, r)
			}
		}
	}
	return rules, nil
}

// metadataTimeout is for a machine on which nobody answers: the service is one hop away or not there.
const metadataTimeout = 5 * time.Second

// WorkerAddress gives the private address of the machine that this runs on, as a range of one, from the EC2 metadata
// service.
func (c *Client) WorkerAddress(ctx context.Context) (cidr string, err error) {
	address, err := c.localAddress(ctx)
	if ctx.Err() != nil {
		return "", fmt.Errorf("find the worker's address: %w", ctx.Err())
	}
	if err != nil {
		// The cause is kept as text only: the SDK calls it a failed connection, which would be tried again for ever.
		return "", fault.New(fault.Operator, "find", "the worker's address",
			"give the worker's private address under prepare.workerCIDR, like 10.0.1.15/32, or let the worker reach the metadata service (in a container: hop limit 2)",
			"this machine has no EC2 metadata service that answers: %s", err.Error()).WithCode(CodeNoWorkerAddress)
	}
	return netip.PrefixFrom(address, address.BitLen()).String(), nil
}

func (c *Client) localAddress(ctx context.Context) (address netip.Addr, err error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	out, err := c.metadata.GetMetadata(ctx, &imds.GetMetadataInput{Path: "local-ipv4"})
	if err != nil {
		return address, err
	}
	defer func() {
		if closeErr := out.Content.Close(); err == nil {
			err = closeErr
		}
	}()
	text, err := io.ReadAll(io.LimitReader(out.Content, 64))
	if err != nil {
		return address, err
	}
	return netip.ParseAddr(strings.TrimSpace(string(text)))
}
