package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/change"
	"timeferry/internal/fault"
)

// Codes of faults.
const (
	// CodeUnknownTable: the stream has a change of a table that is not in scope.
	CodeUnknownTable = "unknown-table"
	// CodeSchemaChanged: the table on the target cannot take the rows as the stream describes them.
	CodeSchemaChanged = "schema-changed"
	// CodeRowMissing: an update or delete found no row.
	CodeRowMissing = "row-missing"
	// CodeRowAmbiguous: an update or delete found more than one row.
	CodeRowAmbiguous = "row-ambiguous"
	// CodeConflict: a constraint of the target refuses a row.
	CodeConflict = "conflict"
	// CodeValueRefused: a type of the target refuses a value.
	CodeValueRefused = "value-refused"
	// CodeReplicaRole: session_replication_role may not be set.
	CodeReplicaRole = "replica-role"
	// CodePartitionTruncated: a partition was truncated whose rows cannot be told from the others' on the target.
	CodePartitionTruncated = "partition-truncated"
	// CodeReadOnly: the target takes no writes.
	CodeReadOnly = "target-read-only"
)

const opApply = "apply changes to"

// againError asks for a new stream over the same connection, from the ledger's position.
type againError struct {
	reason      string
	cause       error
	strictUntil change.LSN // apply change by change up to this FinalLSN
	aloneUntil  change.LSN // apply without lanes up to this FinalLSN
	replayFrom  change.LSN // the transaction with this FinalLSN was not applied, whatever the position says
	levelBefore change.LSN // lanes that are ahead have nothing of the transaction with this FinalLSN, whatever their position says
	contended   bool       // another applier moved the position
	stopBefore  change.LSN // end with cause before the transaction with this FinalLSN
	barrier     bool       // a barrier must be looked at first
	atCut       bool       // all that comes before it is applied
}

// Again is the error of a feed that has ended and may be opened anew: Run rolls back what is not committed and goes on from the
// position that the target has.
func Again(reason string, cause error) error { return &againError{reason: reason, cause: cause} }

func (e *againError) Error() string {
	if e.cause != nil {
		return e.reason + ": " + e.cause.Error()
	}
	return e.reason
}

func (e *againError) Unwrap() error { return e.cause }

// lostError is a failure of the connection, or of the server as a whole: worth a new connection.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

func retryable(err error) bool {
	var lost *lostError
	return errors.As(err, &lost)
}

// refusal is what the target said about one step.
type refusal struct {
	step *step
	pg   *pgconn.PgError // nil when the number of rows was wrong
	rows int64           // affected, when it was
}

// fault says what a refusal means for good, and keeps what tells its reason.
func (r refusal) fault() *fault.Error {
	f := r.plainFault()
	if r.pg != nil {
		f.Err = &causeError{err: f.Err, state: r.pg.Code, column: r.pg.ColumnName, rule: r.pg.ConstraintName}
	}
	return f
}

// plainFault says it in words. The server's message is repeated only for classes whose messages hold no
// values; its detail never is.
func (r refusal) plainFault() *fault.Error {
	subject := ""
	if r.step != nil && r.step.table != nil {
		subject = r.step.table.name.String()
	}
	if r.pg == nil {
		return r.rowFault(subject)
	}
	code := r.pg.Code
	switch {
	case r.step != nil && r.step.verb == verbAlter:
		return refusedChange(subject, r.step.sql, r.pg)
	case strings.HasPrefix(code, "23"):
		if subject == "" && r.pg.TableName != "" {
			subject = r.pg.SchemaName + "." + r.pg.TableName
		}
		what := "constraint " + r.pg.ConstraintName
		if r.pg.ConstraintName == "" {
			what = "not-null constraint of column " + r.pg.ColumnName
		}
		return fault.New(fault.Integrity, opApply, subject, "compare the table on both sides; if somebody else wrote to the target, abort, then start again",
			"%s%s is violated (SQLSTATE %s)", r.keyText(), what, code).WithCode(CodeConflict)
	case strings.HasPrefix(code, "22"):
		return fault.New(fault.Operator, opApply, subject, "make the target's column types those of the source, then resume",
			"%sa column's type refuses a value (SQLSTATE %s)", r.keyText(), code).WithCode(CodeValueRefused)
	case code == "42501":
		return fault.New(fault.Operator, opApply, subject, "grant the target's user the privilege, then resume", "%s", r.pg.Message)
	case strings.HasPrefix(code, "42"), code == "428C9":
		return fault.New(fault.Operator, opApply, subject, "bring the target's table in line with the source's, then resume",
			"%s (SQLSTATE %s)", r.pg.Message, code).WithCode(CodeSchemaChanged)
	}
	return fault.New(fault.Classify(r.pg), opApply, subject, "see the target's log", "%s", describe(r.pg))
}

func (r refusal) rowFault(subject string) *fault.Error {
	const hint = "compare the table on both sides; if somebody else wrote to the target, abort, then start again"
	if r.rows < r.step.rows {
		return fault.New(fault.Integrity, opApply, subject, hint, "%s%s found no row", r.keyText(), r.step.verb).WithCode(CodeRowMissing)
	}
	return fault.New(fault.Integrity, opApply, subject, hint, "%s%s found %d rows", r.keyText(), r.step.verb, r.rows).WithCode(CodeRowAmbiguous)
}

func (r refusal) keyText() string {
	if r.step == nil || r.step.key == nil {
		return ""
	}
	return fmt.Sprintf("key hash %s: ", hashKey(r.step.key))
}

// hashKey names a row without showing it.
func hashKey(key []byte) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:6])
}

// describe is the server's error without anything that might hold a value.
func describe(pg *pgconn.PgError) string {
	if strings.HasPrefix(pg.Code, "22") || pg.Code == "P0001" {
		return "SQLSTATE " + pg.Code
	}
	return fmt.Sprintf("%s (SQLSTATE %s)", pg.Message, pg.Code)
}

func unknownTable(rel *change.Relation) error {
	return fault.New(fault.Operator, opApply, tableName(rel).String(), "take the table out of the publication, or into the migration by a new start",
		"the stream has a change of a table that is not in scope").WithCode(CodeUnknownTable)
}

func outOfOrder(format string, args ...any) error {
	return fault.New(fault.Bug, "read change stream", "", "", format, args...)
}
