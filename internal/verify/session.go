package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// session is a connection to one side, inside a transaction that only reads.
type session struct {
	side        string // "source" or "target", for errors
	conn        *pgx.Conn
	encoding    string
	convert     bool // hash the text as UTF-8 instead of in the database's encoding
	hypertables bool // TimescaleDB's catalogue is there
}

// sessionSQL adds to what pgkit.Dial sets. search_path: names inside regclass and its kin are then always qualified.
// lc_monetary: the form of money. row_security: a policy that would hide rows makes an error instead.
// jit: compiling costs more than it saves for one aggregate.
const sessionSQL = `SET search_path = pg_catalog; SET lc_monetary = 'C'; SET row_security = off; SET jit = off`

func openSession(ctx context.Context, side string, e pgkit.Endpoint, snapshot string) (*session, error) {
	conn, err := pgkit.Dial(ctx, e, "verify")
	if err != nil {
		return nil, fmt.Errorf("open a session on the %s: %w", side, err)
	}
	s := &session{side: side, conn: conn}
	if err := s.begin(ctx, snapshot); err != nil {
		s.close(ctx)
		return nil, err
	}
	return s, nil
}

func (s *session) begin(ctx context.Context, snapshot string) error {
	begin := sessionSQL + "; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
	if snapshot != "" {
		begin += "; SET TRANSACTION SNAPSHOT " + ident.Literal(snapshot)
	}
	if _, err := s.conn.Exec(ctx, begin); err != nil {
		return &fault.Error{Class: fault.Classify(err), Op: "look through the snapshot of the", Subject: s.side, Err: err}
	}
	err := s.conn.QueryRow(ctx, `SELECT current_setting('server_encoding'), to_regclass('_timescaledb_catalog.hypertable') IS NOT NULL`).
		Scan(&s.encoding, &s.hypertables)
	if err != nil {
		return fmt.Errorf("read settings of the %s: %w", s.side, err)
	}
	return nil
}

func (s *session) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // it only read
}

// read counts the rows of table, the name of t on this side, and computes their digest.
func (s *session) read(ctx context.Context, method string, table ident.Table, t Table) (rows int64, digest string, err error) {
	whole, err := s.isWhole(ctx, table)
	if err != nil {
		return 0, "", s.explain(table, err)
	}
	from := table.Quote()
	if !whole && !t.Root {
		from = "ONLY " + from
	}
	if method == MethodCount {
		err = s.conn.QueryRow(ctx, "SELECT count(*) FROM "+from).Scan(&rows)
	} else {
		err = s.conn.QueryRow(ctx, "SELECT count(*), "+digestSQL(t.Columns, s.convert)+" FROM "+from).Scan(&rows, &digest)
	}
	if err != nil {
		return 0, "", s.explain(table, err)
	}
	return rows, digest, nil
}

// digestSQL is the sum of a 64-bit hash of each row's text. The text is that of a row value: null is nothing, the empty
// string is "", and values with commas, brackets or quotes are quoted, so that columns cannot flow into each other. The
// hash is the one that hash partitioning rests on, so PostgreSQL keeps it the same from version to version; with
// collation C it is that of the bytes. It takes a third of the time of md5 (BenchmarkDigest's table). sum(bigint) is numeric
// and does not overflow.
func digestSQL(columns []string, convert bool) string {
	text := "ROW(" + ident.Columns(columns) + ")::text"
	if convert {
		text = "encode(convert_to(" + text + ", 'UTF8'), 'hex')"
	}
	return "coalesce(sum(hashtextextended(" + text + ` COLLATE "C", 0)), 0)::text`
}

// isWhole says whether the rows of table are in tables below it, which ONLY would miss: it is a partition root or a
// hypertable.
func (s *session) isWhole(ctx context.Context, table ident.Table) (bool, error) {
	var partitioned bool
	err := s.conn.QueryRow(ctx, `SELECT c.relkind = 'p' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')`, table.Schema, table.Name).Scan(&partitioned)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, fault.New(fault.Integrity, "compare", table.String(), "", "it is missing on the %s", s.side).WithCode("missing-table")
	}
	if err != nil || partitioned || !s.hypertables {
		return partitioned, err
	}
	var hypertable bool
	err = s.conn.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM _timescaledb_catalog.hypertable WHERE schema_name = $1 AND table_name = $2)`,
		table.Schema, table.Name).Scan(&hypertable)
	return hypertable, err
}

func (s *session) explain(table ident.Table, err error) error {
	var own *fault.Error
	if errors.As(err, &own) {
		return err
	}
	hint := ""
	var state interface{ SQLState() string }
	if errors.As(err, &state) && state.SQLState() == "42501" {
		hint = "grant SELECT on it, and where it has row security let its owner or a role with BYPASSRLS compare"
	}
	return &fault.Error{Class: fault.Classify(err), Op: "compare", Subject: strings.Join([]string{table.String(), "on the", s.side}, " "), Hint: hint, Err: err}
}
