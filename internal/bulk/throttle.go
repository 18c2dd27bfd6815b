package bulk

import (
	"context"
	"time"
)

// throttle lets so many bytes a second pass. Not safe for concurrent use.
type throttle struct {
	perSecond int64
	next      time.Time // when the bytes that passed so far are paid for
}

// throttleSlack is how much idle time may be made up for.
const throttleSlack = 100 * time.Millisecond

// newThrottle returns nil, which never waits, for no limit.
func newThrottle(perSecond int64) *throttle {
	if perSecond <= 0 {
		return nil
	}
	return &throttle{perSecond: perSecond}
}

// pay notes that bytes pass now, and returns how long to wait before more do.
func (t *throttle) pay(now time.Time, bytes int) time.Duration {
	if earliest := now.Add(-throttleSlack); t.next.Before(earliest) {
		t.next = earliest
	}
	t.next = t.next.Add(time.Duration(float64(bytes) / float64(t.perSecond) * float64(time.Second)))
	return t.next.Sub(now)
}

// wait is pay and the waiting.
func (t *throttle) wait(ctx context.Context, bytes int) error {
	pause := t.pay(time.Now(), bytes)
	if pause <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
