package activities

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/bulk"
)

// copyLimits are what keeps this worker's streams within copy.maxBytesPerSecond, by migration. The streams of a worker share
// one limit, so that none waits for what another does not use. Of several workers each has a part by how many of all streams
// it runs, which every stream asks the target again and again: a part that is right is not waited for until a stream ends.
type copyLimits struct {
	mu sync.Mutex
	of map[string]*copyLimit
}

// copyLimit is the limit of one migration on this worker. A nil one limits nothing.
type copyLimit struct {
	limits    *copyLimits
	migration string
	limit     *bulk.Limit
	perSecond int64 // of all workers
	here, all int   // streams that run
}

// join counts a stream in, leave counts it out. perSecond 0 is no limit.
func (l *copyLimits) join(migration string, perSecond int64) *copyLimit {
	if perSecond <= 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.of[migration]
	if c == nil {
		if l.of == nil {
			l.of = map[string]*copyLimit{}
		}
		c = &copyLimit{limits: l, migration: migration, limit: bulk.NewLimit(perSecond)}
		l.of[migration] = c
	}
	c.perSecond = perSecond
	c.change(c.here+1, c.all+1)
	return c
}

func (c *copyLimit) leave() {
	if c == nil {
		return
	}
	c.limits.mu.Lock()
	defer c.limits.mu.Unlock()
	if c.here == 1 {
		delete(c.limits.of, c.migration)
	}
	c.change(c.here-1, c.all-1)
}

// look counts the streams of all workers on a stream's own session on the target.
func (c *copyLimit) look(ctx context.Context, conn *pgx.Conn) error {
	if c == nil {
		return nil
	}
	var all int
	if err := conn.QueryRow(ctx, streamsSQL).Scan(&all); err != nil {
		return err
	}
	c.limits.mu.Lock()
	defer c.limits.mu.Unlock()
	c.change(c.here, all)
	return nil
}

// streamsSQL: every stream has one such session as long as it runs.
const streamsSQL = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = current_setting('application_name')`

// change is called with the lock held.
func (c *copyLimit) change(here, all int) {
	c.here, c.all = here, max(all, here)
	if c.here > 0 {
		c.limit.SetRate(int64(float64(c.perSecond) * float64(c.here) / float64(c.all)))
	}
}

// shared is nil for no limit.
func (c *copyLimit) shared() *bulk.Limit {
	if c == nil {
		return nil
	}
	return c.limit
}
