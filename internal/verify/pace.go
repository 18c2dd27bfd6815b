package verify

import (
	"context"
	"sync"
	"time"

	"timeferry/internal/pgkit"
)

// pace lets so many bytes a second be read, by all workers together. Each pays for what it is about to read. nil never waits.
type pace struct {
	perSecond int64
	mu        sync.Mutex
	next      time.Time // when what was read so far is paid for
}

func newPace(perSecond int64) *pace {
	if perSecond <= 0 {
		return nil
	}
	return &pace{perSecond: perSecond}
}

// wait returns when the bytes before these are paid for.
func (p *pace) wait(ctx context.Context, bytes int64) error {
	if p == nil {
		return ctx.Err()
	}
	return pgkit.Sleep(ctx, p.pay(time.Now(), bytes))
}

func (p *pace) pay(now time.Time, bytes int64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next.Before(now) {
		p.next = now
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(bytes) / float64(p.perSecond) * float64(time.Second)))
	return wait
}
