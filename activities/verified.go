package activities

import (
	"context"
	"time"

	"timeferry/internal/contract"
	"timeferry/internal/obs"
	"timeferry/internal/verify"
)

// run compares, and counts what came of it. One that is cancelled, or whose worker stops, has not ended.
func (c *tableComparison) run(ctx context.Context) (contract.Verification, error) {
	began := time.Now()
	o, err := verify.Run(ctx, c.options)
	if ctx.Err() == nil {
		c.metrics.Verified(c.migration, comparisonOf(o, err, time.Since(began)))
	}
	if err != nil {
		return contract.Verification{}, err
	}
	return verificationOf(c.options.Name, c.options.Method, o), nil
}

func comparisonOf(o verify.Outcome, err error, took time.Duration) obs.Comparison {
	out := obs.Comparison{Result: obs.ResultEqual, Seconds: took.Seconds()}
	if err != nil {
		out.Result = obs.ResultFailed
		return out
	}
	for _, t := range o.Tables {
		if t.Skipped {
			continue
		}
		out.Chunks += t.Read
		out.Relied += t.Chunks - t.Read
		out.Differences += t.Differing
		if !t.Equal || t.Unequal {
			out.Result = obs.ResultDiffers
		}
	}
	return out
}
