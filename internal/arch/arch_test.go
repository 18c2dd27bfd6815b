package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// words may be imported by everything; they import each other only.
var words = []string{"internal/change", "internal/shape", "internal/ident", "internal/fault", "internal/contract"}

// allowed lists, per package, which packages of this module it may import beside the words. A package that is not listed
// fails the test: give it its place first.
var allowed = map[string][]string{
	"internal/change": {}, "internal/shape": {}, "internal/ident": {}, "internal/fault": {}, "internal/contract": {},

	"internal/pgoutput": {}, "internal/segment": {}, "internal/plan": {}, "internal/machine": {},

	"internal/config":           {"internal/pgkit"},
	"internal/pgkit":            {},
	"internal/temporalclient":   {},
	"internal/obs":              {},
	"internal/source/rdsctl":    {},
	"internal/launch":           {"internal/machine"},
	"internal/source/prepare":   {"internal/pgkit", "internal/plan"},
	"internal/source/slot":      {"internal/pgkit"},
	"internal/source/extract":   {"internal/pgkit", "internal/plan", "internal/target/ledger"}, // the entries it makes are the ledger's
	"internal/source/capture":   {"internal/pgkit", "internal/pgoutput", "internal/spool"},
	"internal/spool":            {"internal/segment", "internal/pgoutput"},
	"internal/target/ledger":    {"internal/pgkit"},
	"internal/target/survey":    {"internal/pgkit", "internal/plan", "internal/target/ledger"},
	"internal/target/provision": {"internal/pgkit", "internal/plan", "internal/target/ledger"},
	"internal/target/apply":     {"internal/pgkit", "internal/pgoutput", "internal/spool", "internal/target/ledger"},
	"internal/bulk":             {"internal/pgkit", "internal/target/ledger"},
	"internal/verify":           {"internal/pgkit"},
	"internal/schemadiff":       {"internal/pgkit"},
	"internal/cutover":          {"internal/pgkit"},

	"activities": {"internal/config", "internal/machine", "internal/obs", "internal/pgkit", "internal/plan", "internal/spool", "internal/bulk", "internal/verify", "internal/cutover", "internal/schemadiff",
		"internal/source/rdsctl", "internal/source/prepare", "internal/source/slot", "internal/source/extract", "internal/source/capture",
		"internal/target/ledger", "internal/target/survey", "internal/target/provision", "internal/target/apply"},
	"workflows": {"activities"},
	"worker":    {"activities", "workflows", "internal/obs", "internal/spool", "internal/temporalclient", "internal/launch", "internal/machine"},
	"starter":   {"internal/temporalclient", "internal/launch", "internal/machine", "internal/source/rdsctl"},

	"internal/awssim":            {},
	"internal/awssim/awssimtest": {"internal/awssim"},
	"internal/testkit/pgserver":  {"internal/pgkit"},
	"internal/testkit/pgtest":    {"internal/pgkit", "internal/testkit/pgserver"},
	"internal/testkit/fixture":   {"internal/pgkit", "internal/testkit/pgserver", "internal/testkit/pgtest"},
	"internal/arch":              {},
	"deploy/iam":                 {},
	"sandbox":                    {"sandbox/"},
	"test/controlplane":          {},
	"test/e2e":                   {},
}

// outside lists, per module from elsewhere, who may import it.
var outside = map[string][]string{
	"go.temporal.io/":             {"workflows", "activities", "worker", "starter", "internal/temporalclient"},
	"github.com/aws/":             {"internal/source/rdsctl", "internal/launch", "internal/awssim/awssimtest"},
	"github.com/jackc/pglogrepl":  {"internal/source/"},
	"github.com/spf13/cobra":      {"starter"},
	"github.com/stretchr/testify": {"internal/awssim/awssimtest", "internal/testkit/"},
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

// TestImportsPointOneWay reads the imports of the production files of every package.
func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, "timeferry/")
		for _, imported := range p.Imports {
			if own, ok := strings.CutPrefix(imported, "timeferry/"); ok {
				requireAllowed(t, name, own)
				continue
			}
			for module, importers := range outside {
				if strings.HasPrefix(imported, module) && !inSandbox(name) {
					require.True(t, matches(importers, name), "%s must not import %s: only %v may", name, imported, importers)
				}
			}
		}
	}
}

func requireAllowed(t *testing.T, name, imported string) {
	t.Helper()
	if inSandbox(name) {
		require.True(t, matches([]string{"sandbox/", "internal/"}, imported), "%s must not import %s", name, imported)
		return
	}
	list, known := allowed[name]
	require.True(t, known, "package %s has no place in the import table", name)
	ok := slices.Contains(words, imported) || slices.Contains(list, imported)
	require.True(t, ok, "%s must not import %s", name, imported)
}

func inSandbox(name string) bool { return name == "sandbox" || strings.HasPrefix(name, "sandbox/") }

func matches(list []string, name string) bool {
	return slices.ContainsFunc(list, func(l string) bool {
		return l == name || strings.HasSuffix(l, "/") && strings.HasPrefix(name, l)
	})
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "timeferry/...")
	out, err := cmd.Output()
	require.NoError(t, err)
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	var all []goPackage
	for {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else {
			require.NoError(t, err)
		}
		all = append(all, p)
	}
}
