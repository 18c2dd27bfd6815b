package provision

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/fault"
	"timeferry/internal/target/ledger"
)

// explain names the object, the line, PostgreSQL's message and its hint. What the server says about rows (its detail) is
// left out, and so is the rest of the statement.
func explain(e ledger.Entry, sql string, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fmt.Errorf("restore %s: %w", e, err)
	}
	class := fault.Classify(pg)
	hint := "correct it on the source or the target, then resume"
	switch {
	case class == fault.Transient:
		hint = ""
	case strings.HasPrefix(pg.Code, "23"):
		class, hint = fault.Integrity, "the rows on the target do not allow it: compare them with the source's"
	case e.Kind == "EXTENSION":
		class, hint = fault.Operator, "install this extension on the target, or remove it from the source if nothing uses it"
	case pg.Code == privilegeRefused:
		class, hint = fault.Operator, "give the target's user this right, then resume"
	case slices.Contains([]string{"42P07", "42710", "42723", "42P06"}, pg.Code):
		class, hint = fault.Operator, "something of this name is on the target already: drop it, or migrate into an empty database"
	case class != fault.Integrity:
		class = fault.Operator
	}
	if pg.Hint != "" {
		hint = strings.TrimPrefix(hint+"; the server says: "+firstLine(pg.Hint), "; ")
	}
	where := failingLine(sql, pg.Position)
	if e.Kind == kindExtensionData {
		where = "its rows" // not to be shown
	}
	return fault.New(class, "restore", e.String(), hint, "%w, in: %s", pg, where).WithCode("restore-failed")
}

// failingLine is the line that the server's position (in characters, from 1) points at, or the first one.
func failingLine(sql string, position int32) string {
	if position <= 0 {
		return firstLine(sql)
	}
	at := len(sql)
	for i := range sql {
		if position--; position == 0 {
			at = i
			break
		}
	}
	start := strings.LastIndexByte(sql[:at], '\n') + 1
	return firstLine(sql[start:])
}

func firstLine(sql string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(sql), "\n")
	if short := []rune(line); len(short) > 200 {
		return string(short[:200]) + "…"
	}
	return line
}

func hasState(err error, state string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == state
}

func stateOf(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

func postgresMessage(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Message
	}
	return err.Error()
}

// fromData is true for what the server said about the statement, not about the connection or the moment.
func fromData(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Severity == "ERROR" && fault.Classify(pg) != fault.Transient
}
