package capture

import (
	"context"
	"time"
)

// SetBacklogLimits makes backlogs of a test's size worth taking in bulk, over several calls.
func (r *Receiver) SetBacklogLimits(drainFrom, drainTo, peekBytes, leastWindow, rereadMost int64) {
	r.limits = &backlogRule{drainFrom: drainFrom, drainTo: drainTo, peekBytes: peekBytes, leastWindow: leastWindow, rereadMost: rereadMost, blindWindow: peekBytes, askEvery: 200 * time.Millisecond}
}

// OnlyStream keeps the receiver from taking anything in bulk.
func (r *Receiver) OnlyStream() { r.noBulk = true }

// SetFailpoint calls at when the receiver comes by one of its places: "reading", "peeked", "durable", "advanced" of a drain.
func (r *Receiver) SetFailpoint(at func(place string)) { r.failpoint = at }

// LeftAt is leftAt.
var LeftAt = leftAt

// TableOf asks one catalogue, each time anew, under which table's name a table's changes go.
func (r *Receiver) TableOf(ctx context.Context) func(schema, name string) (string, error) {
	c := &catalogue{ctx: ctx, r: r}
	return func(schema, name string) (string, error) {
		t, _, err := c.Table(schema, name, true)
		return t.Name, err
	}
}
