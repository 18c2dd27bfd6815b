package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/change"
	"timeferry/internal/failpoint"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// session is the connection to the target with the transaction on it.
type session struct {
	conn     *pgx.Conn
	pg       *pgconn.PgConn
	watch    *pgkit.Watch           // of the connection, while we wait for the target
	prepared map[preparedKey]string // names
	names    int                    // given so far
	// position is the ledger's as far as we know; the next transaction checks it.
	position change.LSN
	taken    int  // the last barrier that was taken, as far as we know; the next transaction checks it
	open     bool // a transaction is under way: earlier batches were partial
	// transactions and changes were applied since the last commit was reported.
	transactions, changes int64
	tables                counts

	flushed  change.LSN // position that is on the target's disk
	unmarked []mark     // committed positions that may not be, oldest first
	lastMark time.Time
}

// preparedKey is a statement that is prepared once. The server keeps the types that its parameters had by then, so it serves for the
// definition of its table only that it was made for: the same text for a column that has become a float8 is another one.
type preparedKey struct {
	sql   string
	table *table // as it was read, or foretold, at one time
}

// mark says that position is safe once the target's WAL is flushed up to wal.
type mark struct{ wal, position change.LSN }

// settingsSQL makes a session that applies. With an empty search_path every name that PostgreSQL tells us is qualified.
// Keepalives end the session soon after this process is cut off, so that its transaction's locks do not stay.
// Settings that the server does not know are left out. random_page_cost: with the default a set-wise update of some ten thousand keys
// would read the whole table, however large, rather than look them up.
const settingsSQL = `SELECT set_config(name, value, false) FROM (VALUES
	('search_path', ''), ('client_encoding', 'UTF8'), ('synchronous_commit', 'off'), ('row_security', 'off'), ('jit', 'off'), ('work_mem', '64MB'), ('random_page_cost', '1.1'),
	('xmloption', 'content'), ('array_nulls', 'on'), ('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3'),
	('client_connection_check_interval', '10s'), ('timescaledb.max_tuples_decompressed_per_dml_transaction', '0')) s(name, value)
	JOIN pg_catalog.pg_settings USING (name)`

// fastSettingsSQL adds what pgkit.FastToastSQL does, without another question.
const fastSettingsSQL = settingsSQL + " UNION ALL " + pgkit.FastToastSQL

func openSession(ctx context.Context, o Options) (*session, error) {
	watch := pgkit.NewWatch(o.Target, o.Silence, o.Log)
	conn, err := pgkit.DialWatched(ctx, o.Target, "apply", watch)
	if err != nil {
		return nil, lost(err)
	}
	s := &session{conn: conn, pg: conn.PgConn(), watch: watch, prepared: map[preparedKey]string{}}
	defer watch.Wait()()
	settings := fastSettingsSQL
	if o.ServerToast {
		settings = settingsSQL
	}
	if _, err := conn.Exec(ctx, settings); err != nil {
		s.close()
		return nil, s.lost(fmt.Errorf("prepare session: %w", err))
	}
	if !o.ReplicaRole {
		return s, nil
	}
	if _, err := conn.Exec(ctx, "SET session_replication_role = replica"); err != nil {
		s.close()
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "42501" {
			return nil, fault.New(fault.Operator, "set session_replication_role on", o.Target.String(),
				"GRANT SET ON PARAMETER session_replication_role to the target's user, or apply without it", "permission denied").WithCode(CodeReplicaRole)
		}
		return nil, s.lost(err)
	}
	return s, nil
}

// close ends the connection; an open transaction is rolled back by the server.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	s.watch.Close()
	_ = s.conn.Close(ctx) // nothing can be done about it, and nothing is lost by it
}

// lost marks err as worth a new connection if it is one.
func lost(err error) error {
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "25006":
		// A failover may have brought us to a standby: worth a retry, and a remedy if it stays so.
		return &lostError{fault.New(fault.Operator, "write to", "the target", "check the target's free disk and its role",
			"it is read-only").WithCode(CodeReadOnly)}
	case fault.Classify(err) == fault.Transient:
		return &lostError{err}
	}
	return err
}

func (s *session) lost(err error) error {
	err = lost(err)
	if s.conn.IsClosed() && !retryable(err) {
		var pg *pgconn.PgError
		if !errors.As(err, &pg) { // not an answer of the server: the connection itself broke
			return &lostError{err}
		}
	}
	return err
}

// startAt takes the position that the ledger has. Commits before it may not be on the disk yet.
func (s *session) startAt(ctx context.Context, position change.LSN) error {
	defer s.watch.Wait()()
	s.position, s.transactions, s.changes, s.tables = position, 0, 0, nil
	wal, flushed, err := s.walPositions(ctx)
	if err != nil {
		return s.lost(err)
	}
	s.unmarked = []mark{{wal, position}}
	s.lastMark = time.Now()
	s.mark(flushed)
	return nil
}

func (s *session) walPositions(ctx context.Context) (insert, flushed change.LSN, err error) {
	var a, b string
	if err := s.conn.QueryRow(ctx, walSQL).Scan(&a, &b); err != nil {
		return 0, 0, err
	}
	return parseTwo(a, b)
}

const walSQL = "SELECT pg_current_wal_insert_lsn()::text, pg_current_wal_flush_lsn()::text"

func parseTwo(a, b string) (x, y change.LSN, err error) {
	if x, err = change.ParseLSN(a); err != nil {
		return 0, 0, err
	}
	y, err = change.ParseLSN(b)
	return x, y, err
}

// mark takes note of how far the target's WAL is flushed; true when that made a position safe.
func (s *session) mark(flushed change.LSN) bool {
	n := 0
	for n < len(s.unmarked) && s.unmarked[n].wal <= flushed {
		s.flushed = s.unmarked[n].position
		n++
	}
	s.unmarked = s.unmarked[n:]
	return n > 0
}

// flushAfter is how long a commit may wait for the target's WAL writer, which needs about 3 × wal_writer_delay, before we
// flush ourselves: other sessions' records can keep the end of the WAL unflushed on a quiet server.
const flushAfter = time.Second

// pollFlushed looks how far the target's disk is, when no transaction is open.
func (s *session) pollFlushed(ctx context.Context) (moved bool, err error) {
	if len(s.unmarked) == 0 || s.open {
		return false, nil
	}
	defer s.watch.Wait()()
	if time.Since(s.lastMark) > flushAfter {
		// A commit that waits takes everything before it to the disk.
		s.lastMark = time.Now()
		failpoint.At(failpoint.BeforeFlush)
		if _, err := s.pg.Exec(ctx, "BEGIN; SET LOCAL synchronous_commit = local; UPDATE timeferry.migration SET applied_lsn = applied_lsn; COMMIT").ReadAll(); err != nil {
			return false, s.lost(err)
		}
		failpoint.At(failpoint.AfterFlush)
	}
	_, flushed, err := s.walPositions(ctx)
	if err != nil {
		return false, s.lost(err)
	}
	return s.mark(flushed), nil
}

// rollback ends an open or failed transaction, so that the session can be used for another stream.
func (s *session) rollback(ctx context.Context) error {
	s.open = false
	if s.conn.IsClosed() {
		return &lostError{errors.New("the connection to the target was closed")}
	}
	defer s.watch.Wait()()
	if _, err := s.pg.Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
		return s.lost(err)
	}
	return s.forget(ctx)
}

// forget gives up all prepared statements.
func (s *session) forget(ctx context.Context) error {
	clear(s.prepared)
	if err := s.conn.DeallocateAll(ctx); err != nil {
		return s.lost(err)
	}
	return nil
}

// forgetMany forgets when there are many of them.
func (s *session) forgetMany(ctx context.Context) error {
	if len(s.prepared) <= maxPrepared {
		return nil
	}
	return s.forget(ctx)
}

// apply runs a batch, and commits unless it is partial. A refusal of the target rolls nothing back by itself: the caller
// does, or closes the connection.
func (s *session) apply(ctx context.Context, b *batch) error {
	defer s.watch.Wait()()
	err := s.run(ctx, b)
	if err == nil && !b.partial {
		err = s.commit(ctx, b.end)
	}
	if err != nil {
		return s.explain(b, err)
	}
	if b.partial {
		failpoint.At(failpoint.AfterPart)
	}
	s.count(b)
	return nil
}

// count notes what was applied for the next report.
func (s *session) count(b *batch) {
	s.transactions += b.transactions
	s.changes += b.changes
	s.tables.add(b.tables)
}

// explain decides what a failure means: the connection is gone, the batch must be replayed, or it is a fault.
func (s *session) explain(b *batch, err error) error {
	var refused *refusedError
	if !errors.As(err, &refused) {
		return s.lost(err)
	}
	if pg := refused.pg; pg != nil {
		if (pg.Code == lockNotAvailable || pg.Code == deadlockDetected) && len(b.lanes) > 0 {
			return &againError{reason: "the lanes got into each other's way", cause: refused.fault(), aloneUntil: b.reached}
		}
		if again := s.lost(pg); retryable(again) {
			return again
		}
		if class := pg.Code[:2]; class == "53" || class == "58" || class == "XX" {
			return refused.fault() // the server's own trouble: order would not help
		}
	}
	if b.strict {
		return refused.fault()
	}
	return &againError{reason: "the batch was refused", cause: refused.fault(), strictUntil: b.reached}
}

type refusedError struct{ refusal }

func (e *refusedError) Error() string { return e.fault().Error() }

// chunk is how many steps are sent before their answers are read.
const (
	chunkSteps = 1000
	chunkBytes = 1 << 20
	// maxPrepared bounds the server's memory for prepared statements.
	maxPrepared = 1000
)

// lock begins the transaction of a batch that is shared among lanes, and locks the position.
func (s *session) lock(ctx context.Context, b *batch) error {
	p := s.pipeline(ctx)
	s.begin(p)
	p.query(ledger.PositionSQL, nil, nil, &expectation{position: true, batch: b})
	p.query(laneLock, nil, nil, &expectation{})
	return p.finish()
}

func (s *session) run(ctx context.Context, b *batch) error {
	if err := s.forgetMany(ctx); err != nil {
		return err
	}
	p := s.pipeline(ctx)
	if !s.open {
		s.begin(p)
		p.query(ledger.PositionSQL, nil, nil, &expectation{position: true, batch: b})
	}
	p, err := s.runSteps(ctx, p, b.steps)
	if err != nil {
		return err
	}
	b.touched.send(p, s.taken)
	if !b.partial {
		var commitTime []byte
		if !b.commitTime.IsZero() {
			commitTime = []byte(b.commitTime.UTC().Format("2006-01-02 15:04:05.999999Z07:00"))
		}
		counts := [2][]byte{strconv.AppendInt(nil, s.transactions+b.transactions, 10), strconv.AppendInt(nil, s.changes+b.changes, 10)}
		p.query(ledger.SetAppliedSQL, [][]byte{[]byte(b.end.String()), commitTime, counts[0], counts[1]}, nil, &expectation{moves: true})
	}
	return p.finish()
}

func (s *session) begin(p *pipeline) {
	s.open = true
	p.query("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", nil, nil, &expectation{})
}

// runSteps puts steps into p, and into others after it where that was finished. It returns the last.
func (s *session) runSteps(ctx context.Context, p *pipeline, steps []step) (*pipeline, error) {
	for i := range steps {
		st := &steps[i]
		if st.kind == stepCopy {
			if err := p.finish(); err != nil {
				return nil, err
			}
			if err := s.copy(ctx, st); err != nil {
				return nil, err
			}
			p = s.pipeline(ctx)
			continue
		}
		p.step(st)
		if len(p.expected) >= chunkSteps || p.bytes >= chunkBytes {
			if err := p.finish(); err != nil {
				return nil, err
			}
			p = s.pipeline(ctx)
		}
	}
	return p, nil
}

func (s *session) copy(ctx context.Context, st *step) error {
	tag, err := s.pg.CopyFrom(ctx, bytes.NewReader(st.data), st.sql)
	if err != nil {
		return asRefusal(st, err)
	}
	if tag.RowsAffected() != st.rows {
		return &refusedError{refusal{step: st, rows: tag.RowsAffected()}}
	}
	return nil
}

func asRefusal(st *step, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return &refusedError{refusal{step: st, pg: pg}}
	}
	return err
}

// commit commits, and notes up to where the target's WAL must be flushed for it.
func (s *session) commit(ctx context.Context, position change.LSN) error {
	failpoint.At(failpoint.BeforeCommit)
	p := s.pipeline(ctx)
	p.query("COMMIT", nil, nil, &expectation{commit: true})
	lsns := &expectation{row: make([]string, 2)}
	p.query(walSQL, nil, nil, lsns)
	err := p.finish()
	if err != nil {
		return err
	}
	failpoint.At(failpoint.AfterCommit)
	s.open, s.position = false, position
	wal, flushed, err := parseTwo(lsns.row[0], lsns.row[1])
	if err != nil {
		return err
	}
	if n := len(s.unmarked); n > 1000 { // a busy server flushes all the time: fewer marks do
		s.unmarked = s.unmarked[:n-1]
	}
	s.mark(flushed)
	s.unmarked = append(s.unmarked, mark{wal, position})
	s.lastMark = time.Now()
	return nil
}
