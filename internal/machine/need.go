package machine

import (
	"fmt"
	"math"

	"timeferry/internal/contract"
)

// Codes of the findings.
const (
	CodeCPUs   = "machine-cpus"
	CodeMemory = "machine-memory"
	CodeDisk   = "machine-disk"
	CodeRegion = "machine-region"
)

// Modes of prepare.machine.
const (
	ModeWarn    = "warn"
	ModeRequire = "require"
	ModeSkip    = "skip"
)

const (
	gib = int64(1) << 30
	// neededCPUs and neededMemory are what the procedure asks of the machine, for any database.
	neededCPUs   = 2
	neededMemory = 8 * gib
)

// Need is what a database asks of the machine.
type Need struct {
	CPUs        int   `json:"cpus"`
	MemoryBytes int64 `json:"memoryBytes"`
	DiskBytes   int64 `json:"diskBytes"` // 0: no spool on this machine
}

// NeedOf says what a database of that size needs. With bufferOnDisk the changes that come in while it is copied are kept on
// the machine's disk: 1.5 × the database.
func NeedOf(databaseBytes int64, bufferOnDisk bool) Need {
	n := Need{CPUs: neededCPUs, MemoryBytes: neededMemory}
	if bufferOnDisk {
		n.DiskBytes = DiskFor(databaseBytes)
	}
	return n
}

// DiskFor is 1.5 × the database.
func DiskFor(databaseBytes int64) int64 {
	if databaseBytes > math.MaxInt64/2 {
		return math.MaxInt64
	}
	return databaseBytes + databaseBytes/2
}

// shown is what a machine or a disk sold with n bytes is sure to show: kernel, system and file system take up to a tenth.
func shown(n int64) int64 { return n - n/10 }

// Compare lists where the machine falls short of the need. The findings are warnings, with mode "require" errors, with "skip"
// there are none. An empty databaseRegion is a database that is not on RDS.
func Compare(f Facts, n Need, databaseRegion, mode string) []contract.Problem {
	if mode == ModeSkip {
		return nil
	}
	severity := contract.Warning
	if mode == ModeRequire {
		severity = contract.Fatal
	}
	found := []contract.Problem{}
	add := func(code, remedy, format string, args ...any) {
		found = append(found, contract.Problem{Severity: severity, Code: code, Object: object(f), Message: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	if f.CPUs < n.CPUs {
		add(CodeCPUs, "run the worker on a machine with "+cpus(n.CPUs)+" or more", "the worker's machine has %s, and %d are needed", cpus(f.CPUs), n.CPUs)
	}
	if f.MemoryBytes < shown(n.MemoryBytes) {
		add(CodeMemory, "run the worker on a machine with "+Size(n.MemoryBytes)+" of memory or more", "the worker's machine has %s of memory, and %s are needed",
			Size(f.MemoryBytes), Size(n.MemoryBytes))
	}
	if f.DiskFreeBytes < shown(n.DiskBytes) {
		add(CodeDisk, "make room, give the worker a --data-dir on a larger disk, or grow the disk", "%s of %s are free where the worker keeps the changes, and %s (1.5 × the database) are needed",
			Size(f.DiskFreeBytes), Size(f.DiskBytes), Size(n.DiskBytes))
	}
	switch {
	case databaseRegion == "" || f.Region == databaseRegion:
	case f.Region == "":
		add(CodeRegion, "run the worker in region "+databaseRegion+"; in a container, allow a hop limit of 2 to the metadata service",
			"it cannot be told where the worker's machine is, since no EC2 metadata service answers; the database is in %s", databaseRegion)
	default:
		add(CodeRegion, "run the worker in region "+databaseRegion, "the worker's machine is in %s, and the database in %s: the way is longer, and AWS charges for it", f.Region, databaseRegion)
	}
	return found
}

// object names the machine.
func object(f Facts) string {
	if f.InstanceID != "" {
		return f.InstanceID
	}
	return "worker"
}

func cpus(n int) string {
	if n == 1 {
		return "1 CPU"
	}
	return fmt.Sprintf("%d CPUs", n)
}

// Size is a number of bytes as people say it: "7.6 GiB".
func Size(n int64) string {
	for _, unit := range []struct {
		name  string
		bytes int64
	}{{"TiB", 1 << 40}, {"GiB", gib}, {"MiB", 1 << 20}} {
		if n < unit.bytes {
			continue
		}
		if n%unit.bytes == 0 {
			return fmt.Sprintf("%d %s", n/unit.bytes, unit.name)
		}
		return fmt.Sprintf("%.1f %s", float64(n)/float64(unit.bytes), unit.name)
	}
	return fmt.Sprintf("%d bytes", n)
}
