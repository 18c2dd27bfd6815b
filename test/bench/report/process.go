package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Postmaster is the process that a data directory belongs to.
func Postmaster(dataDir string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(strings.TrimSpace(first))
}

// ticks is how many of the units in /proc/PID/stat make a second: the kernel's interface says 100 on all machines of ours.
const ticks = 100

// TreeCPU is the processor seconds that a process and its descendants have taken, the ended ones among them.
func TreeCPU(pid int) (float64, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	taken, children := map[int]int64{}, map[int][]int{}
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended: its parent has its time
		}
		id, parent, n, err := parseStat(string(text))
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", file, err)
		}
		taken[id] = n
		children[parent] = append(children[parent], id)
	}
	if _, ok := taken[pid]; !ok {
		return 0, fmt.Errorf("process %d is gone", pid)
	}
	var sum int64
	for next := []int{pid}; len(next) > 0; next = next[1:] {
		sum += taken[next[0]]
		next = append(next, children[next[0]]...)
	}
	return float64(sum) / ticks, nil
}

// PeakMemory is the most memory, in bytes, that a process has had resident in its life so far.
func PeakMemory(pid int) (int64, error) {
	text := field(fmt.Sprintf("/proc/%d/status", pid), "VmHWM")
	kB, err := strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	return kB << 10, nil
}

// parseStat reads a process's number, its parent's, and the time that it and its ended children have taken. The name between
// them may hold anything, even brackets.
func parseStat(text string) (pid, parent int, taken int64, err error) {
	head, _, _ := strings.Cut(text, " ")
	if pid, err = strconv.Atoi(head); err != nil {
		return 0, 0, 0, err
	}
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 15 {
		return 0, 0, 0, fmt.Errorf("%d fields are too few", len(fields))
	}
	if parent, err = strconv.Atoi(fields[1]); err != nil {
		return 0, 0, 0, err
	}
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, 0, 0, err
		}
		taken += n
	}
	return pid, parent, taken, nil
}
