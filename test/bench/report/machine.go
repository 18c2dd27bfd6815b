package report

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Machine is what the numbers were measured on.
type Machine struct {
	CPUs        int    `json:"cpus"`
	CPU         string `json:"cpu"`
	MemoryBytes int64  `json:"memoryBytes"`
	Kernel      string `json:"kernel"`
	System      string `json:"system"`
}

// ReadMachine leaves out what the kernel does not tell.
func ReadMachine() Machine {
	m := Machine{CPUs: runtime.NumCPU(), CPU: field("/proc/cpuinfo", "model name"), System: strings.Trim(field("/etc/os-release", "PRETTY_NAME"), `"`)}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(kernel))
	}
	if kB, err := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64); err == nil {
		m.MemoryBytes = kB << 10
	}
	return m
}

// field is the value of the first line "name: value" or "name=value" of a file.
func field(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, name)
		if rest = strings.TrimSpace(rest); ok && rest != "" && (rest[0] == ':' || rest[0] == '=') {
			return strings.TrimSpace(rest[1:])
		}
	}
	return ""
}
