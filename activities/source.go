package activities

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/prepare"
	"timeferry/internal/source/rdsctl"
)

// Inspect reads what RDS knows about the source instance.
//
//	Does: describes the instance; changes nothing.
//	Safe to repeat because: it only reads.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) Inspect(ctx context.Context, spec contract.Spec) (out contract.Inspection, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		_, in, err := a.instance(ctx, spec)
		if err != nil {
			return err
		}
		out = contract.Inspection{Instance: in.ID, Status: in.Status, Engine: in.Engine, EngineVersion: in.EngineVersion,
			Host: in.Host, Port: in.Port, ParameterGroup: in.ParameterGroup, ApplyStatus: in.ApplyStatus, VPC: in.VPC,
			SecurityGroups: in.SecurityGroups, MasterUser: in.MasterUser, MasterSecretARN: in.MasterSecretARN, Pending: in.Pending}
		if spec.Source.Password.RDSManaged && in.MasterSecretARN == "" {
			return fault.New(fault.Operator, "read password for", in.ID, "give source.password by env, file or secretArn",
				"RDS does not manage the master password of this instance").WithCode("password-unavailable")
		}
		return nil
	})
	return out, err
}

// PlanParameters compares the instance's parameters with those that logical replication needs.
//
//	Does: reads parameter groups; changes nothing.
//	Safe to repeat because: it only reads.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) PlanParameters(ctx context.Context, spec contract.Spec) (out contract.ParameterPlan, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		_, in, plan, err := a.groupPlan(ctx, spec)
		if err != nil {
			return err
		}
		out = contract.ParameterPlan{Group: plan.Group, Previous: in.ParameterGroup, NeedsAttach: plan.NeedsAttach, NeedsReboot: plan.NeedsReboot}
		for _, c := range plan.Changes {
			out.Changes = append(out.Changes, contract.ParameterChange{Name: c.Name, Old: c.Old, New: c.New})
		}
		return nil
	})
	return out, err
}

// ApplyParameterGroup makes the parameter group with its values.
//
//	Does: creates or copies the group, tags it, sets the values.
//	Safe to repeat because: it plans anew from what is there, and every call tolerates that it has been done.
//	Heartbeats: nothing of its own.
//	Undone by: nothing; a group that is not attached has no effect.
func (a *Activities) ApplyParameterGroup(ctx context.Context, input contract.ParameterInput) error {
	return a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		c, in, plan, err := a.groupPlan(ctx, input.Spec)
		if err != nil {
			return err
		}
		return c.ApplyGroup(ctx, in, plan, input.Spec.Name)
	})
}

// AttachParameterGroup attaches the group and waits until the instance has taken it.
//
//	Does: one ModifyDBInstance, then waits.
//	Safe to repeat because: a group that is attached is not attached again.
//	Heartbeats: the instance's status.
//	Undone by: nothing: taking the group away would cost another reboot; the report names it.
func (a *Activities) AttachParameterGroup(ctx context.Context, input contract.ParameterInput) error {
	return a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		c, err := a.aws(ctx, input.Spec)
		if err != nil {
			return err
		}
		_, err = c.Attach(ctx, input.Spec.Source.RDS.Instance, input.Plan.Group, instanceBeat(report))
		return err
	})
}

// RebootSource reboots the instance, so that static parameters take effect, and waits until it is back.
//
//	Does: one RebootDBInstance, then waits until available and in-sync.
//	Safe to repeat because: it reboots only while the instance says pending-reboot.
//	Heartbeats: the instance's status.
//	Undone by: nothing to undo.
func (a *Activities) RebootSource(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		c, err := a.aws(ctx, spec)
		if err != nil {
			return err
		}
		_, err = c.Reboot(ctx, spec.Source.RDS.Instance, instanceBeat(report))
		return err
	})
}

// VerifySource reads from the server itself that logical replication is possible, and tries a temporary slot.
//
//	Does: SHOW wal_level, then a temporary slot whose snapshot is imported; nothing stays.
//	Safe to repeat because: a temporary slot ends with its connection.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) VerifySource(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		err := a.withSource(ctx, spec, "verify", func(conn *pgx.Conn) error {
			level, _, err := pgkit.Setting(ctx, conn, "wal_level")
			if err == nil && level != "logical" {
				return fault.New(fault.Operator, "verify setting", "wal_level", "set wal_level=logical (on RDS rds.logical_replication=1) and restart the server",
					"the server still has %s", level).WithCode("wal-level")
			}
			return err
		})
		if err != nil {
			return err
		}
		e, err := a.source(ctx, spec)
		if err != nil {
			return err
		}
		return prepare.ProbeSnapshot(ctx, e)
	})
}

func (a *Activities) instance(ctx context.Context, spec contract.Spec) (*rdsctl.Client, rdsctl.Instance, error) {
	c, err := a.aws(ctx, spec)
	if err != nil {
		return nil, rdsctl.Instance{}, err
	}
	in, err := c.Inspect(ctx, spec.Source.RDS.Instance)
	return c, in, err
}

func (a *Activities) groupPlan(ctx context.Context, spec contract.Spec) (*rdsctl.Client, rdsctl.Instance, rdsctl.GroupPlan, error) {
	c, in, err := a.instance(ctx, spec)
	if err != nil {
		return nil, in, rdsctl.GroupPlan{}, err
	}
	major, err := strconv.Atoi(strings.SplitN(in.EngineVersion, ".", 2)[0])
	if err != nil {
		return nil, in, rdsctl.GroupPlan{}, fmt.Errorf("read engine version %q: %w", in.EngineVersion, err)
	}
	wanted := rdsctl.Required(major)
	for name, value := range spec.Prepare.Parameters {
		wanted[name] = value
	}
	plan, err := c.PlanGroup(ctx, in, spec.Prepare.ParameterGroup, wanted)
	return c, in, plan, err
}

func instanceBeat(report func(contract.Beat)) func(rdsctl.Instance) {
	return func(in rdsctl.Instance) {
		report(contract.Beat{Message: fmt.Sprintf("%s is %s, parameter group %s", in.ID, in.Status, in.ApplyStatus)})
	}
}
