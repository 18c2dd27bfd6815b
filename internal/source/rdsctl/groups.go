package rdsctl

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"timeferry/internal/fault"
)

// group is a parameter group of either kind.
type group struct{ name, family, arn string }

// groupCalls are the calls on parameter groups: those of instances, or those of clusters. Errors of get and parameters are
// explained; those of the others are the SDK's own.
type groupCalls interface {
	get(ctx context.Context, name string) (group, error)
	parameters(ctx context.Context, name string) (parameters, error)
	create(ctx context.Context, name, family, description string, tags []types.Tag) error
	copy(ctx context.Context, from, name, description string, tags []types.Tag) error
	modify(ctx context.Context, name string, values []types.Parameter) error
}

// Codes for a group that does not exist, or is not known everywhere yet. ModifyDBCluster has its own.
var noGroupCodes = []string{"DBParameterGroupNotFound", "DBClusterParameterGroupNotFound"}

func (c *Client) groupsOf(in Instance) groupCalls {
	if in.isCluster() {
		return clusterGroups{c}
	}
	return instanceGroups{c}
}

type instanceGroups struct{ c *Client }

func (g instanceGroups) get(ctx context.Context, name string) (group, error) {
	out, err := g.c.rds.DescribeDBParameterGroups(ctx, &rds.DescribeDBParameterGroupsInput{DBParameterGroupName: &name})
	if err != nil {
		return group{}, g.c.explain(ctx, err, "read parameter group", name)
	}
	if len(out.DBParameterGroups) != 1 {
		return group{}, notOneGroup(name, len(out.DBParameterGroups))
	}
	x := out.DBParameterGroups[0]
	return group{aws.ToString(x.DBParameterGroupName), aws.ToString(x.DBParameterGroupFamily), aws.ToString(x.DBParameterGroupArn)}, nil
}

// parameters reads all pages: a PostgreSQL family has several hundred parameters, and a page at most 100.
func (g instanceGroups) parameters(ctx context.Context, name string) (parameters, error) {
	out := parameters{}
	pages := rds.NewDescribeDBParametersPaginator(g.c.rds, &rds.DescribeDBParametersInput{DBParameterGroupName: &name})
	for pages.HasMorePages() {
		part, err := pages.NextPage(ctx)
		if err != nil {
			return nil, g.c.explain(ctx, err, "read parameters of group", name)
		}
		out.add(part.Parameters)
	}
	return out, nil
}

func (g instanceGroups) create(ctx context.Context, name, family, description string, tags []types.Tag) error {
	_, err := g.c.rds.CreateDBParameterGroup(ctx, &rds.CreateDBParameterGroupInput{DBParameterGroupName: &name,
		DBParameterGroupFamily: &family, Description: &description, Tags: tags})
	return err
}

func (g instanceGroups) copy(ctx context.Context, from, name, description string, tags []types.Tag) error {
	_, err := g.c.rds.CopyDBParameterGroup(ctx, &rds.CopyDBParameterGroupInput{SourceDBParameterGroupIdentifier: &from,
		TargetDBParameterGroupIdentifier: &name, TargetDBParameterGroupDescription: &description, Tags: tags})
	return err
}

func (g instanceGroups) modify(ctx context.Context, name string, values []types.Parameter) error {
	_, err := g.c.rds.ModifyDBParameterGroup(ctx, &rds.ModifyDBParameterGroupInput{DBParameterGroupName: &name, Parameters: values})
	return err
}

// clusterGroups are those of Aurora and of Multi-AZ clusters.
type clusterGroups struct{ c *Client }

func (g clusterGroups) get(ctx context.Context, name string) (group, error) {
	out, err := g.c.rds.DescribeDBClusterParameterGroups(ctx, &rds.DescribeDBClusterParameterGroupsInput{DBClusterParameterGroupName: &name})
	if err != nil {
		return group{}, g.c.explain(ctx, err, "read cluster parameter group", name)
	}
	if len(out.DBClusterParameterGroups) != 1 {
		return group{}, notOneGroup(name, len(out.DBClusterParameterGroups))
	}
	x := out.DBClusterParameterGroups[0]
	return group{aws.ToString(x.DBClusterParameterGroupName), aws.ToString(x.DBParameterGroupFamily), aws.ToString(x.DBClusterParameterGroupArn)}, nil
}

func (g clusterGroups) parameters(ctx context.Context, name string) (parameters, error) {
	out := parameters{}
	pages := rds.NewDescribeDBClusterParametersPaginator(g.c.rds, &rds.DescribeDBClusterParametersInput{DBClusterParameterGroupName: &name})
	for pages.HasMorePages() {
		part, err := pages.NextPage(ctx)
		if err != nil {
			return nil, g.c.explain(ctx, err, "read parameters of cluster group", name)
		}
		out.add(part.Parameters)
	}
	return out, nil
}

func (g clusterGroups) create(ctx context.Context, name, family, description string, tags []types.Tag) error {
	_, err := g.c.rds.CreateDBClusterParameterGroup(ctx, &rds.CreateDBClusterParameterGroupInput{DBClusterParameterGroupName: &name,
		DBParameterGroupFamily: &family, Description: &description, Tags: tags})
	return err
}

func (g clusterGroups) copy(ctx context.Context, from, name, description string, tags []types.Tag) error {
	_, err := g.c.rds.CopyDBClusterParameterGroup(ctx, &rds.CopyDBClusterParameterGroupInput{SourceDBClusterParameterGroupIdentifier: &from,
		TargetDBClusterParameterGroupIdentifier: &name, TargetDBClusterParameterGroupDescription: &description, Tags: tags})
	return err
}

func (g clusterGroups) modify(ctx context.Context, name string, values []types.Parameter) error {
	_, err := g.c.rds.ModifyDBClusterParameterGroup(ctx, &rds.ModifyDBClusterParameterGroupInput{DBClusterParameterGroupName: &name, Parameters: values})
	return err
}

func notOneGroup(name string, n int) error {
	return fault.New(fault.Bug, "read parameter group", name, "", "the API answered with %d groups", n)
}

// tagKey marks the groups that we made; the value is the migration's name.
const tagKey = "timeferry:migration"

// ownerOf gives the migration that made the group.
func (c *Client) ownerOf(ctx context.Context, g group) (migration string, ours bool, err error) {
	out, err := c.rds.ListTagsForResource(ctx, &rds.ListTagsForResourceInput{ResourceName: &g.arn})
	if err != nil {
		return "", false, c.explain(ctx, err, "read tags of parameter group", g.name)
	}
	for _, tag := range out.TagList {
		if aws.ToString(tag.Key) == tagKey {
			return aws.ToString(tag.Value), true, nil
		}
	}
	return "", false, nil
}

// fixedRange stands for AllowedValues that leave no choice.
const fixedRange = "0-0"

// GroupValues gives what the parameter group in use says, as input of Headroom: values and RDS's AllowedValues, by
// parameter. Without those whose engine default is in force; values may be formulas. What RDS does not let be changed is
// allowed nothing, so that Headroom leaves it alone.
func (c *Client) GroupValues(ctx context.Context, in Instance) (values, allowed map[string]string, err error) {
	catalogue, err := c.groupsOf(in).parameters(ctx, in.ParameterGroup)
	if err != nil {
		return nil, nil, err
	}
	values, allowed = map[string]string{}, map[string]string{}
	for name, x := range catalogue {
		if value := aws.ToString(x.ParameterValue); value != "" {
			values[name] = value
		}
		switch {
		case !aws.ToBool(x.IsModifiable):
			allowed[name] = fixedRange
		case aws.ToString(x.AllowedValues) != "":
			allowed[name] = *x.AllowedValues
		}
	}
	return values, allowed, nil
}
