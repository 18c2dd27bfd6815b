package apply

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/change"
	"timeferry/internal/fault"
)

// pipeline collects statements with what is expected of them.
type pipeline struct {
	s        *session
	p        *pgconn.Pipeline
	expected []*expectation
	bytes    int
}

// expectation is how an answer is judged.
type expectation struct {
	step     *step
	prepare  bool     // the answer to a Parse
	position bool     // the ledger's position, which must be the session's
	batch    *batch   // that is to be applied at the position
	moves    bool     // the position's update, which must affect one row
	commit   bool     // must not have become a rollback
	row      []string // filled with the one row
}

func (s *session) pipeline(ctx context.Context) *pipeline {
	return &pipeline{s: s, p: s.pg.StartPipeline(ctx)}
}

func (p *pipeline) query(sql string, params [][]byte, formats []int16, e *expectation) {
	p.p.SendQueryParams(sql, params, nil, formats, nil)
	p.expected = append(p.expected, e)
}

func (p *pipeline) step(st *step) {
	for _, v := range st.params {
		p.bytes += len(v)
	}
	if st.kind == stepQuery {
		p.query(st.sql, st.params, st.formats, &expectation{step: st})
		return
	}
	key := preparedKey{st.sql, st.table}
	name, ok := p.s.prepared[key]
	if !ok {
		p.s.names++
		name = "timeferry_" + strconv.Itoa(p.s.names)
		p.s.prepared[key] = name
		p.p.SendPrepare(name, st.sql, nil)
		p.expected = append(p.expected, &expectation{step: st, prepare: true})
	}
	p.p.SendQueryPrepared(name, st.params, st.formats, nil)
	p.expected = append(p.expected, &expectation{step: st})
}

// finish sends what is left, reads all answers in order, and returns the first thing that is not as expected.
func (p *pipeline) finish() error {
	var failed error
	if err := p.p.Sync(); err != nil {
		failed = err
	}
	for _, e := range p.expected {
		if failed != nil {
			break
		}
		failed = p.read(e)
	}
	if failed == nil {
		return p.p.Close()
	}
	_ = p.p.Close() // reads what is left; it can only repeat what failed
	return failed
}

func (p *pipeline) read(e *expectation) error {
	results, err := p.p.GetResults()
	if err != nil {
		return asRefusal(e.step, err)
	}
	reader, ok := results.(*pgconn.ResultReader)
	if !ok {
		if _, described := results.(*pgconn.StatementDescription); described && e.prepare {
			return nil
		}
		return fmt.Errorf("the target's answer is of an unexpected kind %T", results)
	}
	var values [][]byte
	for reader.NextRow() {
		values = values[:0]
		for _, v := range reader.Values() {
			values = append(values, bytes.Clone(v))
		}
	}
	tag, err := reader.Close()
	if err != nil {
		return asRefusal(e.step, err)
	}
	return p.judge(e, values, tag)
}

func (p *pipeline) judge(e *expectation, values [][]byte, tag pgconn.CommandTag) error {
	switch {
	case e.position:
		if err := p.s.checkPosition(values); err != nil {
			return err
		}
		return p.s.checkBarrier(e.batch, values)
	case e.moves && tag.RowsAffected() != 1:
		return &againError{reason: "another applier moved the position", contended: true}
	case e.commit && tag.String() != "COMMIT":
		return fmt.Errorf("the target answered COMMIT with %s", tag.String())
	case e.row != nil:
		for i := range e.row {
			e.row[i] = string(values[i])
		}
	case e.step != nil && e.step.rows != anyRows:
		return e.step.check(values, tag)
	}
	return nil
}

// check compares the number of rows with what the step wants.
func (st *step) check(values [][]byte, tag pgconn.CommandTag) error {
	affected := tag.RowsAffected()
	if st.counted {
		var distinct int64
		var err error
		if affected, err = strconv.ParseInt(string(values[0]), 10, 64); err != nil {
			return err
		}
		if distinct, err = strconv.ParseInt(string(values[1]), 10, 64); err != nil {
			return err
		}
		if distinct < st.rows {
			affected = distinct
		}
	}
	if affected != st.rows {
		return &refusedError{refusal{step: st, rows: affected}}
	}
	return nil
}

func (s *session) checkPosition(values [][]byte) error {
	if len(values) != 3 {
		return fault.New(fault.Operator, "read applied position of", "the target", "the migration's bookkeeping was dropped: start anew", "no row in timeferry.migration")
	}
	var position change.LSN
	if values[0] != nil {
		var err error
		if position, err = change.ParseLSN(string(values[0])); err != nil {
			return err
		}
	}
	if position != s.position {
		return &againError{reason: "another applier moved the position", contended: true}
	}
	return nil
}
