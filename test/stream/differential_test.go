package stream

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// envSoak makes the long form of the tests: its value is how long each may take ("2h"); "1" means an hour.
const envSoak = "TIMEFERRY_SOAK"

// soak is how long a test of the long form may take; zero: the short form is wanted.
func soak() time.Duration {
	value := os.Getenv(envSoak)
	if value == "" {
		return 0
	}
	if d, err := time.ParseDuration(value); err == nil {
		return d
	}
	return time.Hour
}

// envSeed makes a test begin with a seed of one's choice: that of a failure.
const envSeed = "TIMEFERRY_SEED"

// firstSeed is the same each time, unless somebody chooses another; "random" goes where nobody was.
func firstSeed(t testing.TB) uint64 {
	seed := uint64(1)
	switch value := os.Getenv(envSeed); value {
	case "":
	case "random":
		seed = uint64(time.Now().UnixNano())
	default:
		var err error
		seed, err = strconv.ParseUint(value, 10, 64)
		require.NoError(t, err, envSeed)
	}
	t.Logf("first seed %d; %s repeats it", seed, envSeed)
	return seed
}

// Timeferry and a native subscription follow the same source through random transactions. At barriers all three are equal.
func TestDifferential(t *testing.T) {
	budget, wanted := 60*time.Second, 3000
	if d := soak(); d > 0 {
		budget = d
	}
	w := newWorld(t, jsonSource, true)
	conns := w.sessions(t)
	setFlag(t, "rapid.checks", "1")
	setFlag(t, "rapid.nofailfile", "true")
	setFlag(t, "rapid.shrinktime", "30s")
	total, started := 0, time.Now()
	for seed := firstSeed(t); time.Since(started) < budget || total < wanted; seed++ {
		setFlag(t, "rapid.seed", strconv.FormatUint(seed, 10))
		clean := t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) { total += w.compared(r, conns) })
		})
		if !clean {
			return
		}
	}
	t.Logf("%d transactions", total)
}

// sessions are what the workload writes through. They do not wait for each other's locks.
func (w *world) sessions(t testing.TB) []*pgx.Conn {
	t.Helper()
	conns := make([]*pgx.Conn, sessions)
	for i := range conns {
		conns[i] = w.source.Conn(t)
		_, err := conns[i].Exec(t.Context(), "SET lock_timeout = '20ms'")
		require.NoError(t, err)
	}
	return conns
}

func setFlag(t testing.TB, name, value string) {
	require.NoError(t, flag.Set(name, value))
}

// compared plays one random workload from an empty world, and compares at barriers.
func (w *world) compared(r *rapid.T, conns []*pgx.Conn) (transactions int) {
	w.config.SegmentBytes = rapid.SampledFrom([]int64{0, 4 << 10, 100 << 10}).Draw(r, "segment bytes")
	w.config.combination = combine(func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(r, what) })
	w.config.BatchChanges = rapid.SampledFrom([]int{0, 1, 7, 100}).Draw(r, "batch changes")
	for _, conn := range conns { // a failure may have left a transaction open
		if _, err := conn.Exec(r.Context(), "ROLLBACK"); err != nil {
			r.Fatalf("roll back: %v", err)
		}
	}
	if err := w.renew(); err != nil {
		r.Fatalf("renew: %v", err)
	}
	player := newWriter(conns, r.Logf)
	player.spares = w.config.spares
	for part := range 4 {
		if err := w.part(r, player); err != nil {
			r.Fatalf("part %d: %v", part, err)
		}
	}
	if err := w.verified(); err != nil {
		r.Fatalf("verified: %v", err)
	}
	return player.transactions
}

// followers says what of Timeferry follows while a part is played.
type followers string

const (
	both     followers = "both follow"
	receiver followers = "the apply comes after"
	nobody   followers = "both come after, far behind"
)

var parts = []followers{both, both, both, both, receiver, receiver, receiver, receiver, nobody}

// part plays some moves, while the followers follow or after them, and compares.
func (w *world) part(r *rapid.T, player *writer) error {
	following := rapid.SampledFrom(parts).Draw(r, "followers")
	if err := w.unfollow(following); err != nil {
		return err
	}
	if rapid.IntRange(0, 3).Draw(r, "alter") == 3 {
		widen := rapid.Bool().Draw(r, "widen")
		alone := w.config.Follow && rapid.IntRange(0, 2).Draw(r, "on the source alone") > 0
		if err := w.alter(widen, alone); err != nil {
			return err
		}
	}
	for _, m := range rapid.SliceOfN(moves, 60, 240).Draw(r, "moves") {
		if err := player.play(m); err != nil {
			return err
		}
	}
	if err := player.settle(); err != nil {
		return err
	}
	if err := w.follow(following); err != nil {
		return err
	}
	if err := w.barrier(); err != nil {
		return err
	}
	return w.same()
}

func (w *world) unfollow(f followers) error {
	switch f {
	case nobody:
		return errors.Join(w.pipeline.stopApply(), w.pipeline.stopReceive())
	case receiver:
		return w.pipeline.stopApply()
	case both:
	}
	return nil
}

func (w *world) follow(f followers) error {
	switch f {
	case nobody:
		if err := w.fallBehind(); err != nil {
			return err
		}
		w.pipeline.receive()
		w.pipeline.apply()
	case receiver:
		w.pipeline.apply()
	case both:
	}
	return nil
}
