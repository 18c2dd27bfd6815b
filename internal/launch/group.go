package launch

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"timeferry/internal/fault"
)

// The tags that say that something is ours.
const (
	TagMigration = "timeferry:migration"
	TagMachine   = "timeferry:machine"
	tagYes       = "yes"
)

func tagsOf(migration string) []types.Tag {
	return []types.Tag{{Key: aws.String("Name"), Value: aws.String("timeferry-" + migration)},
		{Key: aws.String(TagMigration), Value: &migration}, {Key: aws.String(TagMachine), Value: aws.String(tagYes)}}
}

func ourFilters(migration string) []types.Filter {
	return []types.Filter{filter("tag:"+TagMigration, migration), filter("tag:"+TagMachine, tagYes)}
}

func filter(name, value string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: []string{value}}
}

// isOurs says whether the tags are those of the migration's machine.
func isOurs(tags []types.Tag, migration string) bool {
	have := map[string]string{}
	for _, t := range tags {
		have[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return have[TagMigration] == migration && have[TagMachine] == tagYes
}

// needGroup gives the machine's own security group: without a rule for anybody to come in, and with EC2's default rule that
// lets everything out. It is made with its tags in one call, so that none of ours is ever without them.
func (c *Client) needGroup(ctx context.Context, migration, vpc string) (string, error) {
	groups, err := c.groups(ctx, migration, filter("vpc-id", vpc))
	if err != nil {
		return "", err
	}
	if len(groups) > 0 {
		return aws.ToString(groups[0].GroupId), nil
	}
	name := groupName(migration)
	out, err := c.ec2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: &name, VpcId: &vpc,
		Description:       aws.String("Timeferry machine of migration " + migration + ": nobody comes in"),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSecurityGroup, Tags: tagsOf(migration)}}})
	switch {
	case err == nil:
		return aws.ToString(out.GroupId), nil
	case hasCode(err, "InvalidGroup.Duplicate"):
		// A call whose answer was lost, or a read that lagged behind; or somebody else's.
		return c.awaitGroup(ctx, migration, vpc)
	}
	return "", explain(ctx, err, attempt{"ec2:CreateSecurityGroup", "make security group", name})
}

// awaitGroup finds the group of our name that EC2 says is there, and takes it only if it carries our tags.
func (c *Client) awaitGroup(ctx context.Context, migration, vpc string) (string, error) {
	name := groupName(migration)
	for range settleAttempts {
		groups, err := c.describeGroups(ctx, filter("group-name", name), filter("vpc-id", vpc))
		if err != nil {
			return "", err
		}
		for _, g := range groups {
			if !isOurs(g.Tags, migration) {
				return "", fault.New(fault.Operator, "make security group", name, "rename or delete that group, or choose another name for the migration",
					"%s has that name, and is not a machine's of this migration", aws.ToString(g.GroupId)).WithCode(CodeNotOurs)
			}
			return aws.ToString(g.GroupId), nil
		}
		if err := c.pause(ctx); err != nil {
			return "", err
		}
	}
	return "", fault.New(fault.NotReady, "make security group", name, "repeat the command", "EC2 says that it exists but does not show it yet")
}

// groups are the migration's own, by their tags.
func (c *Client) groups(ctx context.Context, migration string, more ...types.Filter) ([]types.SecurityGroup, error) {
	return c.describeGroups(ctx, append(ourFilters(migration), more...)...)
}

func (c *Client) describeGroups(ctx context.Context, filters ...types.Filter) ([]types.SecurityGroup, error) {
	var all []types.SecurityGroup
	for pages := ec2.NewDescribeSecurityGroupsPaginator(c.ec2, &ec2.DescribeSecurityGroupsInput{Filters: filters}); pages.HasMorePages(); {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, explain(ctx, err, attempt{"ec2:DescribeSecurityGroups", "look for", "the machine's security group"})
		}
		all = append(all, out.SecurityGroups...)
	}
	return all, nil
}
