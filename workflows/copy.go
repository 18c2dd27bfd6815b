package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// copyRound is one run of the copy's streams, until no part is free. Each stream is an activity that takes part after part;
// more are begun and surplus ones end by themselves as the steering says.
type copyRound struct {
	m         *migration
	streams   []workflow.Future // by number, from 0; nil where none runs
	epochs    []int             // that each of them was begun in
	exhausted bool              // a stream found no free part any more
	nothingIn int               // the newest epoch that such a stream was begun in
	asBefore  bool              // the history is from before newEpochNewStreams
	failed    error             // of the first stream that failed
}

// copyStreams runs the streams side by side, and then asks the ledger how far the copy is.
func (m *migration) copyStreams(ctx workflow.Context) error {
	c := &copyRound{m: m}
	first := c.run(ctx)
	if first != nil && problemOf(first).Code == codeTableRewritten {
		first = m.renewSnapshot(ctx)
	}
	if first != nil {
		return first
	}
	return m.readCopyProgress(ctx)
}

func (m *migration) readCopyProgress(ctx workflow.Context) error {
	epoch := m.status.Copy.Epoch
	done := contract.CopyDone{CopyStatus: m.status.Copy}
	if err := workflow.ExecuteActivity(on(ctx, quick, "how far the copy is"), acts.CopyProgress, m.spec).Get(ctx, &done); err != nil {
		return err
	}
	m.status.Copy, m.report.CopiedTables = done.CopyStatus, done.Copied
	m.status.Copy.Epoch = epoch
	m.refresh(ctx)
	return nil
}

// run returns the error of the first stream that failed, once all have ended.
func (c *copyRound) run(ctx workflow.Context) error {
	for {
		c.begin(ctx)
		if c.running() == 0 && (c.exhausted || c.failed != nil) {
			return c.failed
		}
		err := workflow.Await(ctx, func() bool { return c.ended() || c.lacking() || c.outdated() })
		if err != nil && c.running() == 0 {
			return err
		}
		if err != nil { // cancelled: what follows must not race with the streams
			c.awaitAll(ctx)
			c.exhausted = true
		}
		c.collect(ctx)
		c.reopen(ctx)
	}
}

// outdated is true when no part was free before the present epoch began.
func (c *copyRound) outdated() bool {
	return c.exhausted && c.nothingIn < c.m.held.Epoch && !c.asBefore
}

// reopen begins the streams again that have ended, once a new epoch has made parts free: otherwise the one that happened to be at
// the last part would copy all that is to be copied again.
func (c *copyRound) reopen(ctx workflow.Context) {
	if ctx.Err() != nil || !c.outdated() {
		return
	}
	c.asBefore = !c.m.since(ctx, newEpochNewStreams)
	c.exhausted = c.asBefore
}

// wanted is how many streams there should be.
func (c *copyRound) wanted() int {
	// While an order is on its way to the ledger, a stream that is begun could still read the former one there.
	if c.exhausted || c.failed != nil || c.m.steering.Paused || c.m.steering != c.m.inForce {
		return 0
	}
	return c.m.inForce.Concurrency
}

// lacking is true when a wanted stream does not run.
func (c *copyRound) lacking() bool {
	for i := range c.wanted() {
		if i >= len(c.streams) || c.streams[i] == nil {
			return true
		}
	}
	return false
}

// begin begins the wanted streams that do not run.
func (c *copyRound) begin(ctx workflow.Context) {
	wanted := c.wanted()
	for i := range wanted {
		if i == len(c.streams) {
			c.streams, c.epochs = append(c.streams, nil), append(c.epochs, 0)
		}
		if c.streams[i] == nil {
			summary := fmt.Sprintf("stream %d of %d", i+1, wanted)
			input := contract.CopyInput{Spec: c.m.spec, Stream: i + 1, Streams: wanted}
			c.streams[i] = workflow.ExecuteActivity(on(ctx, bulk, summary), acts.CopyParts, input)
			c.epochs[i] = c.m.held.Epoch
		}
	}
}

func (c *copyRound) running() int {
	n := 0
	for _, f := range c.streams {
		if f != nil {
			n++
		}
	}
	return n
}

func (c *copyRound) ended() bool {
	for _, f := range c.streams {
		if f != nil && f.IsReady() {
			return true
		}
	}
	return false
}

// collect takes the results of the streams that have ended.
func (c *copyRound) collect(ctx workflow.Context) {
	for i, f := range c.streams {
		if f == nil || !f.IsReady() {
			continue
		}
		c.streams[i] = nil
		var result contract.CopyResult
		err := f.Get(ctx, &result)
		switch {
		case err == nil && !result.Stopped:
			c.exhausted, c.nothingIn = true, max(c.nothingIn, c.epochs[i])
		case err == nil:
		case c.failed == nil:
			c.failed = err
		}
	}
}

// awaitAll waits for the streams to end after they were cancelled.
func (c *copyRound) awaitAll(ctx workflow.Context) {
	for _, f := range c.streams {
		if f != nil {
			_ = f.Get(ctx, nil) // collect takes the result
		}
	}
}
