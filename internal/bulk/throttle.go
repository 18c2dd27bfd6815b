package bulk

import (
	"context"
	"sync"
	"time"
)

// Limit lets so many bytes a second pass, of all streams together that share it. The rate may change while they wait. Safe
// for concurrent use.
type Limit struct {
	mu             sync.Mutex
	perSecond      float64
	at             time.Time // of the last look
	passed, earned float64   // bytes: that have passed, and that were free to pass by then
}

const (
	// limitSlack is how much idle time may be made up for.
	limitSlack = 100 * time.Millisecond
	// limitNap is how long a waiting stream sleeps until it reckons anew, since the rate may have changed.
	limitNap = 250 * time.Millisecond
)

// NewLimit returns nil, which never waits, for no limit.
func NewLimit(perSecond int64) *Limit {
	if perSecond <= 0 {
		return nil
	}
	return &Limit{perSecond: float64(perSecond)}
}

// SetRate changes the limit, also for streams that wait already; less than one byte a second is one.
func (l *Limit) SetRate(perSecond int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.earn(time.Now())
	l.perSecond = float64(max(perSecond, 1))
}

// earn is called with the lock held.
func (l *Limit) earn(now time.Time) {
	l.earned += now.Sub(l.at).Seconds() * l.perSecond
	l.earned = min(l.earned, l.passed+limitSlack.Seconds()*l.perSecond)
	l.at = now
}

// pay notes that bytes pass now. The stream may go on once as much is earned as it returns.
func (l *Limit) pay(now time.Time, bytes int) (due float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.earn(now)
	l.passed += float64(bytes)
	return l.passed
}

// until is how long to wait at the present rate until as much is earned.
func (l *Limit) until(now time.Time, due float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.earn(now)
	return time.Duration((due - l.earned) / l.perSecond * float64(time.Second))
}

// wait is pay and the waiting.
func (l *Limit) wait(ctx context.Context, bytes int) error {
	due := l.pay(time.Now(), bytes)
	for {
		pause := l.until(time.Now(), due)
		if pause <= 0 {
			return ctx.Err()
		}
		timer := time.NewTimer(min(pause, limitNap))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}
