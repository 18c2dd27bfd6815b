package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"timeferry/test/bench/rig"
)

// floorSchema brings the tables, without time being counted.
func (w *world) floorSchema(ctx context.Context, _ int) error {
	file := filepath.Join(w.Dir, "schema.sql")
	dump := w.Programs.Command(ctx, "pg_dump", "--section=pre-data", "-f", file, w.Conninfo(w.Source))
	dump.Env = w.ClientEnv()
	if _, err := rig.Run(dump); err != nil {
		return err
	}
	load := w.Programs.Command(ctx, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file, w.Conninfo(w.Target))
	load.Env = w.ClientEnv()
	_, err := rig.Run(load)
	return errors.Join(err, os.Remove(file))
}

// floorTable is a table with what is built when its rows are there.
type floorTable struct {
	name    string
	columns string
	indexes []string // statements
}

// floorSQL gives the tables, largest first, with the statements that make their keys and indexes, largest index first.
const floorSQL = `SELECT format('%I.%I', n.nspname, c.relname),
	(SELECT string_agg(format('%I', attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''),
	ARRAY(SELECT CASE WHEN k.oid IS NULL THEN pg_get_indexdef(i.indexrelid)
			ELSE format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid)) END
		FROM pg_index i LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = c.oid AND k.contype IN ('p', 'u')
		WHERE i.indrelid = c.oid ORDER BY pg_relation_size(i.indexrelid) DESC)
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = 'public' ORDER BY pg_table_size(c.oid) DESC, c.relname`

// pipes is the floor: psql writes each table in binary into a pipe from which another psql fills the target, and each index
// is built when its table is there. So many jobs are under way at any time: indexes first, then the largest table.
func (w *world) pipes(ctx context.Context, jobs int) (o outcome, err error) {
	q := &floorQueue{}
	err = rig.Session(ctx, w.Endpoint(w.Source), func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, floorSQL)
		if err != nil {
			return err
		}
		q.tables, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t floorTable, err error) {
			err = row.Scan(&t.name, &t.columns, &t.indexes)
			return t, err
		})
		return err
	})
	if err != nil {
		return o, fmt.Errorf("read the tables: %w", err)
	}
	q.ready.L = &q.mu
	group, ctx := errgroup.WithContext(ctx)
	for range jobs {
		group.Go(func() error {
			return rig.Session(ctx, w.Endpoint(w.Target), func(conn *pgx.Conn) error {
				if err := rig.ExecAll(ctx, conn, "SET maintenance_work_mem = '1GB'"); err != nil { // as pgcopydb has it
					return err
				}
				return w.floorJob(ctx, conn, q)
			})
		})
	}
	err = group.Wait()
	o.programs = map[string]float64{"psql": q.cpu}
	return o, err
}

// floorQueue hands out work. A job that finds none waits while others copy: their tables' indexes come later.
type floorQueue struct {
	mu      sync.Mutex
	ready   sync.Cond
	tables  []floorTable
	indexes []string
	copying int
	failed  bool
	cpu     float64
}

// next gives an index to build or a table to copy, and ok false when all is done.
func (q *floorQueue) next() (index string, table floorTable, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.indexes) == 0 && len(q.tables) == 0 && q.copying > 0 && !q.failed {
		q.ready.Wait()
	}
	switch {
	case q.failed:
		return "", table, false
	case len(q.indexes) > 0:
		index, q.indexes = q.indexes[0], q.indexes[1:]
		return index, table, true
	case len(q.tables) > 0:
		table, q.tables = q.tables[0], q.tables[1:]
		q.copying++
		return "", table, true
	}
	return "", table, false
}

// copied puts a copied table's indexes into the queue.
func (q *floorQueue) copied(t floorTable, cpu float64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.copying--
	q.cpu += cpu
	q.failed = q.failed || err != nil
	q.indexes = append(q.indexes, t.indexes...)
	q.ready.Broadcast()
}

// floorJob works until nothing is left.
func (w *world) floorJob(ctx context.Context, conn *pgx.Conn, q *floorQueue) error {
	for {
		index, table, ok := q.next()
		if !ok {
			return nil
		}
		if index != "" {
			if err := rig.ExecAll(ctx, conn, index); err != nil {
				return err
			}
			continue
		}
		cpu, err := w.pipe(ctx, table)
		q.copied(table, cpu, err)
		if err != nil {
			return fmt.Errorf("copy %s: %w", table.name, err)
		}
	}
}

// pipe copies one table from psql to psql through a pipe of the kernel.
func (w *world) pipe(ctx context.Context, t floorTable) (cpu float64, err error) {
	read, write, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	statement := fmt.Sprintf("COPY %s (%s) ", t.name, t.columns)
	from := w.Programs.Command(ctx, "psql", "-X", "-q", "-c", statement+"TO STDOUT (FORMAT binary)", w.Conninfo(w.Source))
	to := w.Programs.Command(ctx, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement+"FROM STDIN (FORMAT binary)", w.Conninfo(w.Target))
	from.Env, to.Env = w.ClientEnv(), w.ClientEnv()
	from.Stdout, to.Stdin, to.Stdout = write, read, io.Discard
	var fromCPU, toCPU float64
	var group errgroup.Group
	group.Go(func() (err error) {
		fromCPU, err = rig.Run(from)
		return errors.Join(err, write.Close()) // so that the other side sees the end
	})
	group.Go(func() (err error) {
		toCPU, err = rig.Run(to)
		return errors.Join(err, read.Close())
	})
	err = group.Wait()
	return fromCPU + toCPU, err
}
