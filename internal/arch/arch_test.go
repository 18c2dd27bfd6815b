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
var words = []string{"internal/change", "internal/shape", "internal/ident", "internal/fault", "internal/contract", "internal/failpoint"}

// allowed lists, per package, which packages of this module it may import beside the words. A package that is not listed
// fails the test: give it its place first.
var allowed = map[string][]string{
	"internal/change":           {},
	"internal/shape":            {},
	"internal/ident":            {},
	"internal/fault":            {},
	"internal/contract":         {},
	"internal/failpoint":        {},
	"internal/pgoutput":         {},
	"internal/wal2json":         {},
	"internal/segment":          {},
	"internal/plan":             {},
	"internal/machine":          {},
	"internal/evolve":           {},
	"internal/compare":          {},
	"internal/sealed":           {},
	"internal/config":           {"internal/pgkit"},
	"internal/pgkit":            {},
	"internal/temporalclient":   {},
	"internal/obs":              {},
	"internal/source/rdsctl":    {},
	"internal/launch":           {"internal/machine"},
	"internal/source/prepare":   {"internal/pgkit", "internal/plan"},
	"internal/source/slot":      {"internal/pgkit"},
	"internal/source/extract":   {"internal/pgkit", "internal/plan", "internal/target/ledger"}, // the entries it makes are the ledger's
	"internal/source/capture":   {"internal/pgkit", "internal/pgoutput", "internal/wal2json", "internal/spool"},
	"internal/spool":            {"internal/segment", "internal/pgoutput"},
	"internal/relay":            {"internal/spool"},
	"internal/target/ledger":    {"internal/pgkit", "internal/compare"},
	"internal/target/survey":    {"internal/pgkit", "internal/plan", "internal/target/ledger", "internal/wal2json"},
	"internal/target/provision": {"internal/pgkit", "internal/plan", "internal/target/ledger"},
	"internal/target/apply":     {"internal/evolve", "internal/pgkit", "internal/pgoutput", "internal/spool", "internal/target/ledger", "internal/compare"},
	"internal/bulk":             {"internal/pgkit", "internal/target/ledger"},
	"internal/verify":           {"internal/pgkit", "internal/compare", "internal/source/slot", "internal/target/ledger"},
	"internal/schemadiff":       {"internal/pgkit"},
	"internal/cutover":          {"internal/pgkit"},
	"activities": {"internal/config", "internal/evolve", "internal/machine", "internal/obs", "internal/pgkit", "internal/plan", "internal/spool", "internal/bulk",
		"internal/verify", "internal/cutover", "internal/schemadiff", "internal/source/rdsctl", "internal/source/prepare", "internal/source/slot", "internal/source/extract",
		"internal/source/capture", "internal/relay", "internal/target/ledger", "internal/target/survey", "internal/target/provision", "internal/target/apply",
		"internal/sealed", "internal/redirect", "internal/leftovers"},
	"workflows":                  {"activities"},
	"worker":                     {"activities", "workflows", "internal/obs", "internal/spool", "internal/segment", "internal/temporalclient", "internal/launch", "internal/machine"},
	"starter":                    {"internal/page", "internal/temporalclient", "internal/launch", "internal/machine", "internal/source/rdsctl", "internal/sealed"},
	"internal/redirect":          {"internal/pgkit"},
	"internal/awssim":            {},
	"internal/awssim/awssimtest": {"internal/awssim"},
	"internal/testkit/netproxy":  {"internal/pgkit"},
	"internal/testkit/pgserver":  {"internal/pgkit"},
	"internal/testkit/pgtest":    {"internal/pgkit", "internal/testkit/pgserver"},
	"internal/testkit/pgbouncer": {"internal/pgkit"},
	"internal/testkit/browser":   {"internal/testkit/pgtest"},
	"internal/page":              {},
	"internal/leftovers":         {"internal/pgkit", "internal/plan"},
	"internal/testkit/fixture":   {"internal/pgkit", "internal/testkit/pgserver", "internal/testkit/pgtest"},
	"internal/arch":              {},
	"deploy/iam":                 {},
	"sandbox":                    {"sandbox/"},
	"test/controlplane":          {},
	"test/e2e":                   {},
	"test/bench/report":          {},
	"test/bench/rig":             {"internal/pgkit", "internal/testkit/pgserver", "test/bench/report"},
	"test/bench/stream": {"internal/pgkit", "internal/source/capture", "internal/spool", "internal/target/apply", "internal/target/ledger", "internal/testkit/pgserver",
		"test/bench/report", "test/bench/rig"},
	"test/bench/copy":    {"internal/testkit/pgserver", "sandbox/proc", "test/bench/report", "test/bench/rig", "internal/pgkit"},
	"test/stream":        {},
	"test/bench/cutover": {"internal/pgkit", "internal/redirect", "internal/testkit/pgbouncer", "internal/testkit/pgserver", "sandbox/proc", "test/bench/rig"},
}

// outside lists, per module from elsewhere, who may import it.
var outside = map[string][]string{
	"go.temporal.io/":             {"workflows", "activities", "worker", "starter", "internal/temporalclient"},
	"github.com/aws/":             {"internal/source/rdsctl", "internal/launch", "internal/awssim/awssimtest"},
	"github.com/jackc/pglogrepl":  {"internal/source/"},
	"github.com/spf13/cobra":      {"starter"},
	"github.com/stretchr/testify": {"internal/awssim/awssimtest", "internal/testkit/"},
	"github.com/Shopify/":         {"internal/testkit/netproxy"},
	"pgregory.net/rapid":          {},
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
