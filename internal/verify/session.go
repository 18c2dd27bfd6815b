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
	froms       map[ident.Table]string
	// snapshot, unless empty, is the one that a holder keeps: then each piece is read in a transaction of its own.
	snapshot string
}

// sessionSQL adds to what pgkit.Dial sets. search_path: names inside regclass and its kin are then always qualified.
// lc_monetary: the form of money. row_security: a policy that would hide rows makes an error instead.
// jit: compiling costs more than it saves for one aggregate.
const sessionSQL = `SET search_path = pg_catalog; SET lc_monetary = 'C'; SET row_security = off; SET jit = off`

const beginSQL = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

func openSession(ctx context.Context, side string, e pgkit.Endpoint, snapshot string) (*session, error) {
	s, err := dialSession(ctx, side, e)
	if err != nil {
		return nil, err
	}
	if err := s.begin(ctx, snapshot); err != nil {
		s.close(ctx)
		return nil, err
	}
	return s, nil
}

// dialSession makes a session that has no transaction yet.
func dialSession(ctx context.Context, side string, e pgkit.Endpoint) (*session, error) {
	conn, err := pgkit.Dial(ctx, e, "verify")
	if err != nil {
		return nil, fmt.Errorf("open a session on the %s: %w", side, err)
	}
	return &session{side: side, conn: conn, froms: map[ident.Table]string{}}, nil
}

func (s *session) begin(ctx context.Context, snapshot string) error {
	begin := sessionSQL + "; " + beginSQL
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

// open begins the transaction in which a piece is read, unless the session is in the one that has its snapshot.
func (s *session) open(ctx context.Context) error {
	if s.snapshot == "" || s.conn.PgConn().TxStatus() != 'I' {
		return nil
	}
	if _, err := s.conn.Exec(ctx, beginSQL+"; SET TRANSACTION SNAPSHOT "+ident.Literal(s.snapshot)); err != nil {
		return &fault.Error{Class: fault.Classify(err), Op: "look again through the snapshot of the", Subject: s.side, Err: err}
	}
	return nil
}

// release ends that transaction, and with it the locks on what was read: an application's TRUNCATE or ALTER TABLE waits for one piece
// at most, and not until all tables are compared.
func (s *session) release(ctx context.Context) error {
	if s.snapshot == "" {
		return nil
	}
	_, err := s.conn.Exec(ctx, "COMMIT")
	return err
}

// hold exports the session's snapshot. It stays for as long as the session, which must read nothing else.
func (s *session) hold(ctx context.Context) (snapshot string, err error) {
	if err := s.conn.QueryRow(ctx, "SELECT pg_export_snapshot()").Scan(&snapshot); err != nil {
		return "", fmt.Errorf("export a snapshot of the %s: %w", s.side, err)
	}
	return snapshot, nil
}

func (s *session) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // it only read
}

// read counts the rows of table, the name of t on this side, and computes their digest.
func (s *session) read(ctx context.Context, method string, table ident.Table, t Table) (rows int64, digest string, err error) {
	read, err := s.readRanges(ctx, method, table, t, nil)
	if err != nil || method == MethodCount {
		return read.rows, "", err
	}
	return read.rows, read.digest.String(), nil
}

// from is the table in a FROM clause.
func (s *session) from(ctx context.Context, table ident.Table, t Table) (string, error) {
	if from, known := s.froms[table]; known {
		return from, nil
	}
	whole, err := s.isWhole(ctx, table)
	if err != nil {
		return "", s.explain(table, err)
	}
	from := table.Quote()
	if !whole && !t.Root {
		from = "ONLY " + from
	}
	s.froms[table] = from
	return from, nil
}

// digestSQL is the sum of a 64-bit hash of each row's text. sum(bigint) is numeric and does not overflow.
func digestSQL(columns []string, convert bool) string {
	return "coalesce(sum(" + hashSQL(textSQL(columns, convert)) + "), 0)::text"
}

// textSQL is the text of a row value: null is nothing, the empty string is "", and values with commas, brackets or quotes are
// quoted, so that columns cannot flow into each other.
func textSQL(columns []string, convert bool) string {
	text := "ROW(" + ident.Columns(columns) + ")::text"
	if convert {
		text = "encode(convert_to(" + text + ", 'UTF8'), 'hex')"
	}
	return text
}

// hashSQL is the hash that hash partitioning rests on, so PostgreSQL keeps it the same from version to version; with collation C
// it is that of the bytes. It takes a third of the time of md5 (BenchmarkDigest's table).
func hashSQL(text string) string { return "hashtextextended(" + text + ` COLLATE "C", 0)` }

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
