package bulk

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// Codes of this room's faults.
const (
	// CodeSnapshotLost: the epoch's snapshot is gone. Call again when a new epoch has begun.
	CodeSnapshotLost = "snapshot-lost"
	// CodeTableRewritten: the table's rows moved under the copy. Begin a new epoch, then call again.
	CodeTableRewritten = "table-rewritten"
	// CodeCopyFailed: one side refuses this table's rows.
	CodeCopyFailed = "copy-failed"
	// CodeCannotEmpty: an unfinished table cannot be emptied for a new epoch.
	CodeCannotEmpty = "cannot-empty"
)

const stateLockNotAvailable = "55P03"

func sqlState(err error) string {
	var s interface{ SQLState() string }
	if errors.As(err, &s) {
		return s.SQLState()
	}
	return ""
}

// snapshotGone: what SET TRANSACTION SNAPSHOT says differs between versions: invalid_parameter_value until 15,
// undefined_object later, and object_not_in_prerequisite_state when the exporter is just ending.
func snapshotGone(err error) bool {
	switch sqlState(err) {
	case "22023", "42704", "55000":
		return true
	}
	return false
}

func snapshotLost(part ledger.Part, err error) error {
	return fault.New(fault.Transient, "copy", subject(part), "", "snapshot of epoch %d is gone: %w", part.Epoch, shown(err)).WithCode(CodeSnapshotLost)
}

func tableRewritten(part ledger.Part) error {
	return fault.New(fault.Transient, "copy", subject(part), "keep VACUUM FULL, CLUSTER and pg_repack away from the source while it is copied",
		"%s was rewritten or altered on the source since epoch %d began, so its parts do not fit together any more", part.Source, part.Epoch).WithCode(CodeTableRewritten)
}

// tablesAside ends a copy that has come to its end but for the tables that were set aside.
func tablesAside(tables []ident.Table) error {
	return fault.New(fault.Transient, "copy", someOf(tables), "keep VACUUM FULL, CLUSTER, pg_repack and ALTER TABLE away from the source while it is copied",
		"rewritten or altered on the source since the snapshot was taken: they are copied under another one").WithCode(CodeTableRewritten)
}

// someOf names the first few.
func someOf(tables []ident.Table) string {
	names := make([]string, 0, 3)
	for _, t := range tables[:min(len(tables), 3)] {
		names = append(names, t.String())
	}
	text := strings.Join(names, ", ")
	if more := len(tables) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// subject names the table and, where it has several, the part.
func subject(part ledger.Part) string {
	if part.Alone {
		return part.Table.String()
	}
	first, end := "start", "end"
	if part.First != nil {
		first = fmt.Sprintf("block %d", *part.First)
	}
	if part.End != nil {
		end = fmt.Sprintf("block %d", *part.End)
	}
	if part.KeyColumn != "" { // its bounds are values of rows
		return fmt.Sprintf("%s part %d (%s, a range of %s)", part.Table, part.Number, part.Source, part.KeyColumn)
	}
	return fmt.Sprintf("%s part %d (%s, from %s to %s)", part.Table, part.Number, part.Source, first, end)
}

// failed wraps an error of a statement that is not COPY.
func failed(part ledger.Part, op string, err error) error {
	return fmt.Errorf("%s %s: %w", op, subject(part), shown(err))
}

// copyFailed explains an error of COPY on the named side.
func copyFailed(part ledger.Part, side string, err error) error {
	f := &fault.Error{Class: fault.Classify(err), Op: "copy", Subject: subject(part), Err: fmt.Errorf("%s: %w", side, shown(err))}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return f
	}
	switch {
	case pg.Code == "23505":
		f.Class, f.Code = fault.Integrity, CodeCopyFailed
		f.Hint = "the target holds rows that this migration did not copy, or the source's unique index is damaged; nothing was committed"
	case strings.HasPrefix(pg.Code, "53"):
		f.Code, f.Hint = CodeCopyFailed, "the "+side+" is short of room or memory"
	// A refused message (08P01) is no broken connection: the table's binary form is not what the other side reads.
	case f.Class == fault.Unknown || pg.Code == "08P01":
		f.Class, f.Code = fault.Operator, CodeCopyFailed
		f.Hint = "compare the table's columns and types on both sides"
	case f.Class == fault.Operator:
		f.Code = CodeCopyFailed
	}
	return f
}

func rowsMissing(part ledger.Part, sent, taken int64) error {
	return fault.New(fault.Integrity, "copy", subject(part), "look for triggers on the target that leave rows out",
		"the source sent %d rows, the target took %d", sent, taken).WithCode(CodeCopyFailed)
}

func cannotEmpty(tables []ident.Table, err error) error {
	f := &fault.Error{Class: fault.Classify(err), Op: "empty", Subject: someOf(tables), Err: shown(err)}
	if f.Class == fault.Operator {
		f.Code, f.Hint = CodeCannotEmpty, "drop foreign keys from complete tables to these on the target; they are made again later"
	}
	return f
}

// serverError is a server's error without what may hold values of rows: its detail and context, and the message where
// that quotes data or is written by the database's own code.
type serverError struct{ code, message string }

func (e serverError) Error() string    { return e.message + " (SQLSTATE " + e.code + ")" }
func (e serverError) SQLState() string { return e.code }

// shown makes err fit to be read by people.
func shown(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	e := serverError{code: pg.Code, message: pg.Message}
	if strings.HasPrefix(pg.Code, "22") && !snapshotGone(pg) || strings.HasPrefix(pg.Code, "P0") {
		e.message = "a value is refused"
	}
	if column := copyColumn(pg.Where); column != "" {
		e.message += ", column " + ident.Quote(column)
	}
	return e
}

// copyColumn finds the column in COPY's context: "COPY t, line 1, column c: "value"".
func copyColumn(where string) string {
	if !strings.HasPrefix(where, "COPY ") {
		return ""
	}
	line, _, _ := strings.Cut(where, "\n")
	_, column, found := strings.Cut(line, ", column ")
	if !found {
		return ""
	}
	column, _, _ = strings.Cut(column, ":")
	return column
}
