package rdsctl

import (
	"context"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
)

// Values of Instance.Kind.
const (
	KindInstance = "instance"
	KindAurora   = "aurora"
	KindMultiAZ  = "multi-az-cluster" // three instances, two of which can be read; not an instance with a standby
)

// database is what can be asked of the source, whichever kind it is. Errors of attach and reboot are the SDK's own; the
// caller reads their codes.
type database interface {
	// describe reads the state, without the family.
	describe(ctx context.Context) (Instance, error)
	// attach lets it use the group, at once.
	attach(ctx context.Context, group string) error
	// reboot reboots what has to be rebooted, as in was described just now.
	reboot(ctx context.Context, in Instance) error
}

// Codes by which RDS refuses a change for now, whatever the kind.
var busyCodes = []string{"InvalidDBInstanceState", "InvalidDBClusterStateFault"}

// open gives the database that the spec names. A cluster's kind shows only once it is described.
func (c *Client) open(rds contract.RDS) database {
	if rds.Cluster != "" {
		return dbCluster{c, rds.Cluster}
	}
	return dbInstance{c, rds.Instance}
}

func nameOf(rds contract.RDS) string { return rds.Instance + rds.Cluster }

// Inspect reads the instance or cluster and the family of parameter groups that it takes.
func (c *Client) Inspect(ctx context.Context, rds contract.RDS) (Instance, error) {
	in, err := c.open(rds).describe(ctx)
	if err != nil {
		return Instance{}, err
	}
	if !strings.Contains(in.Engine, "postgres") {
		return Instance{}, fault.New(fault.Operator, "inspect "+in.noun(), in.ID, "name a database whose engine is PostgreSQL", "its engine is %s", in.Engine).WithCode(CodeNotPostgres)
	}
	if in.Family, err = c.family(ctx, in); err != nil {
		return Instance{}, err
	}
	return in, nil
}
