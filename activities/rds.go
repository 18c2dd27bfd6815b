package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/source/prepare"
	"timeferry/internal/source/rdsctl"
)

// Inspect reads what RDS knows about the source.
//
//	Does: describes the instance or cluster; changes nothing.
//	Safe to repeat because: it only reads.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) Inspect(ctx context.Context, spec contract.Spec) (out contract.Inspection, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		if spec.Prepare.Window != "" { // told before anything else is looked at
			if _, err := plan.ParseWindow(spec.Prepare.Window); err != nil {
				return err
			}
		}
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

// PlanParameters compares the parameters in force with those that logical replication needs and with what is in use.
//
//	Does: reads parameter groups, and on the server what is in use; changes nothing.
//	Safe to repeat because: it only reads.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) PlanParameters(ctx context.Context, spec contract.Spec) (out contract.ParameterPlan, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		c, in, err := a.instance(ctx, spec)
		if err != nil {
			return err
		}
		wanted, err := requiredOf(in, spec)
		if err != nil {
			return err
		}
		values, allowed, err := c.GroupValues(ctx, in)
		if err != nil {
			return err
		}
		if err := checkIAM(spec, in, values); err != nil {
			return err
		}
		var usage plan.SourceUsage
		err = a.withSource(ctx, spec, "plan", func(conn *pgx.Conn) error {
			usage, err = prepare.ReadUsage(ctx, conn)
			return err
		})
		if err != nil {
			return err
		}
		wanted = rdsctl.WithHeadroom(wanted, rdsctl.Headroom(limitsOf(values, usage),
			rdsctl.Usage{Slots: usage.Slots, Senders: usage.Senders, Workers: usage.Workers, Allowed: allowed}))
		group, err := c.PlanGroup(ctx, in, spec.Prepare.ParameterGroup, wanted)
		if err != nil {
			return err
		}
		out = contract.ParameterPlan{Group: group.Group, Previous: in.ParameterGroup, NeedsAttach: group.NeedsAttach, NeedsReboot: group.NeedsReboot,
			Changes:  changesOf(group.Changes),
			Problems: append(plan.LostParameters(group.Group, changesOf(group.Lost)), plan.SkippedParameters(group.Family, group.Skipped)...)}
		return nil
	})
	return out, err
}

// limitsOf are the limits that count: the server's own numbers, since the group may hold a formula or nothing at all, unless
// the group holds a higher number that waits for a reboot.
func limitsOf(group map[string]string, usage plan.SourceUsage) map[string]string {
	limits := map[string]string{}
	for name, inForce := range map[string]int{"max_replication_slots": usage.MaxSlots, "max_wal_senders": usage.MaxSenders, "max_worker_processes": usage.MaxWorkers} {
		coming, err := strconv.Atoi(group[name])
		if err != nil {
			coming = 0
		}
		limits[name] = strconv.Itoa(max(inForce, coming))
	}
	return limits
}

// checkIAM refuses a login by IAM where RDS takes its tokens on ordinary connections only.
func checkIAM(spec contract.Spec, in rdsctl.Instance, group map[string]string) error {
	const parameter = "rds.iam_auth_for_replication"
	value := group[parameter]
	if coming, ok := spec.Prepare.Parameters[parameter]; ok {
		value = coming
	}
	if !spec.Source.Password.IAM || value == "1" {
		return nil
	}
	return fault.New(fault.Operator, "log in by IAM to", in.ID, `set prepare.parameters: {"`+parameter+`": "1"}, or give source.password another way`,
		"%s is not 1 in parameter group %s, so that replication connections refuse IAM tokens", parameter, in.ParameterGroup).WithCode("iam-no-replication")
}

// ApplyParameterGroup makes the parameter group with its values.
//
//	Does: creates or copies the group, tags it, sets the values that were approved.
//	Safe to repeat because: it plans anew from what is there, and every call tolerates that it has been done.
//	Heartbeats: nothing of its own.
//	Undone by: nothing; a group that is not attached has no effect.
func (a *Activities) ApplyParameterGroup(ctx context.Context, input contract.ParameterInput) error {
	return a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		c, in, err := a.instance(ctx, input.Spec)
		if err != nil {
			return err
		}
		wanted, err := requiredOf(in, input.Spec)
		if err != nil {
			return err
		}
		for _, change := range input.Plan.Changes { // among them the headroom, which is reckoned only once
			wanted[change.Name] = change.New
		}
		group, err := c.PlanGroup(ctx, in, input.Spec.Prepare.ParameterGroup, wanted)
		if err != nil {
			return err
		}
		return c.ApplyGroup(ctx, in, group, input.Spec.Name)
	})
}

// AttachParameterGroup attaches the group and waits until RDS has taken that in.
//
//	Does: one ModifyDBInstance or ModifyDBCluster, then waits.
//	Safe to repeat because: a group that is attached is not attached again.
//	Heartbeats: the status, and for how long it has been waited.
//	Undone by: nothing: taking the group away would cost another reboot; the report names it.
func (a *Activities) AttachParameterGroup(ctx context.Context, input contract.ParameterInput) error {
	return a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		c, err := a.readyInstance(ctx, input.Spec)
		if err != nil {
			return err
		}
		_, err = c.Attach(ctx, *input.Spec.Source.RDS, input.Plan.Group, instanceBeat(report))
		return err
	})
}

// RebootSource reboots the source, so that static parameters take effect, and waits until it is back.
//
//	Does: one RebootDBInstance or RebootDBCluster, then waits until available and in-sync.
//	Safe to repeat because: it reboots only while RDS says pending-reboot.
//	Heartbeats: the status, and for how long it has been waited.
//	Undone by: nothing to undo.
func (a *Activities) RebootSource(ctx context.Context, input contract.RebootInput) error {
	return a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		c, err := a.readyInstance(ctx, input.Spec)
		if err != nil {
			return err
		}
		var notAfter time.Time
		if input.NotAfter != nil {
			notAfter = *input.NotAfter
		}
		_, err = c.Reboot(ctx, *input.Source.RDS, notAfter, instanceBeat(report))
		return err
	})
}

// WatchSource tells what a reboot would interrupt, for whoever decides about it. It runs until it is cancelled.
//
//	Does: reads the source's sessions every few seconds; changes nothing.
//	Safe to repeat because: it only reads.
//	Heartbeats: open connections and the longest transaction.
//	Undone by: nothing to undo.
func (a *Activities) WatchSource(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		for {
			err := a.withSource(ctx, spec, "watch", func(conn *pgx.Conn) error { return watchUsage(ctx, conn, report) })
			if ctx.Err() != nil {
				return ctx.Err()
			}
			report(contract.Beat{Message: "what is going on at the source cannot be read now: " + err.Error()})
			if err := pgkit.Sleep(ctx, watchInterval); err != nil {
				return err
			}
		}
	})
}

// watchInterval is how often the source is asked while somebody decides about its reboot.
const watchInterval = 5 * time.Second

func watchUsage(ctx context.Context, conn *pgx.Conn, report func(contract.Beat)) error {
	for {
		usage, err := prepare.ReadUsage(ctx, conn)
		if err != nil {
			return err
		}
		report(contract.Beat{Message: "now " + usage.Words()})
		if err := pgkit.Sleep(ctx, watchInterval); err != nil {
			return err
		}
	}
}

// PlanWindow finds the next time at which prepare.window is open.
//
//	Does: looks at the clock.
//	Safe to repeat because: it only reads.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) PlanWindow(ctx context.Context, spec contract.Spec) (out contract.RebootWindow, err error) {
	err = a.live(ctx, func(context.Context, func(contract.Beat)) error {
		window, err := plan.ParseWindow(spec.Prepare.Window)
		if err != nil {
			return err
		}
		now := a.now()
		out.Opens, out.Closes = window.Next(now)
		out.Open = !out.Opens.After(now)
		return nil
	})
	return out, err
}

// readyInstance opens RDS and stops at what only a person can mend. What ends by itself, Attach and Reboot wait for.
func (a *Activities) readyInstance(ctx context.Context, spec contract.Spec) (*rdsctl.Client, error) {
	c, in, err := a.instance(ctx, spec)
	if err != nil {
		return nil, err
	}
	if err := c.CheckReady(ctx, in); err != nil && fault.Classify(err) != fault.NotReady {
		return nil, err
	}
	return c, nil
}

func (a *Activities) instance(ctx context.Context, spec contract.Spec) (*rdsctl.Client, rdsctl.Instance, error) {
	c, err := a.aws(ctx, spec)
	if err != nil {
		return nil, rdsctl.Instance{}, err
	}
	in, err := c.Inspect(ctx, *spec.Source.RDS)
	return c, in, err
}

// requiredOf are the parameters that the migration needs, those of the spec over them.
func requiredOf(in rdsctl.Instance, spec contract.Spec) (map[string]string, error) {
	major, err := strconv.Atoi(strings.SplitN(in.EngineVersion, ".", 2)[0])
	if err != nil {
		return nil, fmt.Errorf("read engine version %q: %w", in.EngineVersion, err)
	}
	wanted := rdsctl.Required(major)
	maps.Copy(wanted, spec.Prepare.Parameters)
	return wanted, nil
}

func changesOf(changes []rdsctl.Change) []contract.ParameterChange {
	var out []contract.ParameterChange
	for _, c := range changes {
		out = append(out, contract.ParameterChange{Name: c.Name, Old: c.Old, New: c.New})
	}
	return out
}

func instanceBeat(report func(contract.Beat)) func(rdsctl.Instance) {
	return func(in rdsctl.Instance) {
		words := []string{fmt.Sprintf("%s is %s, parameter group %s", in.ID, in.Status, in.ApplyStatus), in.Message}
		if in.Waited >= time.Second {
			words = append(words, "waiting for "+in.Waited.Round(time.Second).String())
		}
		words = slices.DeleteFunc(words, func(s string) bool { return s == "" })
		report(contract.Beat{Message: strings.Join(words, ", ")})
	}
}

// rdsFindings are preflight's findings about the instance or cluster.
func (a *Activities) rdsFindings(ctx context.Context, spec contract.Spec, usage plan.SourceUsage, changes []contract.ParameterChange) ([]contract.Problem, error) {
	c, in, err := a.instance(ctx, spec)
	if err != nil {
		return nil, err
	}
	var credits *float64
	if b := spec.Copy.BackOff; b != nil && b.CPUCredits > 0 {
		balance, known, err := a.cpuCredits(ctx, spec)
		if err != nil {
			return nil, err
		}
		if known {
			credits = &balance
		}
	}
	found := plan.AssessRDS(spec, plan.RDSFacts{ID: in.ID, Kind: in.Kind, Class: in.Class, Engine: in.Engine, EngineVersion: in.EngineVersion,
		Family: in.Family, Group: in.ParameterGroup, AllocatedGiB: in.AllocatedGiB, MaxAllocatedGiB: in.MaxAllocatedGiB,
		MultiAZ: in.MultiAZ, Replicas: in.Replicas, BackupWindow: in.BackupWindow, MaintenanceWindow: in.MaintenanceWindow, IAMAuth: in.IAMAuth, CPUCredits: credits}, usage, changes)
	found = append(found, plan.PendingModifications(in.ID, in.Pending, changes)...)
	if err := c.CheckReady(ctx, in); err != nil {
		p := problemOf(fault.Classify(err), err)
		switch fault.Classify(err) {
		case fault.Operator:
		case fault.NotReady:
			p.Severity = contract.Warning
		default:
			return nil, err
		}
		found = append(found, p)
	}
	return found, nil
}

func (a *Activities) cpuCredits(ctx context.Context, spec contract.Spec) (balance float64, known bool, err error) {
	c, err := a.aws(ctx, spec)
	if err != nil {
		return 0, false, err
	}
	return c.CPUCredits(ctx, *spec.Source.RDS)
}
