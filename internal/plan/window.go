package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a worker's machine may have no zone files, and a window must mean the same everywhere

	"timeferry/internal/fault"
)

// CodeBadWindow is the code of ParseWindow's errors.
const CodeBadWindow = "bad-window"

// Window is a time of the week in which something may be done, in the wall clock of a place. The zero value is not useful;
// it comes from ParseWindow.
type Window struct {
	text       string
	days       [7]bool // on which it opens, by time.Weekday
	start, end wall
	zone       *time.Location
}

// wall is a time of day. As an end, one that is not after the start belongs to the next day.
type wall struct{ hour, minute int }

func (a wall) after(b wall) bool { return a.hour*60+a.minute > b.hour*60+b.minute }

// ParseWindow reads "Sun 03:00-04:00 UTC", "Mon,Wed 22:00-02:00 Europe/Berlin", "Mon-Fri 00:00-24:00 UTC" or
// "daily 01:00-05:00 America/New_York". Days are those on which the window opens; it may end on the next day.
func ParseWindow(text string) (Window, error) {
	fields := strings.Fields(text)
	if len(fields) != 3 {
		return Window{}, badWindow(text, "it has %d parts instead of days, times and a time zone", len(fields))
	}
	w := Window{text: strings.Join(fields, " ")}
	var err error
	if w.days, err = parseDays(fields[0]); err != nil {
		return Window{}, badWindow(text, "%w", err)
	}
	start, end, found := strings.Cut(fields[1], "-")
	if !found {
		return Window{}, badWindow(text, "%q is not from-to", fields[1])
	}
	if w.start, err = parseWall(start); err != nil {
		return Window{}, badWindow(text, "%w", err)
	}
	if w.end, err = parseWall(end); err != nil {
		return Window{}, badWindow(text, "%w", err)
	}
	if w.start == w.end || w.start.hour == 24 {
		return Window{}, badWindow(text, "it must not begin at 24:00 or end when it begins; the whole day is 00:00-24:00")
	}
	// Local is the zone of whichever machine reads it, so the starter and the worker might mean different times.
	if w.zone, err = time.LoadLocation(fields[2]); err != nil || fields[2] == "Local" {
		return Window{}, badWindow(text, "there is no time zone %q", fields[2])
	}
	return w, nil
}

func badWindow(text, format string, args ...any) error {
	return fault.New(fault.Operator, "read window", fmt.Sprintf("%q", text),
		`write it like "Sun 03:00-04:00 UTC", "Mon,Wed 22:00-02:00 Europe/Berlin" or "daily 01:00-05:00 America/New_York"`, format, args...).WithCode(CodeBadWindow)
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} // by time.Weekday

func parseDays(text string) (days [7]bool, err error) {
	if strings.EqualFold(text, "daily") {
		return [7]bool{true, true, true, true, true, true, true}, nil
	}
	for part := range strings.SplitSeq(strings.ToLower(text), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, to := slices.Index(dayNames, first), slices.Index(dayNames, last)
		if from < 0 || to < 0 {
			return days, fmt.Errorf("%q is not a day; days are Mon Tue Wed Thu Fri Sat Sun, or daily", part)
		}
		for day := from; ; day = (day + 1) % 7 {
			days[day] = true
			if day == to {
				break
			}
		}
	}
	return days, nil
}

func parseWall(text string) (wall, error) {
	if text == "24:00" {
		return wall{hour: 24}, nil
	}
	t, err := time.Parse("15:04", text)
	if err != nil || len(text) != len("15:04") {
		return wall{}, fmt.Errorf("%q is not a time of day like 03:00", text)
	}
	return wall{t.Hour(), t.Minute()}, nil
}

// String is the window as it was written.
func (w Window) String() string { return w.text }

// Contains says whether the window is open at now. Its start belongs to it, its end does not.
func (w Window) Contains(now time.Time) bool {
	start, _ := w.Next(now)
	return !start.After(now)
}

// farthest is how many days ahead Next looks: a week, and another for a day whose window falls into the hour that the
// clocks leave out.
const farthest = 15

// Next gives the window that is open at now, or else the next one to open: the first whose end is after now. Both times
// are in the window's zone.
func (w Window) Next(now time.Time) (start, end time.Time) {
	year, month, day := now.In(w.zone).Date()
	for ahead := -1; ahead <= farthest; ahead++ { // yesterday's may reach into today
		date := time.Date(year, month, day+ahead, 0, 0, 0, 0, time.UTC)
		if !w.days[date.Weekday()] {
			continue
		}
		start, end = w.on(date)
		if end.After(now) && end.After(start) {
			return start, end
		}
	}
	return start, end
}

// on gives the window that opens on that date.
func (w Window) on(date time.Time) (start, end time.Time) {
	last := date
	if !w.end.after(w.start) {
		last = date.AddDate(0, 0, 1)
	}
	return w.instant(date, w.start), w.instant(last, w.end)
}

// instant is when the clocks of the zone show that time on that date. Where they show it twice it is the first time; where
// they leave it out, the moment at which they jump.
func (w Window) instant(date time.Time, at wall) time.Time {
	shown := time.Date(date.Year(), date.Month(), date.Day(), at.hour, at.minute, 0, 0, time.UTC)
	const aroundJump = 36 * time.Hour // beyond any offset; clocks do not jump twice within it
	_, before := shown.Add(-aroundJump).In(w.zone).Zone()
	_, after := shown.Add(aroundJump).In(w.zone).Zone()
	first := shown.Add(-time.Duration(before) * time.Second).In(w.zone)
	if sameWall(first, shown) {
		return first
	}
	second := shown.Add(-time.Duration(after) * time.Second).In(w.zone)
	if sameWall(second, shown) {
		return second
	}
	jump, _ := first.ZoneBounds() // first is after the jump, counted with the offset from before it
	return jump
}

func sameWall(t, shown time.Time) bool {
	return t.Day() == shown.Day() && t.Hour() == shown.Hour() && t.Minute() == shown.Minute()
}
