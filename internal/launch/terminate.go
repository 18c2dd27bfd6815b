package launch

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"timeferry/internal/fault"
)

// Terminated is what Terminate took away; both lists are empty when nothing of ours was there.
type Terminated struct {
	Machines       []string `json:"machines"`
	SecurityGroups []string `json:"securityGroups"`
}

// Terminate ends the migration's machine, waits until it is gone with its disk, and deletes its security group. It finds
// both by our tags. With ids it ends only those, and refuses all if one of them is not tagged as a machine of this migration.
// Repeatable.
func (c *Client) Terminate(ctx context.Context, migration string, ids []string, progress ProgressFunc) (Terminated, error) {
	out := Terminated{Machines: []string{}, SecurityGroups: []string{}}
	if !validMigration.MatchString(migration) {
		return out, badOrder("name", "choose 1 to 40 of a-z, 0-9 and -", "%q cannot name a migration", migration)
	}
	for _, id := range ids {
		if err := c.requireOurs(ctx, migration, id); err != nil {
			return out, err
		}
	}
	there, gone, err := c.machines(ctx, migration)
	if err != nil {
		return out, err
	}
	for _, m := range there {
		if len(ids) == 0 || slices.Contains(ids, m.ID) {
			out.Machines = append(out.Machines, m.ID)
		}
	}
	if len(out.Machines) > 0 {
		progress.tell("terminating %v", out.Machines)
		if _, err := c.ec2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: out.Machines}); err != nil {
			return out, explain(ctx, err, attempt{"ec2:TerminateInstances", "terminate", fmt.Sprint(out.Machines)})
		}
	}
	waiting := slices.Clone(out.Machines)
	for _, m := range gone { // of an earlier call that did not wait to the end
		waiting = append(waiting, m.ID)
	}
	for _, id := range waiting {
		if err := c.awaitTerminated(ctx, id, progress); err != nil {
			return out, err
		}
	}
	if len(there) > len(out.Machines) {
		return out, nil // another machine needs the group
	}
	out.SecurityGroups, err = c.deleteGroups(ctx, migration, progress)
	return out, err
}

func (c *Client) requireOurs(ctx context.Context, migration, id string) error {
	all, err := c.describe(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		return err
	}
	if len(all) != 1 || !isOurs(all[0].Tags, migration) {
		return fault.New(fault.Operator, "terminate", id, "only machines that starter machine launch made for this migration are terminated",
			"it is not tagged %s=%s and %s=%s", TagMigration, migration, TagMachine, tagYes).WithCode(CodeNotOurs)
	}
	return nil
}

func (c *Client) awaitTerminated(ctx context.Context, id string, progress ProgressFunc) error {
	for {
		m, found, err := c.machine(ctx, id)
		if err != nil {
			return err
		}
		if !found || m.State == "terminated" {
			return nil
		}
		progress.tell("machine %s is %s", id, m.State)
		if err := c.pause(ctx); err != nil {
			return fmt.Errorf("wait for the end of machine %s: %w", id, err)
		}
	}
}

// deleteGroups deletes the migration's groups. A terminated machine lets go of its group only after a while.
func (c *Client) deleteGroups(ctx context.Context, migration string, progress ProgressFunc) ([]string, error) {
	groups, err := c.groups(ctx, migration)
	deleted := []string{}
	if err != nil {
		return deleted, err
	}
	for _, g := range groups {
		id := aws.ToString(g.GroupId)
		if err := c.deleteGroup(ctx, id, progress); err != nil {
			return deleted, err
		}
		deleted = append(deleted, id)
	}
	return deleted, nil
}

func (c *Client) deleteGroup(ctx context.Context, id string, progress ProgressFunc) error {
	for tries := 1; ; tries++ {
		_, err := c.ec2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &id})
		switch {
		case err == nil, hasCode(err, "InvalidGroup.NotFound"), hasCode(err, "InvalidGroupId.NotFound"):
			return nil
		case !hasCode(err, "DependencyViolation"):
			return explain(ctx, err, attempt{"ec2:DeleteSecurityGroup", "delete security group", id})
		case tries == settleAttempts:
			return fault.New(fault.Operator, "delete security group", id, "take the group off whatever else uses it, then repeat the command",
				"EC2 says that it is still in use").WithCode(CodeTerminateStuck)
		}
		progress.tell("security group %s is still in use", id)
		if err := c.pause(ctx); err != nil {
			return fmt.Errorf("delete security group %s: %w", id, err)
		}
	}
}
