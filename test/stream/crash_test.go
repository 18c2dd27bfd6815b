package stream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"timeferry/internal/failpoint"

	"timeferry/internal/testkit/pgtest"
)

// victim is a world whose pipeline lives in processes that die.
type victim struct {
	*world
	player *writer
	seed   int
	labels int // that were added to a type
}

// newVictim makes small segments and small batches, so that every point is come by soon and in every state.
func newVictim(t testing.TB, seed uint64, ownSource ownServer) *victim {
	t.Helper()
	v := &victim{world: newWorld(t, ownSource, false), seed: int(seed % 1_000_000_000)}
	v.config.SegmentBytes, v.config.BatchChanges, v.config.Lanes = 16<<10, 50, 3
	v.player = newWriter(v.sessions(t), func(string, ...any) {})
	v.player.spares = func(sql string) bool { return v.config.spares(sql) }
	require.NoError(t, v.fresh())
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

// torn is text that does not get small when it is compressed.
const torn = "(SELECT string_agg(md5(i::text || n), '') FROM generate_series(1, 12) n)"

// tear leaves the spool with half of a great transaction, as a process does that dies while it receives one.
func (v *victim) tear(t testing.TB) {
	t.Helper()
	v.recovered(t) // so that what is written next is that transaction
	v.seed++
	_, err := v.onSource.Exec(t.Context(), fmt.Sprintf("INSERT INTO kept SELECT i, %s FROM generate_series(1, 20000) i WHERE %d > 0", torn, v.seed))
	require.NoError(t, err)
	c := startChild(t, order{Config: v.config, Point: failpoint.AfterWrite, Nth: 5}) // of more than ten that the transaction takes
	v.awaitDeath(t, c, time.Minute, time.Millisecond)
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

// begin makes all anew, for a process that has not run yet.
func (v *victim) begin(t testing.TB, c combination) {
	t.Helper()
	require.NoError(t, v.player.settle())
	v.config.combination = c
	require.NoError(t, v.fresh())
}

// visit is what makes a process come by a point.
type visit struct {
	prepare func(*victim, testing.TB)
	most    int64         // how often a process comes by; 0: again and again
	pause   time.Duration // between writes
}

// visits are the points that a process does not come by again and again while it is written to.
var visits = map[failpoint.Point]visit{
	failpoint.BeforeHomeFsync:    {most: 1},
	failpoint.AfterHomeFsync:     {most: 1},
	failpoint.BeforeNoteFsync:    {prepare: (*victim).anew, most: 1},
	failpoint.AfterNoteFsync:     {prepare: (*victim).anew, most: 1},
	failpoint.AfterNoteRename:    {prepare: (*victim).anew, most: 1},
	failpoint.AfterNoteNameFsync: {prepare: (*victim).anew, most: 1},
	failpoint.BeforeStreamSource: {prepare: (*victim).anew, most: 1},
	failpoint.AfterStreamSource:  {prepare: (*victim).anew, most: 1},
	failpoint.BeforeCut:          {prepare: (*victim).tear, most: 1},
	failpoint.AfterCut:           {prepare: (*victim).tear, most: 1},
	failpoint.BeforeAdvance:      {prepare: (*victim).lag, most: 2},
	failpoint.AfterAdvance:       {prepare: (*victim).lag, most: 2},
	failpoint.BeforeClaim:        {most: 1},
	failpoint.AfterClaim:         {most: 1},
	failpoint.BeforeLabel:        {prepare: (*victim).label, most: 1},
	failpoint.AfterLabel:         {prepare: (*victim).label, most: 1},
	// The target is asked to flush only where it is quiet for a second.
	failpoint.BeforeFlush: {most: 3, pause: 2500 * time.Millisecond},
	failpoint.AfterFlush:  {most: 3, pause: 2500 * time.Millisecond},
}

// ofSpool are the points that only a process with a spool comes by, ofRelay those that only one without does.
var (
	ofSpool = []failpoint.Point{failpoint.BeforeHomeFsync, failpoint.AfterHomeFsync, failpoint.BeforeNoteFsync, failpoint.AfterNoteFsync, failpoint.AfterNoteRename,
		failpoint.AfterNoteNameFsync, failpoint.SegmentCreated, failpoint.BeforeWrite, failpoint.AfterWrite, failpoint.BeforeFsync, failpoint.AfterFsync,
		failpoint.BeforeNamesFsync, failpoint.AfterNamesFsync, failpoint.BeforeCut, failpoint.AfterCut, failpoint.BeforeRemove, failpoint.AfterRemove}
	ofRelay = []failpoint.Point{failpoint.BeforeStreamSource, failpoint.AfterStreamSource}
)

func (v *victim) anew(t testing.TB) { v.begin(t, v.config.combination) }

func (v *victim) lag(t testing.TB) { require.NoError(t, v.fallBehind()) }

// label writes a row with a label that the target's type does not have.
func (v *victim) label(t testing.TB) {
	v.labels++
	for _, sql := range []string{"ALTER TYPE mood ADD VALUE 'label %d'", "INSERT INTO kinds (id, c_mood) VALUES (1000 + %[1]d, 'label %[1]d')"} {
		_, err := v.onSource.Exec(t.Context(), fmt.Sprintf(sql, v.labels))
		require.NoError(t, err)
	}
}

// The process is killed at every point where state becomes durable, one of the first times that it comes there (in a soak: the first
// time, and later), while the source is being written to. Afterwards source and target are equal, row by row, in tables without keys too.
func TestCrashAtEveryPoint(t *testing.T) {
	seed := firstSeed(t)
	v := newVictim(t, seed, pgtest.OwnSource)
	random := rand.New(rand.NewPCG(seed, 1))
	rounds := 1
	if soak() > 0 {
		rounds = 20
	}
	without := func(others []failpoint.Point) []failpoint.Point {
		return slices.DeleteFunc(failpoint.Points(), func(p failpoint.Point) bool { return slices.Contains(others, p) })
	}
	for round := range rounds {
		for _, pass := range []struct {
			name   string
			with   combination
			points []failpoint.Point
			again  bool // and later, not only one time of both
		}{
			{"buffer disk", combination{Lanes: 3, Follow: true}, without(ofRelay), soak() > 0}, // twice as long
			{"compressed", combination{Lanes: 1, Follow: true, Compress: true}, ofSpool, false},
			{"buffer source", combination{Lanes: 3, Follow: true, Direct: true}, without(ofSpool), false},
		} {
			v.begin(t, pass.with)
			for _, point := range pass.points {
				times := []int64{1, 2 + random.Int64N(6)}
				if !pass.again {
					times = []int64{1 + random.Int64N(4)}
				}
				for _, nth := range visits[point].bounded(times) {
					t.Run(fmt.Sprintf("%s/%s %d in round %d", pass.name, point, nth, round), func(t *testing.T) {
						v.crashAt(t, point, nth, random.IntN(60))
					})
				}
			}
		}
	}
}

// bounded leaves out times at which a process does not come by.
func (at visit) bounded(times []int64) []int64 {
	if at.most == 0 {
		return times
	}
	for i := range times {
		times[i] = min(times[i], at.most)
	}
	return slices.Compact(times)
}

// crashAt has written something, has the process die at a point, and compares once another one has followed.
func (v *victim) crashAt(t testing.TB, point failpoint.Point, nth int64, written int) {
	t.Helper()
	require.NoError(t, v.write(written))
	at := visits[point]
	if at.prepare != nil {
		at.prepare(v, t)
	}
	c := startChild(t, order{Config: v.config, Point: point, Nth: nth})
	v.awaitDeath(t, c, time.Minute, max(at.pause, time.Millisecond))
	v.recovered(t)
}

// eachCombination is how many kills of TestKillAtRandomMoments have one combination; the last one is followed by a comparison.
const eachCombination = 4

// The process is killed at random moments, from its first steps on, close to the source's end and far behind it; now and then
// the target's server dies too, and forgets the commits that were not on its disk.
func TestKillAtRandomMoments(t *testing.T) {
	seed := firstSeed(t)
	v := newVictim(t, seed, jsonSource)
	random := rand.New(rand.NewPCG(seed, 2))
	kills := 20
	if soak() > 0 {
		kills = 100
	}
	for n := range kills {
		if n%eachCombination == 0 {
			v.begin(t, combine(by(random)))
			t.Logf("from kill %d on: %s", n, v.config.combination)
		}
		v.killedSometime(t, random)
		if n%eachCombination == eachCombination-1 {
			v.recovered(t)
		}
	}
	t.Logf("%d transactions, %d kills", v.player.transactions, kills)
}

func (v *victim) killedSometime(t testing.TB, random *rand.Rand) {
	t.Helper()
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
}
