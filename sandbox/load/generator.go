package load

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"timeferry/internal/pgkit"
)

// Options of a generator.
type Options struct {
	Endpoint    pgkit.Endpoint // of the application's role
	Connections int            // 0: 6
	Rate        int            // transactions a second, all connections together; 0: 300
	Seed        uint64         // what is written follows from it, when is up to the machine
	// Hypertables says that metrics and iot.sensor_events are hypertables there: updates that would move a row to another
	// chunk are left out, since TimescaleDB refuses them.
	Hypertables bool
}

// Counts of changed rows.
type Counts struct {
	Inserts, Updates, Deletes, Truncates int64
}

// Stats is a moment's view.
type Stats struct {
	Committed  int64
	RolledBack int64
	Ambiguous  int64
	Reconnects int64
	Unexpected int       // kinds of errors that an application does not expect
	FencedAt   time.Time // zero while writes are let through
	Tables     map[string]Counts
}

// Connection is what one connection did. Seq counts attempts from 1 without a gap.
type Connection struct {
	LastSeq    int64
	Ambiguous  []int64 // COMMIT was sent, the answer did not come
	RolledBack []int64 // never committed
}

// Summary is everything that was done, for Check.
type Summary struct {
	Run int64
	Stats
	Connections []Connection
	Failures    []string // errors that an application does not expect, each kind once
}

// Generator writes until it is stopped. Its methods are safe for concurrent use.
type Generator struct {
	options Options
	run     int64
	stop    chan struct{} // closed: finish the transaction at hand, then end
	kill    context.CancelFunc
	done    sync.WaitGroup

	mu          sync.Mutex
	stats       Stats
	connections []Connection
	fenced      []bool
	failures    map[string]bool
	stopped     bool
}

// Start starts writing. It does not wait for the server: connections are opened, and opened again, as they are needed.
// Cancelling ctx ends the generator at once; Stop does it in order.
func Start(ctx context.Context, o Options) *Generator {
	if o.Connections == 0 {
		o.Connections = 6
	}
	if o.Rate == 0 {
		o.Rate = 300
	}
	ctx, kill := context.WithCancel(ctx)
	g := &Generator{options: o, run: time.Now().UnixMicro(), stop: make(chan struct{}), kill: kill,
		connections: make([]Connection, o.Connections), fenced: make([]bool, o.Connections), failures: map[string]bool{}}
	g.stats.Tables = map[string]Counts{}
	for i := range o.Connections {
		w := &writer{g: g, number: i, rand: rand.New(rand.NewPCG(o.Seed, uint64(i)))}
		g.done.Go(func() { w.loop(ctx) })
	}
	return g
}

// Stats is how far it is.
func (g *Generator) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.stats
	s.Unexpected = len(g.failures)
	s.Tables = maps.Clone(s.Tables)
	return s
}

// Stop lets every connection finish the transaction at hand, for at most ten seconds, and says what was done. Stopping
// twice gives the same answer.
func (g *Generator) Stop() Summary {
	g.mu.Lock()
	if !g.stopped {
		g.stopped = true
		close(g.stop)
	}
	g.mu.Unlock()
	timer := time.AfterFunc(10*time.Second, g.kill)
	g.done.Wait()
	timer.Stop()
	g.kill()
	s := Summary{Run: g.run, Stats: g.Stats(), Connections: g.connections}
	s.Failures = slices.Sorted(maps.Keys(g.failures))
	return s
}

// outcome of one attempt.
type outcome int

const (
	committed outcome = iota
	rolledBack
	ambiguous
)

// record books the attempt seq of a connection.
func (g *Generator) record(number int, seq int64, o outcome, changes map[string]Counts) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := &g.connections[number]
	c.LastSeq = seq
	switch o {
	case committed:
		g.stats.Committed++
		for table, n := range changes {
			sum := g.stats.Tables[table]
			g.stats.Tables[table] = Counts{sum.Inserts + n.Inserts, sum.Updates + n.Updates, sum.Deletes + n.Deletes, sum.Truncates + n.Truncates}
		}
	case ambiguous:
		g.stats.Ambiguous++
		c.Ambiguous = append(c.Ambiguous, seq)
	case rolledBack:
		g.stats.RolledBack++
		c.RolledBack = append(c.RolledBack, seq)
	}
}

// setFenced notes whether the server lets this connection write. The whole is fenced once all connections are, and
// FencedAt is when the first of them was refused.
func (g *Generator) setFenced(number int, fenced bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fenced[number] == fenced {
		return
	}
	g.fenced[number] = fenced
	if !fenced {
		g.stats.FencedAt = time.Time{}
	} else if g.stats.FencedAt.IsZero() {
		g.stats.FencedAt = time.Now()
	}
}

func (g *Generator) reconnected() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Reconnects++
}

// fail keeps an error that an application does not expect.
func (g *Generator) fail(kind string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.failures) < 50 {
		g.failures[fmt.Sprintf("%s: %v", kind, err)] = true
	}
}
