package report

import (
	"bytes"
	"math"
	"text/template"
)

// The plot's measures, in pixels.
const (
	plotWidth  = 760
	labelWidth = 190
	barHeight  = 22
	barStep    = 32
	plotTop    = 56
)

// Plot is a title and bars below each other, drawn to one scale.
type Plot struct {
	Title, Subtitle string
	Bars            []Bar
}

// Bar is one line of a plot: a bar as long as Length, with a line from Least to Most over it.
type Bar struct {
	Label, Value, Color string
	Length, Least, Most float64
}

// drawn is a bar in pixels.
type drawn struct {
	Bar
	Y, Middle, Width, From, To float64
}

// plotTemplate needs no escaping: nothing in it comes from outside of the benchmarks.
var plotTemplate = template.Must(template.New("plot").Parse(`<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="{{.Height}}" viewBox="0 0 {{.Width}} {{.Height}}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="white"/>
<text x="12" y="22" font-size="16" font-weight="bold">{{.Title}}</text>
<text x="12" y="42" fill="#555">{{.Subtitle}}</text>
{{- range .Bars}}
<text x="{{$.Label}}" y="{{.Middle}}" dx="-8" dy="4" text-anchor="end">{{.Label}}</text>
<rect x="{{$.Label}}" y="{{.Y}}" width="{{printf "%.1f" .Width}}" height="{{$.BarHeight}}" fill="{{.Color}}"/>
<path d="M{{printf "%.1f" .From}} {{.Middle}}H{{printf "%.1f" .To}}" stroke="#222" stroke-width="2"/>
<text x="{{printf "%.1f" .To}}" y="{{.Middle}}" dx="8" dy="4">{{.Value}}</text>
{{- end}}
</svg>
`))

// SVG draws the plot.
func (p Plot) SVG() ([]byte, error) {
	longest := 0.0
	for _, b := range p.Bars {
		longest = math.Max(longest, math.Max(b.Length, b.Most))
	}
	scale := 0.0
	if longest > 0 {
		scale = (plotWidth - labelWidth - 90) / longest
	}
	var bars []drawn
	for i, b := range p.Bars {
		y := float64(plotTop + i*barStep)
		bars = append(bars, drawn{Bar: b, Y: y, Middle: y + barHeight/2, Width: b.Length * scale, From: labelWidth + b.Least*scale, To: labelWidth + b.Most*scale})
	}
	var out bytes.Buffer
	err := plotTemplate.Execute(&out, map[string]any{
		"Width": plotWidth, "Height": plotTop + len(bars)*barStep + 12, "Label": labelWidth, "BarHeight": barHeight, "Bars": bars,
		"Title": p.Title, "Subtitle": p.Subtitle,
	})
	return out.Bytes(), err
}
