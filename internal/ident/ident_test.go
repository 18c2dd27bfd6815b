package ident_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/ident"
)

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		`a`: `"a"`, `A b`: `"A b"`, `a"b`: `"a""b"`, `a"; DROP TABLE x; --`: `"a""; DROP TABLE x; --"`, "a\x00b": `"ab"`, ``: `""`,
	} {
		require.Equal(t, want, ident.Quote(in))
	}
	require.Equal(t, `"s.x"."t""t"`, ident.Table{Schema: "s.x", Name: `t"t`}.Quote())
	require.Equal(t, `"a", "B"`, ident.Columns([]string{"a", "B"}))
	require.Empty(t, ident.Columns(nil))
}

func TestLiteral(t *testing.T) {
	for in, want := range map[string]string{
		`a`: `'a'`, `it's`: `'it''s'`, `a\`: ` E'a\\'`, `\'`: ` E'\\'''`, "a\x00": `'a'`,
	} {
		require.Equal(t, want, ident.Literal(in))
	}
}

func TestParseTable(t *testing.T) {
	for _, c := range []struct {
		in   string
		want ident.Table
	}{
		{"metrics", ident.Table{Schema: "public", Name: "metrics"}},
		{"Public.Metrics", ident.Table{Schema: "public", Name: "metrics"}},
		{`app."Metrics"`, ident.Table{Schema: "app", Name: "Metrics"}},
		{`"My App"."a.b"`, ident.Table{Schema: "My App", Name: "a.b"}},
		{`"a""b".c`, ident.Table{Schema: `a"b`, Name: "c"}},
		{`app.ÄÖ`, ident.Table{Schema: "app", Name: "ÄÖ"}}, // only ASCII is folded
	} {
		got, ok := ident.ParseTable(c.in)
		require.True(t, ok, c.in)
		require.Equal(t, c.want, got, c.in)
	}
	for _, in := range []string{"", ".", "a.", ".a", "a.b.c", `"a`, `"a"b`, `a"b`, "a b", `""`, `"".a`, "a\t.b"} {
		_, ok := ident.ParseTable(in)
		require.False(t, ok, "%q", in)
	}
}

func TestStringIsWhatParseTableReads(t *testing.T) {
	for want, table := range map[string]ident.Table{
		"public.metrics":  {Schema: "public", Name: "metrics"},
		`public."Orders"`: {Schema: "public", Name: "Orders"},
		`app."2024"`:      {Schema: "app", Name: "2024"},
		`app."a.b"`:       {Schema: "app", Name: "a.b"},
		`app."say ""x"""`: {Schema: "app", Name: `say "x"`},
		`app.t$1`:         {Schema: "app", Name: "t$1"},
		`app."ä"`:         {Schema: "app", Name: "ä"},
	} {
		require.Equal(t, want, table.String())
		back, ok := ident.ParseTable(table.String())
		require.True(t, ok)
		require.Equal(t, table, back)
	}
}
