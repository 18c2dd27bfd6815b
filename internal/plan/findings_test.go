package plan_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/plan"
)

// alwaysTold are the findings that describe, and that every database has.
var alwaysTold = []string{plan.CodeDatabaseSize, plan.CodeTargetRoom, plan.CodeExtensions, plan.CodeClients, plan.CodeRDSInstance, plan.CodeRDSStorage}

// TestEachFindingIsProvokedAndAbsent reads the codes from the package's source, so that none can be added without a case
// that provokes it; and on a database that nothing speaks against, only what every database has is told.
func TestEachFindingIsProvokedAndAbsent(t *testing.T) {
	codes := declaredCodes(t)
	require.Greater(t, len(codes), 90)
	provoked := map[string]bool{}
	for _, c := range slices.Concat(assessCases(), kindCases(), hypertableCases()) { // run by their own tests
		require.Contains(t, codes, c.code, c.name)
		provoked[c.code] = true
	}
	for _, p := range provokedOutsideOfAssess() {
		provoked[p.Code] = true
	}
	clean := cleanFindings(t)
	var unprovoked []string
	for code, name := range codes {
		if !provoked[code] {
			unprovoked = append(unprovoked, name)
		}
		if i := slices.IndexFunc(clean, func(p contract.Problem) bool { return p.Code == code }); i >= 0 {
			require.Contains(t, alwaysTold, code, "told of a clean database: %s", clean[i].Message)
			require.Equal(t, contract.Info, clean[i].Severity)
		}
	}
	require.Empty(t, unprovoked, "no case provokes these")
	for _, code := range alwaysTold {
		require.True(t, slices.ContainsFunc(clean, func(p contract.Problem) bool { return p.Code == code }), code)
	}
}

// provokedOutsideOfAssess is what the functions find that are not Assess; the tests beside them look at each.
func provokedOutsideOfAssess() []contract.Problem {
	rds := plan.RDSFacts{ID: "shop-prod", Kind: "instance", Class: "db.t3.medium", AllocatedGiB: 10, MultiAZ: true, Replicas: []string{"r"},
		BackupWindow: "03:00-03:30", MaintenanceWindow: "sun:05:00-sun:05:30"}
	changes := []contract.ParameterChange{{Name: "max_wal_senders", New: "20"}}
	spec := contract.Spec{}
	spec.Source.Password.IAM = true
	unable := plan.BackFacts{Plugin: plan.PluginWal2json, PluginError: "x", AlwaysTriggers: []string{"t"}}
	old := reversible()
	old.Hypertables[0].Retention = "1 year"
	return slices.Concat(plan.AssessBack(old, unable), plan.AssessClients(150018, plan.ClientFacts{}), plan.AssessRDS(spec, rds, plan.SourceUsage{WALPerSecond: 1 << 20}, changes),
		plan.LostParameters("g", changes), plan.PendingModifications("shop-prod", []string{"DBInstanceClass"}, changes), plan.SkippedParameters("postgres18", []string{"x"}))
}

// cleanFindings assesses a migration with everything known and nothing wrong.
func cleanFindings(t *testing.T) []contract.Problem {
	t.Helper()
	w := goodWorld(t)
	w.src.DatabaseBytes, w.src.StatsAge = 5<<30, time.Hour
	w.src.Locale, w.dst.Locale = libc("en_US.UTF-8", "en_US.UTF-8"), libc("en_US.UTF-8", "en_US.UTF-8")
	w.src.ExtensionVersions, w.dst.ExtensionVersions = map[string]string{"pgcrypto": "1.3"}, map[string]string{"pgcrypto": "1.3"}
	w.src.Collations, w.dst.Collations = []plan.Collation{{Name: "de_DE", Recorded: "1", Actual: "1"}}, map[string]bool{"de_DE": true}
	w.src.Settings["max_locks_per_transaction"], w.src.Settings["max_prepared_transactions"] = "64", "0"
	w.src.Sequences = []plan.SequenceUse{{Table: public("s"), Start: 1, End: 1000, LastValue: 5}}
	w.dst.Intervals = map[string]float64{"7 days": 604800}
	return slices.Concat(plan.Assess(w.spec, w.src, w.dst), plan.AssessBack(reversible(), ableBack()), plan.AssessClients(w.src.Version, plan.ClientFacts{Path: "/usr/bin/pg_dump", Version: 170002}),
		plan.AssessRDS(w.spec, plainRDS, plan.SourceUsage{AllBytes: 5 << 30, WALPerSecond: 1000}, nil),
		plan.LostParameters("g", nil), plan.PendingModifications("shop-prod", nil, nil), plan.SkippedParameters("postgres15", nil))
}

// declaredCodes are the values of the constants Code… with their names, those of errors left out. A finding whose code is
// no such constant fails the test: it could be missed.
func declaredCodes(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	codes, ofErrors := map[string]string{}, map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if name := n.Names[0].Name; strings.HasPrefix(name, "Code") {
					value, err := strconv.Unquote(n.Values[0].(*ast.BasicLit).Value)
					require.NoError(t, err)
					require.NotContains(t, codes, value, "two constants of one code")
					codes[value] = name
				}
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && slices.Contains([]string{"fatal", "warning", "info"}, f.Name) {
					requireNoLiteral(t, n.Args[0])
				}
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "WithCode" {
					ofErrors[n.Args[0].(*ast.Ident).Name] = true
				}
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Code" {
					requireNoLiteral(t, n.Value)
				}
			}
			return true
		})
	}
	maps.DeleteFunc(codes, func(_, name string) bool { return ofErrors[name] })
	return codes
}

func requireNoLiteral(t *testing.T, code ast.Expr) {
	t.Helper()
	literal, is := code.(*ast.BasicLit)
	require.False(t, is, "a code without a constant: %v", literal)
}
