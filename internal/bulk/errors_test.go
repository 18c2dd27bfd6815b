package bulk

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

func TestShownHoldsNoValues(t *testing.T) {
	for _, c := range []struct {
		name string
		err  pgconn.PgError
		want string
	}{
		{"value in the message", pgconn.PgError{Code: "22P02", Message: `invalid input syntax for type integer: "secret"`, Where: `COPY t, line 3, column a b: "secret"`},
			`a value is refused, column "a b" (SQLSTATE 22P02)`},
		{"binary value", pgconn.PgError{Code: "22P03", Message: "incorrect binary data format", Where: "COPY t, line 1, column v\nmore: secret"}, `a value is refused, column "v" (SQLSTATE 22P03)`},
		{"value in the context", pgconn.PgError{Code: "23502", Message: `null value in column "v"`, Detail: "Failing row contains (secret).", Where: `COPY t, line 1: "secret"`}, `null value in column "v" (SQLSTATE 23502)`},
		{"database's own code", pgconn.PgError{Code: "P0001", Message: "no secret", Where: "PL/pgSQL function f() line 1 at RAISE\nCOPY t, line 1, column v: secret"}, "a value is refused (SQLSTATE P0001)"},
		{"harmless", pgconn.PgError{Code: "42P01", Message: `relation "t" does not exist`}, `relation "t" does not exist (SQLSTATE 42P01)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := shown(&c.err)
			require.Equal(t, c.want, got.Error())
			require.Equal(t, c.err.Code, sqlState(got), "the class can still be told")
		})
	}
	plain := errors.New("connection reset")
	require.Equal(t, plain, shown(plain))
}

func TestCopyFailedClasses(t *testing.T) {
	part := ledger.Part{Table: ident.Table{Schema: "public", Name: "t"}, Alone: true}
	for code, want := range map[string]fault.Class{
		"22P03": fault.Operator, "08P01": fault.Operator, "42P01": fault.Operator, "42501": fault.Operator, "53100": fault.Operator,
		"23505": fault.Integrity, "57P01": fault.Transient, "40P01": fault.Transient, "08006": fault.Transient,
	} {
		require.Equal(t, want, fault.Classify(copyFailed(part, "target", &pgconn.PgError{Code: code})), code)
	}
}

func TestCopySQL(t *testing.T) {
	first, end := int64(10), int64(20)
	part := ledger.Part{Table: ident.Table{Schema: "a", Name: "root"}, Source: ident.Table{Schema: "s", Name: `le"af`}, Columns: []string{"x", "Y"}}
	require.Equal(t, `COPY "s"."le""af" ("x", "Y") TO STDOUT (FORMAT binary)`, copyOutSQL(part))
	part.First, part.TextCopy = &first, true
	require.Equal(t, `COPY (SELECT "x", "Y" FROM ONLY "s"."le""af" WHERE ctid >= '(10,0)'::tid) TO STDOUT (FORMAT text)`, copyOutSQL(part))
	part.End, part.TextCopy = &end, false
	require.Equal(t, `COPY (SELECT "x", "Y" FROM ONLY "s"."le""af" WHERE ctid >= '(10,0)'::tid AND ctid < '(20,0)'::tid) TO STDOUT (FORMAT binary)`, copyOutSQL(part))
	require.Equal(t, `COPY "a"."root" ("x", "Y") FROM STDIN (FORMAT binary, FREEZE)`, copyInSQL(part.Table.Quote(), part.Columns, part, true))
}
