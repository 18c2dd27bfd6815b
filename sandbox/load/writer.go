package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
)

const (
	transactionTimeout = 30 * time.Second       // a lock may be waited for, a dead server may not
	retryPause         = 200 * time.Millisecond // between attempts to connect, or to write again behind a fence
	rollbackPercent    = 3                      // of transactions that the application gives up by itself
)

// writer is one connection of the application.
type writer struct {
	g      *Generator
	number int
	rand   *rand.Rand
	conn   *pgx.Conn
	known  bounds
	seq    int64
	lastTS time.Time

	changes map[string]Counts // of the transaction at hand
}

// errGiveUp is the application's own decision to roll back.
var errGiveUp = errors.New("given up by the application")

func (w *writer) loop(ctx context.Context) {
	defer w.close()
	interval := time.Duration(w.g.options.Connections) * time.Second / time.Duration(w.g.options.Rate)
	next := time.Now().Add(time.Duration(w.rand.Int64N(int64(interval) + 1)))
	for w.pause(ctx, time.Until(next)) {
		if w.conn == nil && !w.connect(ctx) {
			next = time.Now().Add(retryPause)
			continue
		}
		if fenced := w.attempt(ctx); fenced {
			w.close() // a session keeps the setting it began with: only a new one sees that the fence is gone
			next = time.Now().Add(retryPause)
			continue
		}
		// A server that was slow is not punished with a burst of more than a second's work.
		next = next.Add(interval)
		if behind := time.Now().Add(-time.Second); next.Before(behind) {
			next = behind
		}
	}
}

// pause waits and says whether to go on.
func (w *writer) pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-w.g.stop:
		return false
	case <-ctx.Done():
		return false
	default:
	}
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-w.g.stop:
		return false
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (w *writer) connect(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := dial(ctx, w.g.options.Endpoint)
	if err == nil {
		w.conn = conn
		var readOnly bool
		if err = conn.QueryRow(ctx, "SELECT current_setting('transaction_read_only')::bool").Scan(&readOnly); err == nil && !readOnly {
			w.g.setFenced(w.number, false)
			err = w.known.read(ctx, conn)
		}
		if err == nil && readOnly {
			w.g.setFenced(w.number, true)
			w.close()
			return false
		}
	}
	if err == nil {
		return true
	}
	if !expected(err) && !errors.Is(err, context.Canceled) {
		w.g.fail("connect", err)
	}
	w.close()
	return false
}

// dial logs in as an application does: with no setting of Timeferry's, and a name that its fence does not spare.
func dial(ctx context.Context, e pgkit.Endpoint) (*pgx.Conn, error) {
	mode := e.SSLMode
	if mode == "" {
		mode = "prefer"
	}
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d dbname=%s user=%s sslmode=%s sslrootcert='%s' application_name=shop",
		e.Host, e.Port, e.Database, e.User, mode, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(e.SSLRootCert)))
	if err != nil {
		return nil, err
	}
	config.Password = e.Password
	return pgx.ConnectConfig(ctx, config)
}

func (w *writer) close() {
	if w.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = w.conn.Close(ctx) // the server ends the session in any case
	w.conn = nil
}

// attempt runs one transaction and books it. It says whether the server refused it because it is fenced.
func (w *writer) attempt(ctx context.Context) (fenced bool) {
	// The transaction at hand is finished even when Stop comes; only kill cuts it off.
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	w.seq++
	w.changes = map[string]Counts{}
	s := w.choose()
	result, err := w.transact(ctx, s)
	w.g.record(w.number, w.seq, result, w.changes)
	if err == nil || errors.Is(err, errGiveUp) {
		return false
	}
	if isFence(err) {
		w.g.setFenced(w.number, true)
		return true
	}
	if !expected(err) && !errors.Is(err, context.Canceled) {
		w.g.fail(s.name, err)
	}
	if w.conn.IsClosed() || isFatal(err) || ctx.Err() != nil {
		w.g.reconnected()
		w.close()
	}
	return false
}

func (w *writer) transact(ctx context.Context, s step) (outcome, error) {
	tx, err := w.conn.Begin(ctx)
	if err != nil {
		return rolledBack, err
	}
	if err := w.fill(ctx, tx, s); err != nil {
		// Without COMMIT nothing is kept, whatever comes of this.
		if rollbackErr := tx.Rollback(ctx); rollbackErr != nil && errors.Is(err, errGiveUp) {
			err = rollbackErr
		}
		return rolledBack, err
	}
	err = tx.Commit(ctx)
	if err == nil {
		return committed, nil
	}
	// Only an ordinary ERROR in answer to COMMIT proves that nothing was kept. A session that is ended, or a connection
	// that breaks, may have ended after the commit record was written.
	var pg *pgconn.PgError
	if errors.Is(err, pgx.ErrTxCommitRollback) || errors.As(err, &pg) && pg.Severity == "ERROR" {
		return rolledBack, err
	}
	return ambiguous, err
}

func (w *writer) fill(ctx context.Context, tx pgx.Tx, s step) error {
	if err := s.run(ctx, w, tx); err != nil {
		return err
	}
	if _, err := w.exec(ctx, tx, "load_journal", insert, "INSERT INTO load_journal (run, connection, seq, kind) VALUES ($1, $2, $3, $4)",
		w.g.run, w.number, w.seq, s.name); err != nil {
		return err
	}
	if w.rand.IntN(100) < rollbackPercent {
		return errGiveUp
	}
	return nil
}

type verb int

const (
	insert verb = iota
	update
	remove
	truncate
)

// exec runs a statement and counts the rows that it changed.
func (w *writer) exec(ctx context.Context, tx pgx.Tx, table string, v verb, sql string, args ...any) (int64, error) {
	tag, err := tx.Exec(ctx, sql, args...)
	if err != nil {
		return 0, err
	}
	w.count(table, v, tag.RowsAffected())
	return tag.RowsAffected(), nil
}

func (w *writer) count(table string, v verb, rows int64) {
	c := w.changes[table]
	switch v {
	case insert:
		c.Inserts += rows
	case update:
		c.Updates += rows
	case remove:
		c.Deletes += rows
	case truncate:
		c.Truncates++
	}
	w.changes[table] = c
}

func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// isFence: 25006 is read_only_sql_transaction.
func isFence(err error) bool { return sqlState(err) == "25006" }

func isFatal(err error) bool {
	var pg *pgconn.PgError
	return !errors.As(err, &pg) || pg.Severity == "FATAL"
}

// expected is what an application must live with: a server that goes away, and the conflicts of concurrent writers.
func expected(err error) bool {
	switch sqlState(err) {
	case "23505", "23503", "40001", "40P01", "53300", "57P01", "57P02", "57P03", "57014":
		return true
	case "25006":
		return true
	case "":
		// pgx says "conn closed" with an error of no public type; it is safe to retry because nothing was sent.
		return fault.Classify(err) == fault.Transient || pgconn.Timeout(err) || pgconn.SafeToRetry(err)
	}
	return fault.Classify(err) == fault.Transient
}
