package rig

import (
	"time"

	"timeferry/internal/testkit/pgserver"
	"timeferry/test/bench/report"
)

// Meter measures wall time, and the processor time of the servers.
type Meter struct {
	rig            *Rig
	began          time.Time
	source, target float64
}

// StartMeter begins to measure.
func (r *Rig) StartMeter() (m *Meter, err error) {
	m = &Meter{rig: r}
	if m.source, m.target, err = m.servers(); err != nil {
		return nil, err
	}
	m.began = time.Now()
	return m, nil
}

func (m *Meter) servers() (source, target float64, err error) {
	if source, err = serverCPU(m.rig.Source); err != nil {
		return 0, 0, err
	}
	target, err = serverCPU(m.rig.Target)
	return source, target, err
}

func serverCPU(s *pgserver.Server) (float64, error) {
	pid, err := report.Postmaster(s.DataDir())
	if err != nil {
		return 0, err
	}
	return report.TreeCPU(pid)
}

// Stop says what was taken since StartMeter: wall time, and processor seconds of "source" and "target".
func (m *Meter) Stop() (seconds float64, cpu map[string]float64, err error) {
	seconds = time.Since(m.began).Seconds()
	source, target, err := m.servers()
	return seconds, map[string]float64{"source": report.Rounded(source - m.source), "target": report.Rounded(target - m.target)}, err
}
