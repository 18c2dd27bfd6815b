package capture

import (
	"time"

	"timeferry/internal/change"
)

// pace is how fast a position moves on. The zero value has not looked yet.
type pace struct {
	since time.Time
	at    change.LSN
	known bool
	rate  float64 // bytes of WAL a second between the last two looks that counted
}

// look notes the position, unless less than least has gone by since the last look.
func (p *pace) look(now time.Time, at change.LSN, least time.Duration) {
	apart := now.Sub(p.since)
	if !p.since.IsZero() {
		if apart < least {
			return
		}
		p.known, p.rate = true, float64(p.at.BytesBehind(at))/apart.Seconds()
	}
	p.since, p.at = now, at
}
