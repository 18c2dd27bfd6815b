package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"timeferry/internal/fault"
)

// limits are what the processes of this worker may use.
type limits struct {
	cpus   int
	memory int64
}

// readLimits reads the kernel's files below root ("/", but for tests). A control group never has more than the machine.
func readLimits(root string) (limits, error) {
	out := limits{cpus: runtime.NumCPU()}
	text, err := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return out, fault.New(fault.Operator, "read memory of", "this machine", "run the worker on Linux", "%w", err)
	}
	if out.memory, err = totalMemory(string(text)); err != nil {
		return out, err
	}
	for _, dir := range controlGroups(root) {
		if err := out.lower(dir); err != nil {
			return out, err
		}
	}
	return out, nil
}

// totalMemory reads the line "MemTotal:  8000000 kB".
func totalMemory(meminfo string) (int64, error) {
	for line := range strings.Lines(meminfo) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "MemTotal:" {
			continue
		}
		if kib, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
			return kib << 10, nil
		}
	}
	return 0, fault.New(fault.Bug, "read memory of", "this machine", "", "/proc/meminfo has no line MemTotal that can be read")
}

// controlGroups lists the directories whose limits hold for this process: its group and every one above, in the unified
// hierarchy and in the older ones for cpu and memory. Inside a container the path of /proc/self/cgroup may be the host's and
// not exist here; the root of the mounted hierarchy, which is always among them, then is the container's own group.
func controlGroups(root string) []string {
	text, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return nil // a kernel without control groups limits nothing
	}
	var dirs []string
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3) // hierarchy:controllers:path
		if len(parts) != 3 {
			continue
		}
		mounts := []string{""}
		if parts[1] != "" {
			mounts = strings.Split(parts[1], ",")
			mounts = append(mounts, parts[1]) // cpu,cpuacct are mounted as one
		}
		for _, mount := range mounts {
			for group := path.Clean("/" + parts[2]); ; group = path.Dir(group) {
				dirs = append(dirs, filepath.Join(root, "sys/fs/cgroup", mount, group))
				if group == "/" {
					break
				}
			}
		}
	}
	return dirs
}

// lower takes in the limits of one control group, where it has any.
func (l *limits) lower(dir string) error {
	for _, file := range []string{"memory.max", "memory.limit_in_bytes"} {
		text, err := readIfThere(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		// "max", or in the older form a number above any machine's memory, is no limit.
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 {
			l.memory = min(l.memory, n)
		}
	}
	quota, period, err := cpuQuota(dir)
	if err != nil {
		return err
	}
	if quota > 0 && period > 0 {
		l.cpus = min(l.cpus, max(1, int(quota/period))) // one and a half CPUs are not two
	}
	return nil
}

// cpuQuota gives the microseconds of CPU time per period; 0 is no limit.
func cpuQuota(dir string) (quota, period int64, err error) {
	text, err := readIfThere(filepath.Join(dir, "cpu.max")) // "200000 100000" or "max 100000"
	if err != nil {
		return 0, 0, err
	}
	quotaText, periodText, unified := strings.Cut(text, " ")
	if !unified {
		if quotaText, err = readIfThere(filepath.Join(dir, "cpu.cfs_quota_us")); err != nil {
			return 0, 0, err
		}
		if periodText, err = readIfThere(filepath.Join(dir, "cpu.cfs_period_us")); err != nil {
			return 0, 0, err
		}
	}
	quota, quotaErr := strconv.ParseInt(quotaText, 10, 64)
	period, periodErr := strconv.ParseInt(periodText, 10, 64)
	if quotaErr != nil || periodErr != nil {
		return 0, 0, nil // "max", or no file: no limit
	}
	return quota, period, nil
}

// readIfThere gives the trimmed content, or "" for a file that is not there or not for us to read.
func readIfThere(file string) (string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read limits of the machine: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
