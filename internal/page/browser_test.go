package page_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/browser"
)

// A real browser without a network shows the page at a desk and on a phone: all of it, nothing beside the window, and nothing was
// asked for or complained of.
func TestABrowserShowsThePage(t *testing.T) {
	html := mustWrite(t, full())
	pictures(t, html)
	for _, width := range []int{1200, 390} {
		v := browser.Look(t, html, width)
		require.Equal(t, "Migration shop: completed", v.Title, "the database's text is no script")
		require.Empty(t, v.Fetched)
		require.Empty(t, v.Outside)
		require.Empty(t, v.Console)
		require.LessOrEqual(t, v.Width, width, "it has to be scrolled sideways")
		require.Zero(t, v.Elements["script"]+v.Elements["img"]+v.Elements["link"])
		require.Equal(t, 2, v.Elements["svg"])
		require.Equal(t, 4, v.Elements["polyline"], "two lines, each with a gap where nobody looked")
		require.Empty(t, v.Empty)
		text := spaced(v.Text)
		for _, words := range []string{
			"From shop-prod, PostgreSQL 15.18 to abc.tsdb.cloud.timescale.com:5432, database tsdb, PostgreSQL 17.6",
			"2026-03-01 12:00:00 to 2026-03-01 15:00:00 UTC, 3 h",
			"1.734 s downtime of the application", "6 012 345 678 rows copied, 812.0 GiB, 165.5 MiB/s", "9 822 104 changes applied, in 1 204 331 transactions",
			"copying 2026-03-01 12:09:00 1 h 24 min", "awaiting-reboot 2026-03-01 12:01:00 6 min",
			"Downtime: 1 734 ms", "verify 458 ms 911 ms", "seal 1 548 ms 14 ms", "12 × app (puma " + secrets + ") from 10.0.0.5",
			"public.orders 4 000 000 000", "101.6 MiB/s", "10 044 other tables",
			"Seconds behind, 1 h 23 min at most", "WAL of the source that was not on the target yet, 14.0 GiB at most",
			"behind the fence, checksum", "public." + secrets + ": 1 row on the source, 2 on the target", "no difference that nobody planned",
			"copy.concurrency", "by ts; chunks of 7 days; columnstore by device_id after 7 days", "no usable key: the whole row", "changed for the migration", "wal_sender_timeout",
			"row-missing public." + secrets, "over after 3 min, at resume by bob", "there at the end",
			`ALTER TABLE "public"."log" ADD COLUMN "c" integer`,
			"Nothing of the migration was left", "spool files on worker h1", "parameter group shop-prod-timeferry stays attached",
		} {
			require.Contains(t, text, words, "at a width of %d", width)
		}
	}
}

// A migration that was aborted at once has a page without charts and bars.
func TestABrowserShowsAShortStory(t *testing.T) {
	v := browser.Look(t, mustWrite(t, contract.Report{Name: "x", Outcome: contract.PhaseAborted, Started: noon, Ended: noon,
		Phases: []contract.PhaseTime{{Phase: contract.PhasePreflight, Entered: noon}}}), 390)
	require.Empty(t, v.Console)
	require.LessOrEqual(t, v.Width, 390)
	require.Contains(t, spaced(v.Text), "Migration x aborted")
	require.Contains(t, spaced(v.Text), "none downtime of the application")
}

// pictures draws the page for a person to look at, where TIMEFERRY_PICTURES names a directory for it.
func pictures(t *testing.T, html string) {
	into := os.Getenv("TIMEFERRY_PICTURES")
	if into == "" {
		return
	}
	browser.Picture(t, html, filepath.Join(into, "desk.png"), 1200, 2000)
	browser.Picture(t, html, filepath.Join(into, "dark.png"), 1200, 2000, "--blink-settings=preferredColorScheme=0")
	browser.Picture(t, html, filepath.Join(into, "phone.png"), 500, 2600) // no window of Chromium's is narrower
}

// spaced has one plain space in each place of white space.
func spaced(text string) string { return strings.Join(strings.Fields(text), " ") }
