package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func TestPrintProblems(t *testing.T) {
	var out bytes.Buffer
	printProblems(&out, nil)
	require.Equal(t, "no problems found\n", out.String())

	out.Reset()
	printProblems(&out, []contract.Problem{
		{Severity: contract.Fatal, Code: "table-unreadable", Object: "public.a", Message: "may not be read", Remedy: `run: GRANT SELECT ON "public"."a" TO "m"`},
		{Severity: contract.Fatal, Code: "table-unreadable", Object: "public.b", Message: "may not be read"},
		{Severity: contract.Info, Code: "database-size", Object: "source", Message: strings.TrimSpace(strings.Repeat("word ", 40))},
	})
	require.Equal(t, `SEVERITY  CODE                        OBJECT
error     table-unreadable            public.a
          may not be read
        → run: GRANT SELECT ON "public"."a" TO "m"
error     table-unreadable            public.b
          may not be read
info      database-size               source
          word word word word word word word word word word word word word word word word word word word word
          word word word word word word word word word word word word word word word word word word word word
2 errors, 1 note
`, out.String())
}

func TestPrintProblemsKeepsToItsWidth(t *testing.T) {
	var out bytes.Buffer
	long := strings.Repeat("x", 200)
	printProblems(&out, []contract.Problem{{Severity: contract.Warning, Code: "c", Object: "o", Message: strings.Repeat("слово ", 60) + long, Remedy: strings.Repeat("do this ", 30)}})
	for line := range strings.Lines(out.String()) {
		if !strings.Contains(line, long) {
			require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), problemWidth)
		}
	}
	require.Contains(t, out.String(), "          "+long+"\n", "a word that is too long stays whole")
	require.Contains(t, out.String(), "\n1 warning\n")
}

func TestARemedyIsSaidOnce(t *testing.T) {
	for _, c := range []struct{ message, remedy, want string }{
		{"no answer (check routing (or peering))", "check routing (or peering); and more", "no answer"},
		{"no answer (check routing)", "check routing", "no answer"},
		{"it is of type int (4 bytes)", "choose another", "it is of type int (4 bytes)"},
		{"plain", "do this", "plain"},
		{"plain (x)", "", "plain (x)"},
	} {
		require.Equal(t, c.want, withoutRemedy(c.message, c.remedy))
	}
}
