package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"timeferry/internal/ident"
)

// move is one step of one of the writing sessions.
type move struct {
	kind    moveKind
	session int
	sql     string
	data    string // of copyIn
}

type moveKind string

const (
	rest      moveKind = "" // does nothing: what shrinking puts in the place of moves that do not matter
	single    moveKind = "one statement, committed"
	within    moveKind = "statement"
	commit    moveKind = "commit"
	rollback  moveKind = "rollback"
	nest      moveKind = "savepoint"
	back      moveKind = "rollback to savepoint"
	prepare   moveKind = "prepare transaction"
	finish    moveKind = "commit prepared"
	undo      moveKind = "rollback prepared"
	everybody moveKind = "alone"
	copyIn    moveKind = "copy"
)

// sessions write side by side, so that transactions begin in one order and commit in another.
const sessions = 3

// moveKinds says how often which kind comes.
var moveKinds = repeated(map[moveKind]int{rest: 1, single: 24, within: 30, commit: 18, rollback: 2, nest: 3, back: 2, prepare: 2, finish: 3, undo: 1, everybody: 2, copyIn: 2},
	rest, single, within, commit, rollback, nest, back, prepare, finish, undo, everybody, copyIn)

func repeated(weights map[moveKind]int, order ...moveKind) []moveKind {
	var list []moveKind
	for _, k := range order {
		for range weights[k] {
			list = append(list, k)
		}
	}
	return list
}

var moves = rapid.Custom(func(t *rapid.T) move {
	d := draw{t}
	m := move{kind: rapid.SampledFrom(moveKinds).Draw(t, "kind"), session: d.n(0, sessions-1)}
	switch m.kind {
	case single, within:
		m.sql = statement(d)
	case everybody:
		m.sql = alone(d)
	case copyIn:
		m.sql, m.data = copied(d)
	}
	return m
})

// copied are rows that come by one COPY, which gives them all one position in the log.
func copied(d draw) (sql, data string) {
	var b strings.Builder
	if d.n(0, 1) == 0 {
		for range d.n(1, 30) {
			fmt.Fprintf(&b, "%d\tcopied\n", d.n(1, 3))
		}
		return "COPY kept FROM STDIN", b.String()
	}
	from := d.n(1, 50) * 100
	for i := range d.n(1, 400) {
		fmt.Fprintf(&b, "%d\tcopy %d\t\\N\n", 200000+from+i, 200000+from+i)
	}
	return "COPY keyed (id, code, v) FROM STDIN", b.String()
}

// writer plays moves on the source. What the source refuses is undone to the statement before, so that every move is allowed
// in every state, and shrinking can leave out any of them.
type writer struct {
	conns    []*pgx.Conn
	open     [sessions]bool
	nested   [sessions]int
	prepared []string
	serial   int
	// transactions counts what was committed.
	transactions int
	log          func(format string, args ...any)
	// spares, if not nil, says which statements are not for those that follow.
	spares func(sql string) bool
}

func newWriter(conns []*pgx.Conn, log func(string, ...any)) *writer {
	return &writer{conns: conns, log: log}
}

func (w *writer) play(m move) error {
	if m.kind == rest {
		return nil
	}
	s := m.session
	switch m.kind {
	case single:
		return w.single(s, m.sql)
	case within:
		return w.change(s, m.sql)
	case copyIn:
		return w.copy(s, m)
	case commit:
		return w.end(s, "COMMIT")
	case rollback:
		return w.end(s, "ROLLBACK")
	case nest:
		return w.nest(s)
	case back:
		return w.back(s)
	case prepare:
		return w.prepare(s)
	case finish:
		return w.finish("COMMIT PREPARED ")
	case undo:
		return w.finish("ROLLBACK PREPARED ")
	case everybody:
		return w.alone(s, m.sql)
	}
	return fmt.Errorf("no such move: %q", m.kind)
}

// do runs SQL that must succeed.
func (w *writer) do(s int, sql string) error {
	refused, err := w.try(s, sql)
	if err == nil && refused != "" {
		err = fmt.Errorf("%s: SQLSTATE %s", sql, refused)
	}
	return err
}

// try runs SQL that the source may refuse: refused is its SQLSTATE. A refusal that says that the test is wrong is an error.
func (w *writer) try(s int, sql string) (refused string, err error) {
	_, err = w.conns[s].PgConn().Exec(context.Background(), sql).ReadAll()
	var pg *pgconn.PgError
	switch {
	case err == nil:
		w.log("%d: %s", s, sql)
		return "", nil
	case errors.As(err, &pg) && expected(pg.Code):
		w.log("%d: %s -- refused: %s", s, sql, pg.Message)
		return pg.Code, nil
	}
	return "", fmt.Errorf("session %d: %s: %w", s, sql, err)
}

// expected are refusals that a random workload meets: constraints, locks, values that a type does not take.
func expected(code string) bool {
	return strings.HasPrefix(code, "23") || strings.HasPrefix(code, "22") || code == "55P03" || code == "40P01" || code == "21000" || code == "55006"
}

func (w *writer) begin(s int) error {
	if w.open[s] {
		return nil
	}
	w.open[s], w.nested[s] = true, 0
	return w.do(s, "BEGIN")
}

func (w *writer) change(s int, sql string) error {
	return w.inSavepoint(s, func() (bool, error) {
		refused, err := w.try(s, sql)
		return refused != "", err
	})
}

func (w *writer) inSavepoint(s int, do func() (refused bool, err error)) error {
	if err := w.begin(s); err != nil {
		return err
	}
	if err := w.do(s, "SAVEPOINT statement"); err != nil {
		return err
	}
	refused, err := do()
	if err != nil {
		return err
	}
	if refused {
		return w.do(s, "ROLLBACK TO statement")
	}
	return w.do(s, "RELEASE statement")
}

// single commits what is open, so that the statement is a transaction of its own.
func (w *writer) single(s int, sql string) error {
	if err := w.end(s, "COMMIT"); err != nil {
		return err
	}
	refused, err := w.try(s, sql)
	switch {
	case err != nil:
	case refused == "":
		w.transactions++
	case strings.Contains(sql, originSetup): // which is no part of the transaction
		return w.do(s, originReset)
	}
	return err
}

// A session that takes on an origin marks its changes as not its own.
const (
	originSetup = "SELECT pg_replication_origin_session_setup('elsewhere')"
	originReset = "SELECT pg_replication_origin_session_reset()"
)

func (w *writer) copy(s int, m move) error {
	return w.inSavepoint(s, func() (bool, error) {
		_, err := w.conns[s].PgConn().CopyFrom(context.Background(), strings.NewReader(m.data), m.sql)
		var pg *pgconn.PgError
		w.log("%d: %s -- %d lines: %v", s, m.sql, strings.Count(m.data, "\n"), err)
		if errors.As(err, &pg) && expected(pg.Code) {
			return true, nil
		}
		return false, err
	})
}

func (w *writer) end(s int, how string) error {
	if !w.open[s] {
		return nil
	}
	w.open[s] = false
	if how == "COMMIT" {
		w.transactions++
	}
	return w.do(s, how)
}

func (w *writer) nest(s int) error {
	if err := w.begin(s); err != nil {
		return err
	}
	w.nested[s]++
	return w.do(s, fmt.Sprintf("SAVEPOINT nested_%d", w.nested[s]))
}

func (w *writer) back(s int) error {
	if !w.open[s] || w.nested[s] == 0 {
		return nil
	}
	w.nested[s]--
	return w.do(s, fmt.Sprintf("ROLLBACK TO nested_%d", w.nested[s]+1))
}

func (w *writer) prepare(s int) error {
	if !w.open[s] || len(w.prepared) > 3 {
		return nil
	}
	w.serial++
	gid := fmt.Sprintf("gid %d", w.serial)
	w.open[s] = false
	w.prepared = append(w.prepared, gid)
	return w.do(s, "PREPARE TRANSACTION "+ident.Literal(gid))
}

func (w *writer) finish(how string) error {
	if len(w.prepared) == 0 {
		return nil
	}
	gid := w.prepared[0]
	w.prepared = w.prepared[1:]
	s := 0
	for w.open[s] {
		if s++; s == sessions { // it cannot be done inside of a transaction
			s = 0
			if err := w.end(s, "COMMIT"); err != nil {
				return err
			}
		}
	}
	w.transactions++
	return w.do(s, how+ident.Literal(gid))
}

// settle ends everything that is open.
func (w *writer) settle() error {
	for s := range sessions {
		if err := w.end(s, "COMMIT"); err != nil {
			return err
		}
	}
	for len(w.prepared) > 0 {
		if err := w.finish("COMMIT PREPARED "); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) alone(s int, sql string) error {
	if w.spares != nil && w.spares(sql) {
		return nil
	}
	if err := w.settle(); err != nil {
		return err
	}
	return w.single(s, sql)
}
