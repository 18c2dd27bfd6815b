package contract

import (
	"fmt"
	"time"
)

// Bounds of what copies and builds at the same time, in the spec and in set-concurrency alike.
const (
	MaxConcurrency = 256
	MaxIndexJobs   = 64
)

// BackOff holds the copy's streams between two parts while the source has more to do than it says. A zero value sets no limit.
type BackOff struct {
	// ReplicaLag is the replay lag of the source's own standbys, like "30s".
	ReplicaLag string `json:"replicaLag,omitempty"`
	// ActiveSessions are those of the server that run a statement, our own left out.
	ActiveSessions int `json:"activeSessions,omitempty"`
	// CPUCredits is the balance below which a burstable RDS instance is spared, by CloudWatch's CPUCreditBalance.
	CPUCredits int `json:"cpuCredits,omitempty"`
}

// MaxReplicaLag is BackOff.ReplicaLag, 0 for no limit.
func (b BackOff) MaxReplicaLag() time.Duration { d, _ := time.ParseDuration(b.ReplicaLag); return d }

// RateBytes is Copy.MaxBytesPerSecond in bytes, 0 for no bound.
func (c Copy) RateBytes() int64 { n, _ := ParseBytes(c.MaxBytesPerSecond); return n }

// minRate keeps a mistyped unit from making a copy that never ends.
const minRate = 64 << 10

func (c Copy) validate(onRDS bool) error {
	if c.Concurrency < 1 || c.Concurrency > MaxConcurrency {
		return badSpec("copy.concurrency", fmt.Sprintf("choose 1 to %d", MaxConcurrency), "%d is out of range", c.Concurrency)
	}
	if c.IndexJobs < 1 || c.IndexJobs > MaxIndexJobs {
		return badSpec("copy.indexJobs", fmt.Sprintf("choose 1 to %d", MaxIndexJobs), "%d is out of range", c.IndexJobs)
	}
	if c.MaxBytesPerSecond != "" {
		if n, err := ParseBytes(c.MaxBytesPerSecond); err != nil || n < minRate {
			return badSpec("copy.maxBytesPerSecond", "write the bytes of one second, 64KiB or more, like 50MiB", "%q is no such rate", c.MaxBytesPerSecond)
		}
	}
	if c.BackOff == nil {
		return nil
	}
	if c.BackOff.ReplicaLag != "" {
		if d, err := time.ParseDuration(c.BackOff.ReplicaLag); err != nil || d <= 0 {
			return badSpec("copy.backOff.replicaLag", "write a duration like 30s or 2m", "%q is none", c.BackOff.ReplicaLag)
		}
	}
	if c.BackOff.ActiveSessions < 0 {
		return badSpec("copy.backOff.activeSessions", "choose 1 or more, or leave it out", "%d is out of range", c.BackOff.ActiveSessions)
	}
	switch {
	case c.BackOff.CPUCredits < 0:
		return badSpec("copy.backOff.cpuCredits", "choose 1 or more, or leave it out", "%d is out of range", c.BackOff.CPUCredits)
	case c.BackOff.CPUCredits > 0 && !onRDS:
		return badSpec("copy.backOff.cpuCredits", "name the instance under source.rds, or leave it out", "it is for a source on RDS")
	case *c.BackOff == (BackOff{}):
		return badSpec("copy.backOff", "give replicaLag, activeSessions, cpuCredits or several, or leave it out", "it sets no limit")
	}
	return nil
}

// Steering is what people may change while rows are copied and indexes are built. Serial grows with each order, so that a
// late order never undoes a newer one.
type Steering struct {
	Serial      int  `json:"serial"`
	Paused      bool `json:"paused"`
	Concurrency int  `json:"concurrency"`
	IndexJobs   int  `json:"indexJobs"`
}

// SteerInput asks to put the steering into force.
type SteerInput struct {
	Spec
	Steering Steering `json:"steering"`
}

// CopyInput begins one stream of the copy: number Stream, from 1, of Streams. Both are 0 for a stream that a version without
// steering has begun.
type CopyInput struct {
	Spec
	Stream  int `json:"stream,omitempty"`
	Streams int `json:"streams,omitempty"`
}

// CopyResult is how a stream ended: Stopped by the steering, or because no part was free any more.
type CopyResult struct {
	Stopped bool `json:"stopped,omitempty"`
}

// ConcurrencyProblem says what is wrong with a note for set-concurrency, or "".
func (n Note) ConcurrencyProblem() string {
	switch {
	case n.Copy == 0 && n.IndexJobs == 0:
		return `say how many: {"copy": 8}, {"indexJobs": 2} or both`
	case n.Copy < 0 || n.Copy > MaxConcurrency:
		return fmt.Sprintf("copy: %d is out of range, choose 1 to %d", n.Copy, MaxConcurrency)
	case n.IndexJobs < 0 || n.IndexJobs > MaxIndexJobs:
		return fmt.Sprintf("indexJobs: %d is out of range, choose 1 to %d", n.IndexJobs, MaxIndexJobs)
	}
	return ""
}
