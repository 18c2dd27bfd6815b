package rdsctl

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"timeferry/internal/fault"
)

const (
	// batchSize is the most that RDS takes in one ModifyDBParameterGroup.
	batchSize = 20
	// settleAttempts bounds the waiting for RDS to show what it was told: some three minutes in production. Beyond it the
	// caller gets NotReady and comes back.
	settleAttempts = 12
)

// ApplyGroup makes the plan's group and sets its parameters; it returns when the group shows them. It attaches nothing.
// migration becomes the value of the tag timeferry:migration. Repeatable at any point: a group that an earlier try made is
// recognised by that tag, which it has from the moment it exists.
func (c *Client) ApplyGroup(ctx context.Context, in Instance, plan GroupPlan, migration string) error {
	switch {
	case plan.Create:
		if err := c.createGroup(ctx, in, plan, migration); err != nil {
			return err
		}
	case plan.Ours:
		if err := c.tagGroup(ctx, in, plan.Group, migration); err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(plan.Changes, batchSize) {
		if err := c.modifyGroup(ctx, in, plan.Group, batch); err != nil {
			return err
		}
	}
	return c.confirmGroup(ctx, in, plan)
}

func (c *Client) createGroup(ctx context.Context, in Instance, plan GroupPlan, migration string) error {
	tags := []types.Tag{{Key: aws.String(tagKey), Value: &migration}}
	description := "Timeferry: logical replication for " + in.ID
	var err error
	if plan.CopyFrom != "" {
		err = c.groupsOf(in).copy(ctx, plan.CopyFrom, plan.Group, description, tags)
	} else {
		err = c.groupsOf(in).create(ctx, plan.Group, plan.Family, description, tags)
	}
	if hasCode(err, "DBParameterGroupAlreadyExists") {
		return c.takeUpGroup(ctx, in, plan)
	}
	if err != nil {
		return c.explain(ctx, err, "create parameter group", plan.Group)
	}
	return nil
}

// takeUpGroup accepts a group that appeared since the plan was made if we made it.
func (c *Client) takeUpGroup(ctx context.Context, in Instance, plan GroupPlan) error {
	var g group
	err := c.settle(ctx, func() (err error) { g, err = c.groupsOf(in).get(ctx, plan.Group); return err }, noGroupCodes...)
	if err != nil {
		return err
	}
	_, ours, err := c.ownerOf(ctx, g)
	if err != nil {
		return err
	}
	if !ours {
		return differs(g.name, "it was not made by Timeferry, and appeared since the migration was planned")
	}
	return nil
}

func (c *Client) tagGroup(ctx context.Context, in Instance, name, migration string) error {
	g, err := c.groupsOf(in).get(ctx, name)
	if err != nil {
		return err
	}
	owner, _, err := c.ownerOf(ctx, g)
	if err != nil || owner == migration {
		return err
	}
	_, err = c.rds.AddTagsToResource(ctx, &rds.AddTagsToResourceInput{ResourceName: &g.arn,
		Tags: []types.Tag{{Key: aws.String(tagKey), Value: &migration}}})
	if err != nil {
		return c.explain(ctx, err, "tag parameter group", name)
	}
	return nil
}

func (c *Client) modifyGroup(ctx context.Context, in Instance, name string, batch []Change) error {
	var values []types.Parameter
	for _, change := range batch {
		method := types.ApplyMethodImmediate
		if change.Static { // immediate on one static parameter fails the whole call
			method = types.ApplyMethodPendingReboot
		}
		values = append(values, types.Parameter{ParameterName: &change.Name, ParameterValue: &change.New, ApplyMethod: method})
	}
	modify := func() error {
		if err := c.groupsOf(in).modify(ctx, name, values); err != nil {
			return c.explain(ctx, err, "modify parameter group", name)
		}
		return nil
	}
	// A group that was just made may not be known everywhere yet; one that is being applied refuses changes for a while.
	return c.settle(ctx, func() error { return c.settle(ctx, modify, "InvalidDBParameterGroupState") }, noGroupCodes...)
}

// confirmGroup reads back what was set, so that nobody attaches a group that does not yet carry its values.
func (c *Client) confirmGroup(ctx context.Context, in Instance, plan GroupPlan) error {
	wanted := map[string]string{}
	for _, change := range plan.Changes {
		wanted[change.Name] = change.New
	}
	for attempt := range settleAttempts {
		var have parameters
		read := func() (err error) { have, err = c.groupsOf(in).parameters(ctx, plan.Group); return err }
		if err := c.settle(ctx, read, noGroupCodes...); err != nil {
			return err
		}
		if len(have.differing(wanted)) == 0 {
			return nil
		}
		if err := c.pause(ctx, attempt); err != nil {
			return err
		}
	}
	return fault.New(fault.NotReady, "confirm parameter group", plan.Group, "it is looked at again", "RDS does not show the new values yet")
}

// settle repeats a call while AWS answers it with one of the codes, a bounded number of times.
func (c *Client) settle(ctx context.Context, call func() error, codes ...string) error {
	for attempt := range settleAttempts {
		if err := call(); !hasCode(err, codes...) {
			return err
		}
		if err := c.pause(ctx, attempt); err != nil {
			return err
		}
	}
	return call()
}
