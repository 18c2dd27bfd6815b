package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgbouncer"
	"timeferry/internal/testkit/pgserver"
)

const (
	// warmUp is how long clients write before the cutover is ordered, coolDown how long after it.
	warmUp   = 3 * time.Second
	coolDown = time.Second
	// givenUp is when a round has failed.
	givenUp = 2 * time.Minute
)

// round is one migration from nothing to its end.
func (w *world) round(ctx context.Context, n int) (one run, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, givenUp, errors.New("the round took longer than two minutes"))
	defer cancel()
	if err := w.fresh(ctx); err != nil {
		return one, err
	}
	src := w.endpoint(w.source)
	w.hook.set(src.Host, src.Port)
	address := w.hook.address
	if w.by == byPgBouncer {
		if err := w.startBouncer(ctx, n); err != nil {
			return one, err
		}
		defer w.bouncer.Kill()
		address = func() (string, int) { return "127.0.0.1", w.bouncer.Port }
	}
	name := fmt.Sprintf("bench-%d", n)
	if err := w.order(ctx, name); err != nil {
		return one, err
	}
	c := startClients(w, address)
	ended := false
	defer func() {
		if !ended {
			c.end()
		}
	}()
	if _, err := w.await(ctx, name, contract.PhaseInSync); err != nil {
		return one, err
	}
	before, began := c.acknowledged(), time.Now()
	if err := sleep(ctx, warmUp); err != nil {
		return one, err
	}
	one = run{Number: n, Rate: float64(c.acknowledged()-before) / time.Since(began).Seconds()}
	if _, err := w.run(ctx, "cutover", name); err != nil {
		return one, err
	}
	select {
	case <-c.reached:
	case <-ctx.Done():
		return one, errors.Join(context.Cause(ctx), w.explain(name))
	}
	if err := sleep(ctx, coolDown); err != nil {
		return one, err
	}
	ended = true
	c.end()
	s, err := w.await(ctx, name, contract.PhaseCutOver)
	if err != nil {
		return one, err
	}
	one.take(c, s)
	if err := w.compare(ctx, c, &one); err != nil {
		return one, err
	}
	if _, err := w.run(ctx, "complete", name); err != nil {
		return one, err
	}
	_, err = w.await(ctx, name, contract.PhaseCompleted)
	return one, err
}

func (w *world) startBouncer(ctx context.Context, n int) (err error) {
	dir := w.file(fmt.Sprintf("bouncer-%d", n))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(w.dir, 0o755); err != nil { // PgBouncer runs as another user
		return err
	}
	src := w.endpoint(w.source)
	w.bouncer, err = pgbouncer.Start(ctx, pgbouncer.Options{Dir: dir, Databases: fmt.Sprintf("%s = host=%s port=%d dbname=%s pool_size=20", databaseName, src.Host, src.Port, databaseName),
		Users: map[string]string{roleName: w.password, pgbouncer.AdminUser: w.password}})
	return err
}

// order starts the migration.
func (w *world) order(ctx context.Context, name string) error {
	end := func(server *pgserver.Server) map[string]any {
		e := w.endpoint(server)
		return map[string]any{"host": e.Host, "port": e.Port, "database": e.Database, "user": e.User, "password": map[string]string{"env": "BENCH_PASSWORD"}, "sslMode": "disable"}
	}
	by := map[string]any{"http": map[string]any{"url": w.hook.url, "key": map[string]string{"env": "HOOK_KEY"}}}
	if w.by == byPgBouncer {
		by = map[string]any{"pgbouncer": map[string]any{"database": databaseName, "file": w.bouncer.File, "admin": map[string]any{"host": "127.0.0.1", "port": w.bouncer.Port,
			"user": pgbouncer.AdminUser, "password": map[string]string{"env": "BENCH_PASSWORD"}, "sslMode": "disable"}}}
	}
	spec, err := json.Marshal(map[string]any{"name": name, "source": end(w.source), "target": end(w.target), "roles": "skip", "prepare": map[string]any{"machine": "skip"},
		"cutover": map[string]any{"verify": w.verify, "switch": by}})
	if err != nil {
		return err
	}
	file := filepath.Join(w.dir, name+".json")
	if err := os.WriteFile(file, spec, 0o600); err != nil {
		return err
	}
	_, err = w.run(ctx, "start", "-f", file)
	return err
}

// await asks for the status until the migration is in a phase.
func (w *world) await(ctx context.Context, name string, phase contract.Phase) (s contract.Status, err error) {
	for {
		out, err := w.run(ctx, "status", name, "-o", "json")
		if err == nil {
			if err := json.Unmarshal(out, &s); err != nil {
				return s, fmt.Errorf("read the status: %w", err)
			}
			if s.Phase == phase {
				return s, nil
			}
		}
		if dead := errors.Join(w.worker.Err(), w.temporal.Err()); dead != nil {
			return s, errors.Join(dead, err)
		}
		if sleep(ctx, 300*time.Millisecond) != nil {
			return s, fmt.Errorf("%w; it is %s: %s: %v", context.Cause(ctx), s.Phase, s.Message, s.Problems)
		}
	}
}

// explain says where a migration stands that did not come to its end.
func (w *world) explain(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := w.run(ctx, "status", name)
	return errors.Join(err, errors.New(string(out)))
}

// compare holds the clients' journal against the target: an acknowledged write must be there, a refused one must not.
func (w *world) compare(ctx context.Context, c *clients, one *run) error {
	there := map[[2]int]bool{}
	err := session(ctx, w.endpoint(w.target), func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "SELECT writer, seq FROM journal")
		if err != nil {
			return err
		}
		var key [2]int
		_, err = pgx.ForEachRow(rows, []any{&key[0], &key[1]}, func() error { there[key] = true; return nil })
		if err != nil {
			return err
		}
		var sum int64
		if err := conn.QueryRow(ctx, "SELECT sum(n) FROM account").Scan(&sum); err != nil {
			return err
		}
		if sum != int64(len(there)) {
			return fmt.Errorf("the accounts were changed %d times, for %d entries of the journal", sum, len(there))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, e := range c.journal {
		is := there[[2]int{e.writer, e.seq}]
		switch {
		case e.outcome == acknowledged && !is:
			one.Lost++
		case e.outcome == refused && is:
			one.Unexpected++
		}
	}
	if one.Lost+one.Unexpected > 0 {
		return fmt.Errorf("%d acknowledged writes are lost, %d refused ones are there", one.Lost, one.Unexpected)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
