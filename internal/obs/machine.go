package obs

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
)

// Machine is what the worker runs on. DiskFreeBytes is asked at each look, since the spool grows.
type Machine struct {
	CPUs          int
	MemoryBytes   int64
	DiskBytes     int64
	DiskFreeBytes func() (int64, error)
}

// RegisterMachine registers the metrics of the worker's machine; they have no label.
func RegisterMachine(registry prometheus.Registerer, m Machine) {
	gauge := func(name, help string, value func() float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "timeferry", Name: name, Help: help}, value))
	}
	fixed := func(value float64) func() float64 { return func() float64 { return value } }
	gauge("machine_cpus", "CPUs that the worker may use.", fixed(float64(m.CPUs)))
	gauge("machine_memory_bytes", "Memory that the worker may use.", fixed(float64(m.MemoryBytes)))
	gauge("machine_disk_bytes", "Size of the file system of the worker's data directory.", fixed(float64(m.DiskBytes)))
	gauge("machine_disk_free_bytes", "What is free there; NaN when it cannot be read.", func() float64 {
		free, err := m.DiskFreeBytes()
		if err != nil {
			return math.NaN()
		}
		return float64(free)
	})
}
