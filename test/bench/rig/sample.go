package rig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"timeferry/internal/testkit/pgserver"
	"timeferry/test/bench/report"
)

// sampleEvery is how often the servers are asked what their sessions do.
const sampleEvery = 100 * time.Millisecond

// Waiting is how many seconds sessions of a name spent in a state, summed over sessions.
type Waiting struct {
	Session string  `json:"session"`
	Doing   string  `json:"doing"` // the statement's first words
	Wait    string  `json:"wait"`  // what it waits for; "processor" if for nothing; "idle in transaction" if for its client
	Seconds float64 `json:"seconds"`
}

const sampleSQL = `SELECT coalesce(nullif(application_name, ''), backend_type), regexp_replace(left(query, 40), '\s+', ' ', 'g'), CASE WHEN state LIKE 'idle%' THEN state ELSE coalesce(wait_event_type || ':' || wait_event, 'processor') END
	FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND (state <> 'idle' OR backend_type = 'parallel worker')`

// SampleBoth looks at the sessions of both servers while do runs.
func (r *Rig) SampleBoth(ctx context.Context, do func() error) (source, target []Waiting, err error) {
	sampling, cancel := context.WithCancel(ctx)
	defer cancel()
	var group errgroup.Group
	group.Go(func() (err error) { source, err = r.sample(sampling, r.Source); return err })
	group.Go(func() (err error) { target, err = r.sample(sampling, r.Target); return err })
	err = do()
	cancel()
	return source, target, errors.Join(err, group.Wait())
}

// sample looks until ctx ends, and gives what took longest first. What took less than two hundredths of the whole is left out.
func (r *Rig) sample(ctx context.Context, server *pgserver.Server) (list []Waiting, err error) {
	counts, looks := map[Waiting]int{}, 0
	began := time.Now()
	err = r.Super(context.WithoutCancel(ctx), server, "postgres", func(conn *pgx.Conn) error {
		for ticker := time.NewTicker(sampleEvery); ; looks++ {
			select {
			case <-ctx.Done():
				ticker.Stop()
				return nil
			case <-ticker.C:
			}
			// A connection of its own context: one that is cancelled in a query is lost.
			rows, err := conn.Query(context.WithoutCancel(ctx), sampleSQL)
			if err != nil {
				return err
			}
			seen, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k Waiting, err error) {
				err = row.Scan(&k.Session, &k.Doing, &k.Wait)
				return k, err
			})
			if err != nil {
				return err
			}
			for _, k := range seen {
				counts[k]++
			}
		}
	})
	if err != nil || looks == 0 {
		return nil, errors.Join(err, fmt.Errorf("looked %d times", looks))
	}
	whole := time.Since(began).Seconds()
	for k, n := range counts {
		k.Seconds = report.Rounded(float64(n) / float64(looks) * whole)
		if k.Seconds >= whole/50 {
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b Waiting) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), cmp.Compare(a.Session+a.Doing+a.Wait, b.Session+b.Doing+b.Wait))
	})
	return list, nil
}
