package plan_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/plan"
)

func TestWindowNext(t *testing.T) {
	for _, c := range []struct {
		name, window, now, start, end string
		contains                      bool
	}{
		{"later this week", "Sun 03:00-04:00 UTC", "2026-11-23T12:00:00Z", "2026-11-29T03:00:00Z", "2026-11-29T04:00:00Z", false},
		{"a minute before", "Sun 03:00-04:00 UTC", "2026-11-29T02:59:00Z", "2026-11-29T03:00:00Z", "2026-11-29T04:00:00Z", false},
		{"as it opens", "Sun 03:00-04:00 UTC", "2026-11-29T03:00:00Z", "2026-11-29T03:00:00Z", "2026-11-29T04:00:00Z", true},
		{"last moment", "Sun 03:00-04:00 UTC", "2026-11-29T03:59:59.999999999Z", "2026-11-29T03:00:00Z", "2026-11-29T04:00:00Z", true},
		{"as it closes", "Sun 03:00-04:00 UTC", "2026-11-29T04:00:00Z", "2026-12-06T03:00:00Z", "2026-12-06T04:00:00Z", false},
		{"over midnight, before", "Mon,Wed 22:00-02:00 Europe/Berlin", "2026-11-23T20:00:00Z", "2026-11-23T21:00:00Z", "2026-11-24T01:00:00Z", false},
		{"over midnight, the next day", "Mon,Wed 22:00-02:00 Europe/Berlin", "2026-11-24T00:30:00Z", "2026-11-23T21:00:00Z", "2026-11-24T01:00:00Z", true},
		{"over midnight, not every day", "Mon,Wed 22:00-02:00 Europe/Berlin", "2026-11-24T21:30:00Z", "2026-11-25T21:00:00Z", "2026-11-26T01:00:00Z", false},
		{"from Saturday to Sunday", "Sat 23:30-00:30 UTC", "2026-11-29T00:10:00Z", "2026-11-28T23:30:00Z", "2026-11-29T00:30:00Z", true},
		{"daily, over the year's end", "daily 01:00-05:00 UTC", "2026-12-31T06:00:00Z", "2027-01-01T01:00:00Z", "2027-01-01T05:00:00Z", false},
		{"until midnight", "Mon 22:00-24:00 UTC", "2026-11-23T23:59:59Z", "2026-11-23T22:00:00Z", "2026-11-24T00:00:00Z", true},
		{"until midnight, said otherwise", "Mon 22:00-00:00 UTC", "2026-11-23T23:59:59Z", "2026-11-23T22:00:00Z", "2026-11-24T00:00:00Z", true},
		{"the whole day", "Mon-Fri 00:00-24:00 UTC", "2026-11-28T12:00:00Z", "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z", false},
		{"a range over the week's end", "fri-mon 10:00-11:00 UTC", "2026-11-24T12:00:00Z", "2026-11-27T10:00:00Z", "2026-11-27T11:00:00Z", false},
		{"the zone's own date", "Sun 03:00-04:00 Pacific/Auckland", "2026-11-28T14:30:00Z", "2026-11-28T14:00:00Z", "2026-11-28T15:00:00Z", true},
		{"behind UTC, the day before", "Sat 20:00-23:00 America/Los_Angeles", "2026-11-29T05:00:00Z", "2026-11-29T04:00:00Z", "2026-11-29T07:00:00Z", true},
		// Europe/Berlin leaves out 02:00 to 03:00 on 2026-03-29 and has it twice on 2026-10-25.
		{"summer time", "Sun 03:00-04:00 Europe/Berlin", "2026-07-01T00:00:00Z", "2026-07-05T01:00:00Z", "2026-07-05T02:00:00Z", false},
		{"begins in the missing hour", "Sun 02:30-03:30 Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", false},
		{"ends in the missing hour", "Sun 01:30-02:30 Europe/Berlin", "2026-03-29T00:45:00Z", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", true},
		{"all in the missing hour", "Sun 02:00-03:00 Europe/Berlin", "2026-03-29T00:59:00Z", "2026-04-05T00:00:00Z", "2026-04-05T01:00:00Z", false},
		{"around the missing hour", "Sun 01:00-04:00 Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z", true},
		{"over midnight into it", "Sat 22:00-02:30 Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-28T21:00:00Z", "2026-03-29T01:00:00Z", true},
		{"in the double hour, the first", "Sun 02:00-02:30 Europe/Berlin", "2026-10-25T00:15:00Z", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", true},
		{"in the double hour, not the second", "Sun 02:00-02:30 Europe/Berlin", "2026-10-25T01:15:00Z", "2026-11-01T01:00:00Z", "2026-11-01T01:30:00Z", false},
		{"around the double hour", "Sun 01:00-03:00 Europe/Berlin", "2026-10-25T01:59:00Z", "2026-10-24T23:00:00Z", "2026-10-25T02:00:00Z", true},
		{"in America", "Sun 01:30-03:30 America/New_York", "2026-03-08T05:00:00Z", "2026-03-08T06:30:00Z", "2026-03-08T07:30:00Z", false},
		{"a jump of half an hour", "Sun 02:15-03:00 Australia/Lord_Howe", "2026-10-03T12:00:00Z", "2026-10-03T15:30:00Z", "2026-10-03T16:00:00Z", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := plan.ParseWindow(c.window)
			require.NoError(t, err)
			now := mustTime(t, c.now)
			start, end := w.Next(now)
			require.Equal(t, c.start, start.UTC().Format(time.RFC3339))
			require.Equal(t, c.end, end.UTC().Format(time.RFC3339))
			require.Equal(t, c.contains, w.Contains(now))
		})
	}
}

// TestWindowHolds walks through a year: what Next and Contains say must fit together.
func TestWindowHolds(t *testing.T) {
	for _, text := range []string{"Sun 02:30-03:15 Europe/Berlin", "Mon,Wed 22:00-02:00 America/New_York", "daily 23:45-00:15 Australia/Lord_Howe"} {
		w, err := plan.ParseWindow(text)
		require.NoError(t, err)
		until := mustTime(t, "2027-01-01T00:00:00Z")
		for now := mustTime(t, "2026-01-01T00:00:00Z"); now.Before(until); now = now.Add(45 * time.Minute) {
			start, end := w.Next(now)
			require.True(t, end.After(now) && end.After(start), "%s at %s", text, now)
			require.Equal(t, !start.After(now), w.Contains(now), "%s at %s", text, now)
			require.True(t, w.Contains(start), "%s at %s", text, now)
			require.False(t, w.Contains(start.Add(-time.Nanosecond)), "%s at %s", text, now)
			require.LessOrEqual(t, start.Sub(now), 15*24*time.Hour)
		}
	}
}

func TestParseWindowRefusals(t *testing.T) {
	for _, c := range []struct{ window, says string }{
		{"", "0 parts"},
		{"Sun 03:00-04:00", "2 parts"},
		{"Sun 03:00 - 04:00 UTC", "5 parts"},
		{"Sunday 03:00-04:00 UTC", `"sunday" is not a day`},
		{"Sun, 03:00-04:00 UTC", `"" is not a day`},
		{"Mon-Foo 03:00-04:00 UTC", `"mon-foo" is not a day`},
		{"Sun 0300-0400 UTC", `"0300" is not a time`},
		{"Sun 3:00-04:00 UTC", `"3:00" is not a time`},
		{"Sun 03:00-25:00 UTC", `"25:00" is not a time`},
		{"Sun 03:00-04:60 UTC", `"04:60" is not a time`},
		{"Sun 03:00 UTC", "from-to"},
		{"Sun 03:00to04:00 UTC", "from-to"},
		{"Sun 03:00-03:00 UTC", "00:00-24:00"},
		{"Sun 24:00-03:00 UTC", "24:00"},
		{"Sun 03:00-04:00 Mars/Olympus", `no time zone "Mars/Olympus"`},
		{"Sun 03:00-04:00 Local", `no time zone "Local"`},
	} {
		_, err := plan.ParseWindow(c.window)
		require.ErrorContains(t, err, c.says, c.window)
		require.Equal(t, fault.Operator, fault.Classify(err))
		require.Contains(t, fault.HintOf(err), "Sun 03:00-04:00 UTC")
		var own *fault.Error
		require.ErrorAs(t, err, &own)
		require.Equal(t, plan.CodeBadWindow, own.Code)
	}
}

func TestWindowString(t *testing.T) {
	w, err := plan.ParseWindow("  Mon,Wed   22:00-02:00 Europe/Berlin ")
	require.NoError(t, err)
	require.Equal(t, "Mon,Wed 22:00-02:00 Europe/Berlin", w.String())
}

func mustTime(t *testing.T, text string) time.Time {
	t.Helper()
	out, err := time.Parse(time.RFC3339Nano, text)
	require.NoError(t, err)
	return out
}
