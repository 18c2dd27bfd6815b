package machine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/machine"
)

const gib = int64(1) << 30

func TestReadThisMachine(t *testing.T) {
	f, err := machine.Read(t.Context(), t.TempDir(), func(context.Context) machine.Place {
		return machine.Place{Region: "us-west-2", InstanceID: "i-1", InstanceType: "m6i.large"}
	})
	require.NoError(t, err)
	require.Positive(t, f.CPUs)
	require.LessOrEqual(t, f.CPUs, runtime.NumCPU())
	require.Greater(t, f.MemoryBytes, int64(64<<20))
	require.Positive(t, f.DiskFreeBytes)
	require.GreaterOrEqual(t, f.DiskBytes, f.DiskFreeBytes)
	require.Equal(t, [3]string{"us-west-2", "i-1", "m6i.large"}, [3]string{f.Region, f.InstanceID, f.InstanceType})
}

func TestReadNamesTheDirectoryThatIsMissing(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	_, err := machine.Read(t.Context(), missing, nil)
	require.ErrorContains(t, err, missing)
	require.Equal(t, fault.Operator, fault.Classify(err))
}

// TestLimitsOfControlGroups reads made-up trees of the kernel's files.
func TestLimitsOfControlGroups(t *testing.T) {
	const meminfo = "MemTotal:       16000000 kB\nMemFree:  1 kB\n"
	for name, c := range map[string]struct {
		files  map[string]string
		cpus   int
		memory int64
	}{
		"none":                    {map[string]string{}, runtime.NumCPU(), 16000000 << 10},
		"unlimited":               {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, runtime.NumCPU(), 16000000 << 10},
		"unified, in a container": {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "4294967296\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1, 4 << 30},
		"a group above limits":    {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "1073741824\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, runtime.NumCPU(), 1 << 30},
		"the older form": {map[string]string{"proc/self/cgroup": "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "2147483648\n", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, 1, 2 << 30},
		"the older form, unlimited": {map[string]string{"proc/self/cgroup": "4:memory:/\n3:cpu:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, runtime.NumCPU(), 16000000 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			c.files["proc/meminfo"] = meminfo
			for file, content := range c.files {
				require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, file)), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(root, file), []byte(content), 0o600))
			}
			cpus, memory, err := machine.Limits(root)
			require.NoError(t, err)
			require.Equal(t, c.cpus, cpus)
			require.Equal(t, c.memory, memory)
		})
	}
	_, _, err := machine.Limits(t.TempDir())
	require.ErrorContains(t, err, "meminfo")
}

func TestCompare(t *testing.T) {
	need := machine.NeedOf(100*gib, true)
	require.Equal(t, machine.Need{CPUs: 2, MemoryBytes: 8 * gib, DiskBytes: 150 * gib}, need)
	// What an m6i.large with a volume of 150 GiB shows.
	enough := machine.Facts{CPUs: 2, MemoryBytes: 7_900_000 << 10, DiskFreeBytes: 141 * gib, DiskBytes: 148 * gib, Region: "us-west-2", InstanceID: "i-1"}
	require.Empty(t, machine.Compare(enough, need, "us-west-2", "warn"))

	small := machine.Facts{CPUs: 1, MemoryBytes: 4 * gib, DiskFreeBytes: 20*gib + gib/2, DiskBytes: 30 * gib, Region: "eu-west-1"}
	found := machine.Compare(small, need, "us-west-2", "warn")
	requireFinding(t, found, machine.CodeCPUs, contract.Warning, "1 CPU, and 2 are needed")
	requireFinding(t, found, machine.CodeMemory, contract.Warning, "4 GiB of memory, and 8 GiB are needed")
	requireFinding(t, found, machine.CodeDisk, contract.Warning, "20.5 GiB of 30 GiB are free", "150 GiB (1.5 × the database)")
	requireFinding(t, found, machine.CodeRegion, contract.Warning, "eu-west-1", "us-west-2")
	require.Len(t, found, 4)

	required := machine.Compare(small, need, "us-west-2", "require")
	require.Len(t, required, 4)
	for _, p := range required {
		require.Equal(t, contract.Fatal, p.Severity)
		require.NotEmpty(t, p.Remedy)
		require.Equal(t, "worker", p.Object)
	}
	require.Empty(t, machine.Compare(small, need, "us-west-2", "skip"))
	require.Len(t, machine.Compare(small, need, "", "warn"), 3, "a database that is not on RDS has no region")

	unknown := enough
	unknown.Region = ""
	requireFinding(t, machine.Compare(unknown, need, "us-west-2", "warn"), machine.CodeRegion, contract.Warning, "cannot be told")

	small.Region = "us-west-2"
	small.CPUs, small.MemoryBytes = 2, 8*gib
	require.Empty(t, machine.Compare(small, machine.NeedOf(100*gib, false), "us-west-2", "warn"), "without a spool the disk does not matter")
}

func requireFinding(t *testing.T, found []contract.Problem, code string, severity contract.Severity, parts ...string) {
	t.Helper()
	for _, p := range found {
		if p.Code != code {
			continue
		}
		require.Equal(t, severity, p.Severity)
		for _, part := range parts {
			require.Contains(t, p.Message, part)
		}
		return
	}
	require.Fail(t, "no finding", code)
}

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		database int64
		name     string
		disk     int64
	}{
		{0, "m6i.large", 50}, {10 * gib, "m6i.large", 50}, {40 * gib, "m6i.large", 60}, {40*gib + 1, "m6i.large", 61},
		{200 * gib, "m6i.large", 300}, {200*gib + 1, "m6i.xlarge", 301}, {1024 * gib, "m6i.xlarge", 1536},
		{2048 * gib, "m6i.2xlarge", 3072}, {16384 * gib, "m6i.4xlarge", 24576},
	} {
		require.Equal(t, c.name, machine.TypeFor(c.database).Name)
		disk, err := machine.DiskGiB(c.database)
		require.NoError(t, err)
		require.Equal(t, c.disk, disk)
	}
	for _, tooLarge := range []int64{65536 * gib, math.MaxInt64} {
		_, err := machine.DiskGiB(tooLarge)
		require.ErrorContains(t, err, "64 TiB")
	}
	for _, e := range machine.EC2Types {
		require.Empty(t, machine.Compare(machine.Facts{CPUs: e.CPUs, MemoryBytes: e.MemoryBytes - e.MemoryBytes/20}, machine.NeedOf(0, false), "", "require"), e.Name)
	}
}

// TestSizesAreDocumented compares the table of docs/rds.md with the code's.
func TestSizesAreDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/rds.md")
	require.NoError(t, err)
	for _, e := range machine.EC2Types {
		upTo := "above"
		if e.UpToBytes != math.MaxInt64 {
			upTo = "up to " + machine.Size(e.UpToBytes)
		}
		require.Contains(t, string(docs), fmt.Sprintf("| %s | `%s` | %d | %s |\n", upTo, e.Name, e.CPUs, machine.Size(e.MemoryBytes)))
	}
}

func TestFactsLeaveOutWhatIsNotKnown(t *testing.T) {
	text, err := json.Marshal(machine.Facts{CPUs: 2})
	require.NoError(t, err)
	require.JSONEq(t, `{"cpus":2}`, string(text))
}
