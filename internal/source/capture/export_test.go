package capture

import (
	"context"
	"time"

	"timeferry/internal/pgkit"
)

// SetBacklogLimits makes backlogs of a test's size worth taking in bulk, over several calls.
func (r *Receiver) SetBacklogLimits(drainFrom, drainTo, peekBytes, leastWindow, rereadMost int64) {
	r.limits = &backlogRule{drainFrom: drainFrom, drainTo: drainTo, peekBytes: peekBytes, leastWindow: leastWindow, rereadMost: rereadMost, blindWindow: peekBytes, askEvery: 200 * time.Millisecond}
}

// FollowByCalls makes the receiver follow any source by calls, once it takes a backlog in bulk.
func (r *Receiver) FollowByCalls() {
	r.limits.callEvery, r.limits.fastSource, r.streamed = 50*time.Millisecond, 1, 1
}

// SetLandmark has the source write down which transactions run, as for a slot that restarts far back. It waits for it.
func (r *Receiver) SetLandmark(ctx context.Context) error {
	conn, err := pgkit.Dial(ctx, r.Source, "receiver")
	if err != nil {
		return err
	}
	defer closeConn(conn.PgConn())
	state, err := readSlot(ctx, conn.PgConn(), r.Slot, true)
	if err != nil {
		return err
	}
	l := newLandmarks(ctx, r)
	defer l.close()
	return l.write(state)
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
