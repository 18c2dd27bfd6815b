package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// findingPackages are the packages whose findings preflight tells.
var findingPackages = []string{"plan", "source/extract", "machine"}

// atADistance are the findings whose severity does not always stand beside their code.
var atADistance = []string{"needs-partition", "needs-superuser"}

// TestFindingsAreAllExplained: findings.md has a line for each finding that the sources can make, and for no other, with
// the severities that they give it.
func TestFindingsAreAllExplained(t *testing.T) {
	declared := declaredFindings(t)
	require.Greater(t, len(declared), 100)
	told := map[string][]string{}
	line := regexp.MustCompile("^\\| `([a-z0-9-]+)` \\| ([a-z, ]+) \\| (.+) \\| (.+) \\|$")
	for row := range strings.Lines(read(t, "../../docs/findings.md")) {
		if m := line.FindStringSubmatch(strings.TrimSpace(row)); m != nil {
			require.NotContains(t, told, m[1], "told twice")
			told[m[1]] = strings.Split(m[2], ", ")
		}
	}
	require.Empty(t, difference(declared, told), "in the sources, not in findings.md")
	require.Empty(t, difference(told, declared), "in findings.md, not in the sources")
	for code, severities := range declared {
		require.Subset(t, []string{"error", "warning", "info"}, told[code], code)
		switch {
		case slices.Contains(atADistance, code):
			require.Subset(t, told[code], severities, code)
		case len(severities) > 0:
			require.ElementsMatch(t, severities, told[code], code)
		}
	}
}

// TestFindingsOfOtherRoomsHaveTests: internal/plan looks after its own codes; of the others each must be named by a test.
func TestFindingsOfOtherRoomsHaveTests(t *testing.T) {
	tests := testSources(t)
	own := findingsOf(t, "plan")
	for _, room := range findingPackages[1:] {
		for code, f := range findingsOf(t, room) {
			if _, known := own[code]; known {
				continue
			}
			constant := regexp.MustCompile(`\b` + filepath.Base(room) + `\.` + f.name + `\b`)
			require.True(t, strings.Contains(tests, `"`+code+`"`) || strings.Contains(tests, " "+code+" ") || constant.MatchString(tests), "no test of %s (%s)", code, room)
		}
	}
}

func difference(a, b map[string][]string) []string {
	var only []string
	for code := range a {
		if _, ok := b[code]; !ok {
			only = append(only, code)
		}
	}
	slices.Sort(only)
	return only
}

// finding is a code's constant, and the severities that stand beside it.
type finding struct {
	name       string
	severities []string
}

func declaredFindings(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, room := range findingPackages {
		for code, f := range findingsOf(t, room) {
			all[code] = slices.Compact(slices.Sorted(slices.Values(append(all[code], f.severities...))))
		}
	}
	return all
}

// findingsOf reads the constants Code… of a package. Those that only errors have (WithCode) are none.
func findingsOf(t *testing.T, room string) map[string]finding {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../../internal", room, "*.go"))
	require.NoError(t, err)
	values, severities, errors := map[string]string{}, map[string][]string{}, map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if literal, ok := first(n.Values).(*ast.BasicLit); ok && strings.HasPrefix(n.Names[0].Name, "Code") {
					values[n.Names[0].Name], err = strconv.Unquote(literal.Value)
					require.NoError(t, err)
				}
			case *ast.CallExpr:
				called, code, severity := told(n)
				if called == "WithCode" {
					errors[code] = true
				} else if severity != "" {
					severities[code] = append(severities[code], severity)
				}
			case *ast.CompositeLit:
				if code, severity := problem(n); severity != "" {
					severities[code] = append(severities[code], severity)
				}
			}
			return true
		})
	}
	maps.DeleteFunc(values, func(name, _ string) bool { return errors[name] })
	found := map[string]finding{}
	for name, code := range values {
		found[code] = finding{name, severities[name]}
	}
	return found
}

// severityWords are what the constructors and the constants of severities mean.
var severityWords = map[string]string{"fatal": "error", "Fatal": "error", "warning": "warning", "Warning": "warning", "info": "info", "Info": "info"}

// told reads fatal(CodeX, …), report(contract.Fatal, CodeX, …) and WithCode(CodeX).
func told(call *ast.CallExpr) (called, code, severity string) {
	called = name(call.Fun)
	if len(call.Args) == 0 {
		return called, "", ""
	}
	if called == "report" && len(call.Args) > 1 {
		return called, name(call.Args[1]), severityWords[name(call.Args[0])]
	}
	return called, name(call.Args[0]), severityWords[called]
}

// problem reads contract.Problem{Severity: contract.Fatal, Code: CodeX, …}.
func problem(literal *ast.CompositeLit) (code, severity string) {
	for _, e := range literal.Elts {
		if pair, ok := e.(*ast.KeyValueExpr); ok {
			switch name(pair.Key) {
			case "Code":
				code = name(pair.Value)
			case "Severity":
				severity = severityWords[name(pair.Value)]
			}
		}
	}
	return code, severity
}

func name(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func first(values []ast.Expr) ast.Expr {
	if len(values) == 0 {
		return nil
	}
	return values[0]
}
