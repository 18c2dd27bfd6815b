package machine

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"timeferry/internal/fault"
)

// Facts are what a worker's machine is. Zero values are not known.
type Facts struct {
	CPUs          int    `json:"cpus,omitempty"`
	MemoryBytes   int64  `json:"memoryBytes,omitempty"`
	DiskFreeBytes int64  `json:"diskFreeBytes,omitempty"` // what the worker may still write where its data directory is
	DiskBytes     int64  `json:"diskBytes,omitempty"`     // of the whole file system
	Region        string `json:"region,omitempty"`
	InstanceID    string `json:"instanceID,omitempty"`
	InstanceType  string `json:"instanceType,omitempty"`
}

// Place is where a machine stands in AWS.
type Place struct{ Region, InstanceID, InstanceType string }

// PlaceFunc finds the place. A machine outside AWS has none: the zero Place.
type PlaceFunc func(context.Context) Place

// Read gives the facts of this machine; dataDir must exist. A nil where leaves the place out.
func Read(ctx context.Context, dataDir string, where PlaceFunc) (Facts, error) {
	free, whole, err := Disk(dataDir)
	if err != nil {
		return Facts{}, err
	}
	limits, err := readLimits("/")
	if err != nil {
		return Facts{}, err
	}
	f := Facts{CPUs: limits.cpus, MemoryBytes: limits.memory, DiskFreeBytes: free, DiskBytes: whole}
	if where != nil {
		place := where(ctx)
		f.Region, f.InstanceID, f.InstanceType = place.Region, place.InstanceID, place.InstanceType
	}
	if ctx.Err() != nil {
		return Facts{}, fmt.Errorf("read facts of the machine: %w", ctx.Err())
	}
	return f, nil
}

// Disk says how many bytes the file system of dir has, and how many of them a user who is not root may still write.
func Disk(dir string) (free, whole int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, fault.New(fault.Operator, "read free disk of", dir, "name a directory that exists with --data-dir", "%w", err)
	}
	block := int64(s.Bsize)
	return int64(s.Bavail) * block, int64(s.Blocks) * block, nil
}
