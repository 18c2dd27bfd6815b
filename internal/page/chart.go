package page

import (
	"fmt"
	"math"
	"strings"
	"time"

	"timeferry/internal/contract"
)

// The chart's own units; the page scales it.
const (
	chartWidth, chartHeight = 640.0, 170.0
	plotLeft, plotRight     = 88.0, 632.0
	plotTop, plotBottom     = 8.0, 142.0
)

// chart is one line over time.
type chart struct {
	Title    string
	LabelsAt float64 // where the words beside the lines end
	Peak     string
	Width    float64
	Height   float64
	Left     float64
	Right    float64
	Top      float64
	Bottom   float64
	Lines    []string // points of the stretches that were looked at without a gap
	Areas    []string // the same, down to zero
	Points   []point  // with what they say
	Rows     []tick
	Columns  []tick
	Cutovers []mark
}

type point struct {
	X, Y float64
	Says string
}

type tick struct {
	At     float64
	Label  string
	Anchor string
}

type mark struct {
	X    float64
	Says string
}

// lagChart draws a value of the samples. marks are the times to mark.
func lagChart(title string, samples []contract.LagSample, value func(contract.LagSample) float64, words func(float64) string, step func(float64) float64, cutovers []time.Time) chart {
	c := chart{Title: title, LabelsAt: plotLeft - 6, Width: chartWidth, Height: chartHeight, Left: plotLeft, Right: plotRight, Top: plotTop, Bottom: plotBottom}
	first := samples[0].At.Add(-seconds(samples[0].Span))
	last := samples[len(samples)-1].At
	whole := max(last.Sub(first).Seconds(), 1)
	top := 0.0
	for _, s := range samples {
		top = max(top, value(s))
	}
	c.Peak = words(top)
	between := step(top)
	steps := max(math.Ceil(top/between), 1)
	x := func(t time.Time) float64 {
		return round(plotLeft + (plotRight-plotLeft)*min(max(t.Sub(first).Seconds()/whole, 0), 1))
	}
	y := func(v float64) float64 { return round(plotBottom - (plotBottom-plotTop)*v/(steps*between)) }
	for i := range int(steps) + 1 {
		c.Rows = append(c.Rows, tick{At: y(float64(i) * between), Label: words(float64(i) * between)})
	}
	c.Columns = columns(first, last, x)
	for _, run := range withoutGaps(samples) {
		var line []string
		for _, s := range run {
			// The middle of the span, but the ends reach to where it was looked at.
			line = append(line, fmt.Sprintf("%g,%g", x(s.At.Add(-seconds(s.Span/2))), y(value(s))))
			c.Points = append(c.Points, point{x(s.At.Add(-seconds(s.Span / 2))), y(value(s)), words(value(s)) + " until " + at(s.At)})
		}
		begins, ends := x(run[0].At.Add(-seconds(run[0].Span))), x(run[len(run)-1].At)
		line = append([]string{fmt.Sprintf("%g,%g", begins, y(value(run[0])))}, line...)
		line = append(line, fmt.Sprintf("%g,%g", ends, y(value(run[len(run)-1]))))
		c.Lines = append(c.Lines, strings.Join(line, " "))
		c.Areas = append(c.Areas, fmt.Sprintf("%g,%g %s %g,%g", begins, plotBottom, strings.Join(line, " "), ends, plotBottom))
	}
	for _, t := range cutovers {
		if !t.Before(first) && !t.After(last.Add(seconds(whole/20))) {
			c.Cutovers = append(c.Cutovers, mark{x(t), "cutover " + at(t)})
		}
	}
	return c
}

// withoutGaps parts the samples where nobody looked for longer than the next one spans.
func withoutGaps(samples []contract.LagSample) [][]contract.LagSample {
	var runs [][]contract.LagSample
	for i, s := range samples {
		if i == 0 || s.At.Sub(samples[i-1].At).Seconds()-s.Span > max(s.Span, 60) {
			runs = append(runs, nil)
		}
		runs[len(runs)-1] = append(runs[len(runs)-1], s)
	}
	return runs
}

// columns are the times below the chart: both ends and the middle.
func columns(first, last time.Time, x func(time.Time) float64) []tick {
	form := "Jan 2 15:04"
	switch whole := last.Sub(first); {
	case whole < 10*time.Minute:
		form = "15:04:05"
	case whole < 24*time.Hour:
		form = "15:04"
	case whole > 20*24*time.Hour:
		form = "Jan 2"
	}
	middle := first.Add(last.Sub(first) / 2)
	return []tick{{x(first), first.UTC().Format(form), "start"}, {x(middle), middle.UTC().Format(form), "middle"}, {x(last), last.UTC().Format(form), "end"}}
}

// stepOfSeconds and stepOfBytes give a round distance of lines for about four of them.
func stepOfSeconds(top float64) float64 {
	for _, s := range []float64{0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400} {
		if top <= 4*s {
			return s
		}
	}
	return math.Ceil(top/4/86400) * 86400
}

func stepOfBytes(top float64) float64 {
	step := 256.0
	for top > 4*step {
		step *= 2
	}
	return step
}

func round(v float64) float64 { return math.Round(v*10) / 10 }
