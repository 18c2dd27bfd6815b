package rdsctl

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"

	"timeferry/internal/fault"
)

// statusBackingUp is that of an instance or cluster whose backup runs. It serves, but can neither take a parameter group nor reboot.
const statusBackingUp = "backing-up"

// CheckReady says whether the instance or cluster can be changed now; it only reads. NotReady is for what ends by itself (a
// backup, a modification under way), Operator for what needs a person.
func (c *Client) CheckReady(ctx context.Context, in Instance) error {
	op := "prepare " + in.noun()
	if err := c.checkNotStuck(ctx, in, op); err != nil {
		return err
	}
	if err := c.checkApplied(ctx, in, op); err != nil {
		return err
	}
	if err := c.checkBlueGreen(ctx, in); err != nil {
		return err
	}
	switch in.Status {
	case StatusAvailable:
		return nil
	case statusBackingUp:
		return fault.New(fault.NotReady, op, in.ID, "it goes on when the backup has ended; the first backup of a large database takes hours", "a backup is running")
	}
	return fault.New(fault.NotReady, op, in.ID, "it goes on when the "+in.noun()+" is available", "the %s is %s", in.noun(), in.Status)
}

// checkBlueGreen refuses an instance or cluster on either side of a blue/green deployment: RDS replicates logically between the two
// with slots of its own, a slot of ours keeps it from switching over, and after a switchover ours is on the wrong side.
func (c *Client) checkBlueGreen(ctx context.Context, in Instance) error {
	// All are read, since AWS does not say whether its filters take names or ARNs; an account has few.
	pages := rds.NewDescribeBlueGreenDeploymentsPaginator(c.rds, &rds.DescribeBlueGreenDeploymentsInput{})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return c.explain(ctx, err, "read blue/green deployments of", in.ID)
		}
		for _, d := range out.BlueGreenDeployments {
			if in.ARN == "" || aws.ToString(d.Source) != in.ARN && aws.ToString(d.Target) != in.ARN {
				continue
			}
			name, status := aws.ToString(d.BlueGreenDeploymentName), aws.ToString(d.Status)
			switch status {
			case "SWITCHOVER_COMPLETED": // nothing goes on any more; only its record is left
				continue
			case "DELETING":
				return fault.New(fault.NotReady, "prepare "+in.noun(), in.ID, "it goes on when the deployment is gone", "blue/green deployment %s is being deleted", name)
			}
			return fault.New(fault.Operator, "prepare "+in.noun(), in.ID,
				"switch it over or delete it (without its source), then name the "+in.noun()+" that the application uses and resume",
				"it is part of blue/green deployment %s, which is %s", name, status).WithCode(CodeBlueGreen)
		}
	}
	return nil
}
