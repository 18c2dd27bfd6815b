package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// clients are an application: connections that write at a rate, and when one fails connect again to where the address says.
type clients struct {
	address func() (host string, port int)
	login   string // the rest of it
	target  int    // port of the target
	rows    int    // in account
	each    time.Duration
	stop    chan struct{}
	done    sync.WaitGroup

	mu      sync.Mutex
	journal []entry
	last    time.Time // acknowledgement of the source
	first   time.Time // of the target
	reached chan struct{}
	errors  map[string]int
}

// entry is what a writer knows of one transaction.
type entry struct {
	writer, seq int
	outcome     outcome
}

type outcome int

const (
	acknowledged outcome = iota
	refused              // the server said no
	ambiguous            // there was no answer
)

func startClients(w *world, address func() (string, int)) *clients {
	c := &clients{address: address, login: fmt.Sprintf("dbname=%s user=%s password=%s sslmode=disable application_name=shop connect_timeout=2", databaseName, roleName, w.password),
		target: w.target.Superuser("").Port, rows: w.rows, each: time.Second * time.Duration(w.writers) / time.Duration(w.rate),
		stop: make(chan struct{}), reached: make(chan struct{}), errors: map[string]int{}}
	for i := range w.writers {
		c.done.Go(func() { c.write(i) })
	}
	return c
}

// end stops the writers and waits for them.
func (c *clients) end() {
	close(c.stop)
	c.done.Wait()
}

const (
	reconnectPause = 10 * time.Millisecond
	// patience is how long a client waits for an answer: longer than PgBouncer holds it in a cutover.
	patience = 30 * time.Second
)

// write is one writer. It keeps its pace, and makes up for nothing that it missed.
func (c *clients) write(writer int) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.Background()) // its work is done
		}
	}()
	next := time.Now().Add(c.each * time.Duration(writer) / 8)
	for seq := 0; ; seq++ {
		select {
		case <-c.stop:
			return
		case <-time.After(time.Until(next)):
		}
		next = next.Add(c.each)
		if now := time.Now(); next.Before(now) {
			next = now
		}
		for conn == nil {
			select {
			case <-c.stop:
				return
			default:
			}
			if conn = c.connect(); conn == nil {
				time.Sleep(reconnectPause)
			}
		}
		if !c.commit(conn, writer, seq) {
			_ = conn.Close(context.Background()) // it failed: a new one is made
			conn = nil
			time.Sleep(reconnectPause)
		}
	}
}

func (c *clients) connect() *pgx.Conn {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	host, port := c.address()
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d %s", host, port, c.login))
	if err != nil {
		panic(err) // ours
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // PgBouncer
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		c.count(err)
		return nil
	}
	return conn
}

// commitSQL is one transaction; its answer says which server has committed it.
const commitSQL = `WITH j AS (INSERT INTO journal (writer, seq) VALUES ($1, $2) RETURNING 1), a AS (UPDATE account SET n = n + 1 WHERE id = $3 RETURNING 1)
	SELECT inet_server_port(), nextval('tickets') FROM j, a`

func (c *clients) commit(conn *pgx.Conn, writer, seq int) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var port int
	var ticket int64
	err := conn.QueryRow(ctx, commitSQL, writer, seq, 1+(writer*7919+seq*31)%c.rows).Scan(&port, &ticket)
	e := entry{writer: writer, seq: seq}
	var pg *pgconn.PgError
	switch {
	case err == nil:
	case errors.As(err, &pg) && pg.Severity == "ERROR": // the transaction was rolled back
		e.outcome = refused
	default:
		e.outcome = ambiguous
	}
	c.note(e, port)
	if err != nil {
		c.count(err)
	}
	return err == nil
}

func (c *clients) note(e entry, port int) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.journal = append(c.journal, e)
	if e.outcome != acknowledged {
		return
	}
	if port != c.target {
		c.last = now
	} else if c.first.IsZero() {
		c.first = now
		close(c.reached)
	}
}

func (c *clients) count(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		c.errors[pg.Code]++
		return
	}
	c.errors["connection"]++
}

func (c *clients) acknowledged() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, e := range c.journal {
		if e.outcome == acknowledged {
			n++
		}
	}
	return n
}
