// Package browser opens pages in a real browser, without a network, and says what is to be seen.
//
// In: a page of HTML. Out: its visible text and how it is laid out at a width, and pictures of it. Invariants: no name is resolved and
// nothing is fetched; each look has a profile of its own.
//
// Not here: what a page should look like.
package browser

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/testkit/pgtest"
)

// ErrUnavailable is the error of Path where there is no browser.
var ErrUnavailable = errors.New("chromium is not installed")

// Require is the word of TIMEFERRY_REQUIRE that makes a missing browser a failure.
const Require = "browser"

// patience is how long one look may take on a machine that does much else.
const patience = 3 * time.Minute

// Path finds the program.
func Path() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrUnavailable
}

// View is how a page looks at a width.
type View struct {
	Title string
	Text  string // what is to be seen, as it is laid out
	// Width is what the content needs: more than the window's if it has to be scrolled sideways.
	Width int
	// Fetched are the addresses of everything that the page asked for.
	Fetched []string
	// Outside are the addresses that its elements refer to, but for places within it.
	Outside []string
	// Elements counts its elements by name; Empty are the pictures and bars without an area.
	Elements map[string]int
	Empty    []string
	// Console has what the browser complained of.
	Console []string
}

//go:embed look.html
var lookHTML string

var (
	answer  = regexp.MustCompile(`(?s)<pre id="answer">(.*?)</pre>`)
	console = regexp.MustCompile(`:CONSOLE[:(]`)
)

// Look opens the page in a window of this width. A test without a browser is skipped, or fails if TIMEFERRY_REQUIRE has the word.
func Look(t *testing.T, page string, width int) View {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "page.html"), page)
	write(t, filepath.Join(dir, "look.html"), strings.Replace(lookHTML, "WIDTH", fmt.Sprint(width), 1))
	out, log := run(t, dir, "--dump-dom", "--allow-file-access-from-files", "--virtual-time-budget=20000", "file://"+filepath.Join(dir, "look.html"))
	found := answer.FindStringSubmatch(out)
	require.NotNil(t, found, "the page was not shown:\n%s\n%s", out, log)
	var v View
	require.NoError(t, json.Unmarshal([]byte(html.UnescapeString(found[1])), &v), found[1])
	for line := range strings.Lines(log) {
		if console.MatchString(line) {
			v.Console = append(v.Console, strings.TrimSpace(line))
		}
	}
	return v
}

// Picture writes what a window of this size shows into a PNG file.
func Picture(t *testing.T, page, file string, width, height int, arguments ...string) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "page.html"), page)
	arguments = append(arguments, "--hide-scrollbars", fmt.Sprintf("--window-size=%d,%d", width, height), "--screenshot="+file, "file://"+filepath.Join(dir, "page.html"))
	_, log := run(t, dir, arguments...)
	require.FileExists(t, file, log)
}

// run starts the browser as a person without a network would have it. As root it runs without its sandbox: it shows our pages only.
func run(t *testing.T, dir string, arguments ...string) (out, log string) {
	t.Helper()
	path, err := Path()
	if err != nil && !pgtest.Required(Require) {
		t.Skipf("%v; set TIMEFERRY_REQUIRE=%s to fail instead", err, Require)
	}
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	all := append([]string{"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--user-data-dir=" + filepath.Join(dir, "profile"), "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr"}, arguments...)
	cmd := exec.CommandContext(ctx, path, all...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "TZ=America/New_York") // another zone than the page's
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 5 * time.Second
	require.NoError(t, cmd.Run(), stderr.String())
	return stdout.String(), stderr.String()
}

func write(t *testing.T, file, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
}
