package machine

import (
	"math"

	"timeferry/internal/fault"
)

// EC2Type is a size of EC2 machine and how large a database it is for.
type EC2Type struct {
	Name        string
	CPUs        int
	MemoryBytes int64
	UpToBytes   int64 // of the database
}

// EC2Types is the table, smallest first: docs/rds.md has it too. They are of one family that every region has. A larger
// database gets more CPUs, for more streams of the copy, and the greater network and disk bandwidth that comes with them;
// memory is plentiful in all of them, since the worker's does not grow with the database.
var EC2Types = []EC2Type{
	{"m6i.large", 2, 8 * gib, 200 * gib},
	{"m6i.xlarge", 4, 16 * gib, 1024 * gib},
	{"m6i.2xlarge", 8, 32 * gib, 4096 * gib},
	{"m6i.4xlarge", 16, 64 * gib, math.MaxInt64},
}

const (
	minDiskGiB = 50
	maxDiskGiB = 65536 // the largest gp3 volume
)

// TypeFor is the type for a database of that size.
func TypeFor(databaseBytes int64) EC2Type {
	for _, t := range EC2Types {
		if databaseBytes <= t.UpToBytes {
			return t
		}
	}
	return EC2Types[len(EC2Types)-1]
}

// DiskGiB is the size of the machine's volume: 1.5 × the database, and 50 GiB at least.
func DiskGiB(databaseBytes int64) (int64, error) {
	need := DiskFor(databaseBytes)
	wanted := need / gib
	if need%gib != 0 {
		wanted++
	}
	if wanted > maxDiskGiB {
		return 0, fault.New(fault.Operator, "size a disk for a database of", Size(databaseBytes),
			"build the machine yourself, with several volumes as one file system", "1.5 × the database is %s, and the largest volume has 64 TiB", Size(DiskFor(databaseBytes)))
	}
	return max(minDiskGiB, wanted), nil
}
