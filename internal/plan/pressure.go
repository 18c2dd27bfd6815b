package plan

import (
	"fmt"
	"time"

	"timeferry/internal/contract"
)

// Pressure is how busy the source is with what is not ours. source/prepare reads it.
type Pressure struct {
	// ReplicaLag is the largest replay lag of the server's own standbys.
	ReplicaLag time.Duration
	// ActiveSessions run a statement.
	ActiveSessions int
	// CPUCredits is the credit balance of a burstable RDS instance; nil where there is none, or nobody asked.
	CPUCredits *float64
}

// TooMuch says in words by what the limits are exceeded, "" when they are not.
func (p Pressure) TooMuch(limits contract.BackOff) string {
	if limit := limits.MaxReplicaLag(); limit > 0 && p.ReplicaLag > limit {
		return fmt.Sprintf("a standby of the source is %s behind, copy.backOff.replicaLag is %s", p.ReplicaLag.Round(time.Second), limit)
	}
	if limit := limits.ActiveSessions; limit > 0 && p.ActiveSessions > limit {
		return fmt.Sprintf("%d sessions are active on the source, copy.backOff.activeSessions is %d", p.ActiveSessions, limit)
	}
	if limit := limits.CPUCredits; limit > 0 && p.CPUCredits != nil && *p.CPUCredits < float64(limit) {
		return fmt.Sprintf("the source has %.0f CPU credits left, copy.backOff.cpuCredits is %d", *p.CPUCredits, limit)
	}
	return ""
}
