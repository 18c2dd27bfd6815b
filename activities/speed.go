package activities

import "time"

// speedWindow is what the present speed is measured over: long enough to show no single pause, short enough to follow a change.
const speedWindow = 20 * time.Second

// speed measures how fast a growing number grows at present. Its zero value is ready.
type speed struct{ samples []sample }

type sample struct {
	at    time.Time
	value int64
}

// add notes the value at a time that is not before the last one's. Of each second one sample is enough.
func (s *speed) add(at time.Time, value int64) {
	if n := len(s.samples); n > 1 && s.samples[n-1].at.Sub(s.samples[n-2].at) < time.Second {
		s.samples = s.samples[:n-1]
	}
	s.samples = append(s.samples, sample{at, value})
	drop := 0
	for drop < len(s.samples)-2 && at.Sub(s.samples[drop+1].at) >= speedWindow {
		drop++
	}
	s.samples = append(s.samples[:0], s.samples[drop:]...)
}

// perSecond is the speed, 0 while it is not known.
func (s *speed) perSecond(now time.Time) int64 {
	if len(s.samples) < 2 {
		return 0
	}
	first, last := s.samples[0], s.samples[len(s.samples)-1]
	elapsed := now.Sub(first.at).Seconds()
	if elapsed <= 0 {
		return 0
	}
	return int64(float64(last.value-first.value) / elapsed)
}
