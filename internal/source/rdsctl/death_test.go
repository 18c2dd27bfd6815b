package rdsctl_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/fault"
	"timeferry/internal/source/rdsctl"
)

// preparation is what a migration does with RDS, step by step. After a death the step is done again, as Temporal does it
// with an activity, or everything from the beginning, as a new migration does.
type preparation struct {
	world
	in   rdsctl.Instance
	plan rdsctl.GroupPlan
	done int
}

func (p *preparation) run(ctx context.Context) error {
	steps := []func() error{
		func() (err error) { p.in, err = p.client.Inspect(ctx, p.db); return err },
		func() error {
			if err := p.client.CheckReady(ctx, p.in); fault.Classify(err) != fault.NotReady {
				return err
			}
			return nil // Attach and Reboot wait for that
		},
		func() (err error) {
			p.plan, err = p.client.PlanGroup(ctx, p.in, "shop-timeferry", rdsctl.Required(15))
			return err
		},
		func() error { return p.client.ApplyGroup(ctx, p.in, p.plan, "m") },
		func() (err error) {
			if p.plan.NeedsAttach {
				_, err = p.client.Attach(ctx, p.db, p.plan.Group, nil)
			}
			return err
		},
		func() (err error) {
			if p.plan.NeedsReboot {
				_, err = p.client.Reboot(ctx, p.db, noLimit, nil)
			}
			return err
		},
	}
	for p.done < len(steps) {
		if err := steps[p.done](); err != nil {
			return err
		}
		p.done++
	}
	return nil
}

// dieAt ends ctx when that call has taken effect and before its answer is read. To die before the next call is the same.
func (p *preparation) dieAt(ctx context.Context, call int) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	var mu sync.Mutex
	seen := 0
	p.front.set(func(f *front) {
		f.after = func(string) {
			mu.Lock()
			defer mu.Unlock()
			if seen++; seen == call {
				cancel()
			}
		}
	})
	return ctx
}

// outcome is what is left in the end.
func (p *preparation) outcome(ctx context.Context) (string, error) {
	in, err := p.client.Inspect(ctx, p.db)
	if err != nil {
		return "", err
	}
	values, _, err := p.client.GroupValues(ctx, in)
	if err != nil {
		return "", err
	}
	have := map[string]string{}
	for name := range rdsctl.Required(15) {
		have[name] = values[name]
	}
	if !maps.Equal(have, rdsctl.Required(15)) {
		return "", fmt.Errorf("the group has %v", have)
	}
	made := map[string]int{}
	for _, c := range p.simulator.Log() {
		for _, word := range []string{"Create", "Copy", "Reboot"} {
			if strings.HasPrefix(c.Action, word) && c.Code == "" {
				made[word]++
			}
		}
	}
	return fmt.Sprint(in.ParameterGroup, " ", in.Status, " ", in.ApplyStatus, " ", made, " ", p.server.count()), nil
}

const goodOutcome = "shop-timeferry available in-sync map[Create:1 Reboot:1] 1"

// fixtures makes a world of each kind.
var fixtures = map[string]func(*testing.T) world{
	"instance":         func(t *testing.T) world { return newTimedFixture(t, quick, nil) },
	"aurora":           func(t *testing.T) world { return newClusterFixture(t, quick, "aurora-postgresql") },
	"multi-az-cluster": func(t *testing.T) world { return newClusterFixture(t, quick, "postgres") },
}

// TestDyingAtEveryCall walks through every call as the point of death and goes on: nothing is done twice.
func TestDyingAtEveryCall(t *testing.T) {
	for kind, fixture := range fixtures {
		t.Run(kind, func(t *testing.T) {
			whole := &preparation{world: fixture(t)}
			require.NoError(t, whole.run(t.Context()))
			calls := len(whole.simulator.Log())
			have, err := whole.outcome(t.Context())
			require.NoError(t, err)
			require.Equal(t, goodOutcome, have)

			var all sync.WaitGroup
			slots := make(chan struct{}, 12)
			for call := 1; call <= calls; call++ {
				for _, anew := range []bool{false, true} {
					p := &preparation{world: fixture(t)} // here: it sets the environment
					all.Go(func() {
						slots <- struct{}{}
						defer func() { <-slots }()
						if err := p.dieAndGoOn(t.Context(), call, anew); err != nil {
							t.Errorf("death at call %d, anew %v: %v\n%s", call, anew, err, strings.Join(p.writes(), "\n"))
						}
					})
				}
			}
			all.Wait()
		})
	}
}

func (p *preparation) dieAndGoOn(ctx context.Context, call int, anew bool) error {
	dying := p.dieAt(ctx, call)
	if err := p.run(dying); err != nil {
		if dying.Err() == nil {
			return fmt.Errorf("before its death: %w", err)
		}
		if anew {
			p.done = 0
		}
		if err := p.run(ctx); err != nil {
			return fmt.Errorf("after its death: %w", err)
		}
	}
	have, err := p.outcome(ctx)
	if err == nil && have != goodOutcome {
		err = fmt.Errorf("it ended as %s", have)
	}
	return err
}

// TestPreparingThroughThrottlingAndLag is the whole way with 30 % of the calls throttled and reads that lag behind.
func TestPreparingThroughThrottlingAndLag(t *testing.T) {
	for kind, fixture := range fixtures {
		t.Run(kind, func(t *testing.T) {
			p := &preparation{world: fixture(t)}
			p.simulator.Inject(awssim.Fault{Kind: awssim.Throttle, Percent: 30})
			p.simulator.Inject(awssim.Fault{Kind: awssim.ReadLag, For: lag})
			require.NoError(t, p.run(t.Context()))
			require.Eventually(t, func() bool {
				have, err := p.outcome(t.Context())
				return err == nil && have == goodOutcome
			}, 10*lag, lag/4)
		})
	}
}

// lag is to the poll interval of these tests what some seconds are to production's.
const lag = 3 * pollInterval
