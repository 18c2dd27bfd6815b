package awssim_test

import (
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

func newEC2(t *testing.T, options awssim.Options) (*awssim.Simulator, *ec2.Client) {
	t.Helper()
	simulator := awssim.New(options)
	t.Cleanup(simulator.Close)
	endpoint := httptest.NewServer(simulator)
	t.Cleanup(endpoint.Close)
	simulator.AddInstance(awssim.InstanceConfig{ID: "shop", EngineVersion: "15.12", VPC: "vpc-1", SecurityGroup: "sg-1"})
	return simulator, ec2.New(ec2.Options{Region: "us-east-1", BaseEndpoint: &endpoint.URL, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")})
}

func openPort(cidr string) *ec2.AuthorizeSecurityGroupIngressInput {
	return &ec2.AuthorizeSecurityGroupIngressInput{GroupId: aws.String("sg-1"),
		IpPermissions: []types.IpPermission{{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(5432), ToPort: aws.Int32(5432),
			IpRanges: []types.IpRange{{CidrIp: &cidr, Description: aws.String("timeferry shop")}}}},
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSecurityGroupRule,
			Tags: []types.Tag{{Key: aws.String("migration"), Value: aws.String("shop & co")}}}}}
}

func TestIngressIsOpenedAndRevoked(t *testing.T) {
	var told [][]awssim.Rule
	simulator, client := newEC2(t, awssim.Options{OnIngress: func(group string, rules []awssim.Rule) {
		require.Equal(t, "sg-1", group)
		told = append(told, rules)
	}})
	opened, err := client.AuthorizeSecurityGroupIngress(t.Context(), openPort("10.0.0.1/32"))
	require.NoError(t, err)
	require.True(t, *opened.Return)
	require.Len(t, opened.SecurityGroupRules, 1)
	id := opened.SecurityGroupRules[0].SecurityGroupRuleId

	_, err = client.AuthorizeSecurityGroupIngress(t.Context(), openPort("10.0.0.1/32"))
	requireCode(t, err, "InvalidPermission.Duplicate")
	require.ErrorContains(t, err, `the specified rule "peer: 10.0.0.1/32, TCP, from port: 5432, to port: 5432, ALLOW" already exists`)
	_, err = client.AuthorizeSecurityGroupIngress(t.Context(), openPort("10.0.0.2/32"))
	require.NoError(t, err)

	rules, err := client.DescribeSecurityGroupRules(t.Context(), &ec2.DescribeSecurityGroupRulesInput{
		Filters: []types.Filter{{Name: aws.String("group-id"), Values: []string{"sg-1"}}}})
	require.NoError(t, err)
	require.Len(t, rules.SecurityGroupRules, 2)
	first := rules.SecurityGroupRules[0]
	require.Equal(t, []any{*id, "10.0.0.1/32", int32(5432), int32(5432), "tcp", "timeferry shop", false, "123456789012"},
		[]any{*first.SecurityGroupRuleId, *first.CidrIpv4, *first.FromPort, *first.ToPort, *first.IpProtocol, *first.Description, *first.IsEgress, *first.GroupOwnerId})
	require.Equal(t, []types.Tag{{Key: aws.String("migration"), Value: aws.String("shop & co")}}, first.Tags)

	groups, err := client.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{GroupIds: []string{"sg-1"}})
	require.NoError(t, err)
	require.Equal(t, "vpc-1", *groups.SecurityGroups[0].VpcId)
	require.Len(t, groups.SecurityGroups[0].IpPermissions, 1, "the same ports are one permission")
	require.Len(t, groups.SecurityGroups[0].IpPermissions[0].IpRanges, 2)

	revoke := &ec2.RevokeSecurityGroupIngressInput{GroupId: aws.String("sg-1"), SecurityGroupRuleIds: []string{*id}}
	revoked, err := client.RevokeSecurityGroupIngress(t.Context(), revoke)
	require.NoError(t, err)
	require.Equal(t, *id, *revoked.RevokedSecurityGroupRules[0].SecurityGroupRuleId)
	_, err = client.RevokeSecurityGroupIngress(t.Context(), revoke)
	requireCode(t, err, "InvalidSecurityGroupRuleId.NotFound")
	require.ErrorContains(t, err, *id)

	left := simulator.Ingress("sg-1")
	require.Len(t, left, 1)
	require.Equal(t, "10.0.0.2/32", left[0].CIDR)
	require.Len(t, told, 3, "refused calls change nothing")
	require.Equal(t, left, told[2])
}

func TestIngressIsRefused(t *testing.T) {
	simulator, client := newEC2(t, awssim.Options{})
	for cidr, code := range map[string]string{"10.0.0.1": "InvalidParameterValue", "10.0.0.1/33": "InvalidParameterValue", "::1/128": "InvalidParameterValue"} {
		_, err := client.AuthorizeSecurityGroupIngress(t.Context(), openPort(cidr))
		requireCode(t, err, code)
	}
	other := openPort("10.0.0.1/32")
	other.GroupId = aws.String("sg-none")
	_, err := client.AuthorizeSecurityGroupIngress(t.Context(), other)
	requireCode(t, err, "InvalidGroup.NotFound")
	_, err = client.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{GroupIds: []string{"sg-none"}})
	requireCode(t, err, "InvalidGroup.NotFound")
	_, err = client.DescribeSecurityGroupRules(t.Context(), &ec2.DescribeSecurityGroupRulesInput{SecurityGroupRuleIds: []string{"sgr-none"}})
	requireCode(t, err, "InvalidSecurityGroupRuleId.NotFound")
	_, err = client.RevokeSecurityGroupIngress(t.Context(), &ec2.RevokeSecurityGroupIngressInput{GroupId: aws.String("sg-1"),
		IpPermissions: openPort("10.0.0.1/32").IpPermissions})
	requireCode(t, err, "InvalidPermission.NotFound")
	simulator.Inject(awssim.Fault{Kind: awssim.Throttle})
	_, err = client.AuthorizeSecurityGroupIngress(t.Context(), openPort("10.0.0.1/32"))
	requireCode(t, err, "RequestLimitExceeded")
	require.Empty(t, simulator.Ingress("sg-1"))

	rules := make([]awssim.Rule, 60)
	simulator.AddSecurityGroup(awssim.SecurityGroupConfig{ID: "sg-1", Ingress: rules})
	_, err = client.AuthorizeSecurityGroupIngress(t.Context(), openPort("10.0.0.1/32"))
	requireCode(t, err, "RulesPerSecurityGroupLimitExceeded")
	retrying := ec2.New(client.Options(), func(o *ec2.Options) { o.RetryMaxAttempts, o.Retryer = 5, retry.NewStandard() })
	page := ec2.NewDescribeSecurityGroupRulesPaginator(retrying, &ec2.DescribeSecurityGroupRulesInput{MaxResults: aws.Int32(25)})
	var sizes []int
	for page.HasMorePages() {
		out, err := page.NextPage(t.Context())
		require.NoError(t, err)
		sizes = append(sizes, len(out.SecurityGroupRules))
	}
	require.Equal(t, []int{25, 25, 10}, sizes)
}
