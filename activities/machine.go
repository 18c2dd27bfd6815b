package activities

import (
	"context"
	"fmt"

	"timeferry/internal/contract"
	"timeferry/internal/machine"
)

// machineFindings compares the machine that this runs on with what a database of that size asks for.
func (a *Activities) machineFindings(ctx context.Context, spec contract.Spec, databaseBytes int64) ([]contract.Problem, error) {
	if a.Machine == nil || spec.Prepare.Machine == machine.ModeSkip {
		return nil, nil
	}
	facts, err := a.Machine(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what this machine is: %w", err)
	}
	region := ""
	if spec.Source.RDS != nil {
		c, err := a.aws(ctx, spec)
		if err != nil {
			return nil, err
		}
		region = c.Region()
	}
	found := machine.Compare(facts, machine.NeedOf(databaseBytes, spec.Replication.Buffer == "disk"), region, spec.Prepare.Machine)
	for i := range found {
		found[i].Object = "worker " + a.HostID
	}
	return found, nil
}
