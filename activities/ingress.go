package activities

import (
	"context"

	"timeferry/internal/contract"
	"timeferry/internal/source/rdsctl"
)

// OpenIngress lets the worker it runs on into the source's security group.
//
//	Does: one AuthorizeSecurityGroupIngress for prepare.workerCIDR, or for this machine's private address.
//	Safe to repeat because: a rule that carries the migration's name is found again; one that was there before is left alone.
//	Heartbeats: nothing of its own.
//	Undone by: CloseIngress.
func (a *Activities) OpenIngress(ctx context.Context, spec contract.Spec) (out contract.IngressRule, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		c, err := a.aws(ctx, spec)
		if err != nil {
			return err
		}
		out.CIDR = spec.Prepare.WorkerCIDR
		if out.CIDR == "" {
			if out.CIDR, err = c.WorkerAddress(ctx); err != nil {
				return err
			}
		}
		rule, err := c.OpenIngress(ctx, rdsctl.IngressRequest{Group: spec.Prepare.SecurityGroup, CIDR: out.CIDR, Port: spec.Source.Port, Migration: spec.Name})
		out.ID, out.Ours = rule.ID, rule.Ours
		return err
	})
	return out, err
}

// CloseIngress revokes the rule that OpenIngress made.
//
//	Does: revokes the rule by its id, or where that was never learned, every rule of the group that carries the migration's name.
//	Safe to repeat because: a rule that is gone stays gone.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) CloseIngress(ctx context.Context, input contract.IngressInput) error {
	return a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		c, err := a.aws(ctx, input.Spec)
		if err != nil {
			return err
		}
		if input.RuleID != "" {
			return c.RevokeIngress(ctx, input.Prepare.SecurityGroup, input.RuleID)
		}
		return c.RevokeIngressOf(ctx, input.Prepare.SecurityGroup, input.Name)
	})
}
