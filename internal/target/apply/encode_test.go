package apply

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
)

func TestTextArrayIsWhatTheServerReads(t *testing.T) {
	values := row1("a", "", null, `{"x"}`, unchanged)
	encoded := textArray(len(values), func(i int) change.Datum { return values[i] })
	var decoded []*string
	require.NoError(t, pgtype.NewMap().Scan(pgtype.TextArrayOID, pgtype.BinaryFormatCode, encoded, &decoded))
	require.Len(t, decoded, 5)
	require.Equal(t, []string{"a", "", `{"x"}`}, []string{*decoded[0], *decoded[1], *decoded[3]})
	require.Nil(t, decoded[2])
	require.Nil(t, decoded[4])
}

func TestCopyRow(t *testing.T) {
	require.Equal(t, "a\\tb\t\\N\t\\\\N\t\t\\\\.\tx\\ny\\r\n", string(appendCopyRow(nil, row1("a\tb", null, `\N`, "", `\.`, "x\ny\r"))))
}

func TestOneRowTellsEmptyFromNull(t *testing.T) {
	params := oneRow(row1("", null, "a"))
	require.NotNil(t, params[0])
	require.Empty(t, params[0])
	require.Nil(t, params[1])
	require.Equal(t, "a", string(params[2]))
}

func TestLeastAndGreatest(t *testing.T) {
	for _, c := range []struct {
		typeOID         uint32
		values          []string
		least, greatest string // empty: cannot tell
	}{
		{int8OID, []string{"9", "-10", "100"}, "-10", "100"},
		{int4OID, []string{"7"}, "7", "7"},
		{int4OID, []string{"7", "x"}, "", ""},
		{dateOID, []string{"2024-02-01", "2024-01-31", "2024-12-01"}, "2024-01-31", "2024-12-01"},
		{timestampOID, []string{"2024-01-01 00:00:00.5", "2024-01-01 00:00:00", "2024-01-01 00:00:00.25"}, "2024-01-01 00:00:00", "2024-01-01 00:00:00.5"},
		{timestamptzOID, []string{"2024-01-02 00:00:00+00", "2024-01-01 23:00:00.1+00"}, "2024-01-01 23:00:00.1+00", "2024-01-02 00:00:00+00"},
		{timestamptzOID, []string{"2024-01-02 00:00:00+00", "2024-01-02 00:30:00+01"}, "", ""},
		{timestamptzOID, []string{"2024-01-02 00:00:00+00", "infinity"}, "", ""},
		{timestampOID, []string{"2024-01-02 00:00:00", "0044-03-15 00:00:00 BC"}, "", ""},
		{timestampOID, []string{"2024-01-02 00:00:00", "12024-01-02 00:00:00"}, "", ""},
	} {
		least, greatest, ok := leastAndGreatest(c.typeOID, len(c.values), func(i int) []byte { return []byte(c.values[i]) })
		require.Equal(t, c.least != "", ok, c.values)
		require.Equal(t, c.least, string(least), c.values)
		require.Equal(t, c.greatest, string(greatest), c.values)
	}
}

func TestKeysDoNotRunTogether(t *testing.T) {
	require.NotEqual(t, keyBytes(row1("ab", "c")), keyBytes(row1("a", "bc")))
	require.NotEqual(t, keyBytes(row1("")), keyBytes(row1(null)))
}

func TestFaultsHoldNoValues(t *testing.T) {
	st := &step{table: &table{}, verb: "insert", key: []byte("secret"), rows: 1}
	for _, code := range []string{"22P02", "22001", "23505", "23502", "23514", "P0001"} {
		pg := &pgconn.PgError{Code: code, Message: "bad", Detail: "secret", Where: "COPY: secret"}
		if code[:2] == "22" || code == "P0001" {
			pg.Message = "invalid input: secret"
		}
		require.NotContains(t, refusal{step: st, pg: pg}.fault().Error(), "secret", code)
	}
}

func TestBlocksGiveWhatIsAskedFor(t *testing.T) {
	b := blocks[byte]{size: 16}
	var taken [][]byte
	for range 3 {
		b.reset()
		taken = taken[:0]
		for i := range 40 {
			s := b.take(i % 9)
			for j := range s {
				s[j] = byte(i)
			}
			taken = append(taken, s)
		}
		for i, s := range taken {
			require.Len(t, s, i%9)
			for _, v := range s {
				require.EqualValues(t, i, v, "slices must not overlap")
			}
		}
	}
}
