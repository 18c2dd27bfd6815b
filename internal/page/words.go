package page

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// bytesWords is a size with its unit.
func bytesWords(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, i := float64(n), 0
	for value >= 1024 && i < len(units)-1 {
		value, i = value/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, units[i])
}

// count separates thousands by narrow spaces that do not break.
func count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "−", digits[1:]
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteString("\u202f")
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}

// countAny is count for the template, which does not convert numbers.
func countAny(n any) string {
	if small, ok := n.(int); ok {
		return count(int64(small))
	}
	return count(n.(int64))
}

// counted is a number of things.
func counted(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// took is a duration by its two largest units; below a minute to the millisecond.
func took(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.3f s", d.Seconds())
	case d < time.Hour:
		return two(int(d.Minutes()), "min", int(d.Seconds())%60, "s")
	case d < 24*time.Hour:
		return two(int(d.Hours()), "h", int(d.Minutes())%60, "min")
	}
	return two(int(d.Hours())/24, "d", int(d.Hours())%24, "h")
}

func two(large int, unit string, small int, smaller string) string {
	if small == 0 {
		return fmt.Sprintf("%d %s", large, unit)
	}
	return fmt.Sprintf("%d %s %d %s", large, unit, small, smaller)
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// seconds of a lag, short enough for an axis.
func lagWords(s float64) string {
	switch {
	case s == 0:
		return "0 s"
	case s < 1:
		return fmt.Sprintf("%d ms", int(math.Round(s*1000)))
	case s < 60:
		return strconv.FormatFloat(math.Round(s*10)/10, 'f', -1, 64) + " s"
	}
	return took(seconds(s))
}

func at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// rate is bytes in one second, "" where nothing can be said.
func rate(bytes int64, d time.Duration) string {
	if d <= 0 || bytes <= 0 {
		return ""
	}
	return bytesWords(int64(float64(bytes)/d.Seconds())) + "/s"
}

// percent is part of whole, for a bar's place and length.
func percent(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return math.Round(min(max(part/whole, 0), 1)*10000) / 100
}
