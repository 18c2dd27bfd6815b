package main

import (
	"context"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/launch"
	"timeferry/internal/source/rdsctl"
)

// machineSource is what a machine has to be launched beside.
type machineSource struct {
	launch.Source
	allocatedBytes int64 // 0: not known
	region         string
}

// findSource asks RDS where the instance or the cluster stands. It reads only.
func findSource(ctx context.Context, named contract.RDS) (machineSource, error) {
	c, err := rdsctl.Open(ctx, rdsctl.Options{Region: named.Region})
	if err != nil {
		return machineSource{}, err
	}
	in, err := c.Inspect(ctx, named)
	if err != nil {
		return machineSource{}, err
	}
	out := machineSource{region: c.Region(), allocatedBytes: int64(in.AllocatedGiB) << 30,
		Source: launch.Source{ID: named.Instance + named.Cluster, EngineVersion: in.EngineVersion, VPC: in.VPC, Subnets: in.Subnets, AvailabilityZone: in.AvailabilityZone}}
	if strings.HasPrefix(in.Engine, "aurora") { // its storage grows by itself, and the API says 1
		out.allocatedBytes = 0
	}
	return out, nil
}
