// Package docs checks that what docs/ says is so: codes exist, links lead somewhere, and SQL runs on real servers.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const runbook = "../../docs/runbook"

// TestRunbookPagesHaveTheirParts: a person who is woken up finds the same four parts on every page, on one screen.
func TestRunbookPagesHaveTheirParts(t *testing.T) {
	for name, text := range pages(t) {
		require.True(t, strings.HasPrefix(text, "# "+name+"\n"), name)
		require.Less(t, strings.Count(text, "\n"), 30, name)
		for _, part := range []string{"**Symptom.**", "**Check", "**Act.**", "**Undo.**"} {
			require.Contains(t, text, part, name)
		}
	}
}

// TestRunbookNamesRealCodes looks up every code of the runbook's index in the sources, and every page in the index.
func TestRunbookNamesRealCodes(t *testing.T) {
	index := read(t, filepath.Join(runbook, "README.md"))
	sources := productionSources(t)
	codes := 0
	for line := range strings.Lines(index) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for _, m := range regexp.MustCompile("`([a-z]+(?:-[a-z]+)+)`").FindAllStringSubmatch(cells[1], -1) {
			codes++
			require.Contains(t, sources, `"`+m[1]+`"`, "no such code")
		}
	}
	require.Greater(t, codes, 15)
	for name := range pages(t) {
		require.Contains(t, index, "["+name+"]("+name+".md)")
	}
}

// TestPrivilegesNamesRealCodes does the same for the findings of privileges.md.
func TestPrivilegesNamesRealCodes(t *testing.T) {
	sources := productionSources(t)
	for line := range strings.Lines(read(t, "../../docs/privileges.md")) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 {
			continue
		}
		for _, m := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(cells[3], -1) {
			require.Contains(t, sources, `"`+m[1]+`"`, "no such code")
		}
	}
}

// TestLinksLeadSomewhere follows the relative links of all of docs/ and the README.
func TestLinksLeadSomewhere(t *testing.T) {
	files := []string{"../../README.md"}
	require.NoError(t, filepath.WalkDir("../../docs", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			files = append(files, path)
		}
		return err
	}))
	for _, file := range files {
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(read(t, file), -1) {
			require.FileExists(t, filepath.Join(filepath.Dir(file), m[1]), file)
		}
	}
}

// pages are the runbook's, by name, without its index.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(runbook, "*.md"))
	require.NoError(t, err)
	require.Greater(t, len(files), 10)
	all := map[string]string{}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".md"); name != "README" {
			all[name] = read(t, file)
		}
	}
	return all
}

// sqlBlocks are the fenced blocks of SQL.
func sqlBlocks(text string) []string {
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

func productionSources(t *testing.T) string { return sources(t, false) }

func testSources(t *testing.T) string { return sources(t, true) }

func sources(t *testing.T, tests bool) string {
	t.Helper()
	var all strings.Builder
	for _, root := range []string{"../../internal", "../../activities", "../../workflows"} {
		require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && strings.HasSuffix(path, "_test.go") == tests {
				all.WriteString(read(t, path))
			}
			return err
		}))
	}
	return all.String()
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}
