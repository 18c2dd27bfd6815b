package main

import (
	"context"
	"log/slog"

	"timeferry/internal/launch"
	"timeferry/internal/machine"
	"timeferry/internal/obs"
)

// readMachine says in the log what this machine is, once: whoever looks for the cause of a slow copy finds it there.
func readMachine(ctx context.Context, dataDir string, logger *slog.Logger) (machine.Facts, error) {
	f, err := machine.Read(ctx, dataDir, launch.Place)
	if err != nil {
		return f, err
	}
	logger.Info("worker's machine", "cpus", f.CPUs, "memory", machine.Size(f.MemoryBytes), "disk_free", machine.Size(f.DiskFreeBytes),
		"disk", machine.Size(f.DiskBytes), "region", f.Region, "instance_id", f.InstanceID, "instance_type", f.InstanceType)
	return f, nil
}

// measured is the machine for the metrics.
func measured(f machine.Facts, dataDir string) obs.Machine {
	return obs.Machine{CPUs: f.CPUs, MemoryBytes: f.MemoryBytes, DiskBytes: f.DiskBytes, DiskFreeBytes: func() (int64, error) {
		free, _, err := machine.Disk(dataDir)
		return free, err
	}}
}

// machineNow is the machine for preflight: as it was at the start, with the room that its disk has now.
func machineNow(f machine.Facts, dataDir string) func(context.Context) (machine.Facts, error) {
	return func(context.Context) (machine.Facts, error) {
		now := f
		var err error
		now.DiskFreeBytes, now.DiskBytes, err = machine.Disk(dataDir)
		return now, err
	}
}
