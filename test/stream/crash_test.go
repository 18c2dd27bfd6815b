package stream

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"timeferry/internal/failpoint"
)

// victim is a world whose pipeline lives in processes that die.
type victim struct {
	*world
	player *writer
	seed   int
}

// newVictim makes small segments and small batches, so that every point is come by soon and in every state.
func newVictim(t testing.TB, seed uint64) *victim {
	t.Helper()
	v := &victim{world: newWorld(t, false), seed: int(seed % 1_000_000_000)}
	v.config.SegmentBytes, v.config.BatchChanges, v.config.Lanes = 16<<10, 50, 3
	v.player = newWriter(v.sessions(t), func(string, ...any) {})
	require.NoError(t, v.renew())
	require.NoError(t, v.pipeline.stop())
	return v
}

// write plays n moves of the workload that the seed gives.
func (v *victim) write(n int) error {
	for _, m := range rapid.SliceOfN(moves, n, n).Example(v.seed) {
		if err := v.player.play(m); err != nil {
			return err
		}
	}
	v.seed++
	return nil
}

// tear leaves the spool with half of a great transaction, as a process does that dies while it receives one.
func (v *victim) tear(t testing.TB) {
	t.Helper()
	v.recovered(t) // so that what is written next is that transaction
	v.seed++
	_, err := v.onSource.Exec(t.Context(), fmt.Sprintf("INSERT INTO kept SELECT i, repeat('torn', 100) FROM generate_series(1, 20000) i WHERE %d > 0", v.seed))
	require.NoError(t, err)
	c := startChild(t, order{Config: v.config, Point: failpoint.AfterWrite, Nth: 12}) // of about 30 that the transaction takes
	v.awaitDeath(t, c, 30*time.Second, time.Millisecond)
}

// targetCrashed ends the target's server as a power cut would, and brings it back.
func (v *victim) targetCrashed(t testing.TB) {
	t.Helper()
	require.NoError(t, v.target.Server.Kill())
	require.NoError(t, v.target.Server.Start(t.Context()))
	v.onTarget = v.target.Conn(t)
}

// recovered runs the pipeline undisturbed up to the end of the source's log, and compares.
func (v *victim) recovered(t testing.TB) {
	t.Helper()
	require.NoError(t, v.player.settle())
	dir := v.config.Dir
	p, err := openPipeline(v.config, v.log)
	require.NoError(t, err)
	v.pipeline = p
	p.receive()
	p.apply()
	require.NoError(t, v.barrier())
	require.NoError(t, v.same())
	require.NoError(t, p.stop())
	require.DirExists(t, dir)
}

// awaitDeath writes until the child has died.
func (v *victim) awaitDeath(t testing.TB, c *child, within, pause time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(within); ; {
		died, err := c.died()
		require.NoError(t, err)
		if died {
			return
		}
		require.True(t, time.Now().Before(deadline), "the process did not come by its point within %s", within)
		require.NoError(t, v.write(10))
		time.Sleep(pause)
	}
}

// The process is killed at every point where state becomes durable, the first time that it comes there and later, while the
// source is being written to. Afterwards source and target are equal, row by row, in tables without keys too.
func TestCrashAtEveryPoint(t *testing.T) {
	seed := firstSeed(t)
	v := newVictim(t, seed)
	random := rand.New(rand.NewPCG(seed, 1))
	rounds := 1
	if soak() > 0 {
		rounds = 20
	}
	for round := range rounds {
		for _, point := range failpoint.Points() {
			for _, nth := range []int64{1, 2 + random.Int64N(6)} {
				t.Run(fmt.Sprintf("%s %d in round %d", point, nth, round), func(t *testing.T) {
					require.NoError(t, v.write(random.IntN(60)))
					switch point {
					case failpoint.BeforeCut, failpoint.AfterCut: // once for each torn tail
						v.tear(t)
						nth = 1
					case failpoint.BeforeAdvance, failpoint.AfterAdvance:
						require.NoError(t, v.fallBehind())
						nth = min(nth, 2)
					}
					pause := time.Millisecond
					switch point {
					case failpoint.BeforeFlush, failpoint.AfterFlush: // the target is asked to flush only where it is quiet for a second
						nth, pause = min(nth, 3), 2500*time.Millisecond
					}
					c := startChild(t, order{Config: v.config, Point: point, Nth: nth})
					v.awaitDeath(t, c, 30*time.Second, pause)
					v.recovered(t)
				})
			}
		}
	}
}

// The process is killed at random moments, from its first steps on, close to the source's end and far behind it; now and then
// the target's server dies too, and forgets the commits that were not on its disk.
func TestKillAtRandomMoments(t *testing.T) {
	seed := firstSeed(t)
	v := newVictim(t, seed)
	random := rand.New(rand.NewPCG(seed, 2))
	kills := 12
	if soak() > 0 {
		kills = 100
	}
	for n := range kills {
		if random.IntN(3) == 0 { // a backlog
			require.NoError(t, v.write(400))
		}
		c := startChild(t, order{Config: v.config})
		life := time.Duration(random.IntN(700)) * time.Millisecond
		for end := time.Now().Add(life); time.Now().Before(end); {
			require.NoError(t, v.write(5))
		}
		died, err := c.died()
		require.NoError(t, err)
		require.False(t, died)
		if random.IntN(4) == 0 {
			v.targetCrashed(t)
		}
		require.NoError(t, c.kill())
		if n%4 == 3 || n == kills-1 {
			v.recovered(t)
		}
	}
	t.Logf("%d transactions, %d kills", v.player.transactions, kills)
}
