package main

import (
	"context"

	"timeferry/test/bench/rig"
)

// where is one more run of Timeferry, not counted, while the sessions of both servers were looked at.
type where struct {
	Run    runResult     `json:"run"`
	Source []rig.Waiting `json:"source"`
	Target []rig.Waiting `json:"target"`
}

// explain runs Timeferry with the jobs asked for, and samples.
func (w *world) explain(ctx context.Context) (found *where, err error) {
	t := &timeferryRun{world: w}
	c := contender{name: timeferry, jobs: w.jobs, before: t.start, run: t.copy, after: t.stop}
	found = &where{}
	copying := c.run
	c.run = func(ctx context.Context, jobs int) (o outcome, err error) {
		found.Source, found.Target, err = w.SampleBoth(ctx, func() (err error) {
			o, err = copying(ctx, jobs)
			return err
		})
		return o, err
	}
	found.Run, err = w.measure(ctx, c, 0)
	return found, err
}
