package report

import (
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// widths reads the bars out of a plot, which must be well-formed.
func widths(t *testing.T, svg []byte) (bars []float64, texts []string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(string(svg)))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return bars, texts
		}
		require.NoError(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			for _, a := range token.Attr {
				if token.Name.Local == "rect" && a.Name.Local == "width" && a.Value != "100%" {
					width, err := strconv.ParseFloat(a.Value, 64)
					require.NoError(t, err)
					bars = append(bars, width)
				}
			}
		case xml.CharData:
			if text := strings.TrimSpace(string(token)); text != "" {
				texts = append(texts, text)
			}
		}
	}
}

func TestPlotDrawsBarsInProportion(t *testing.T) {
	p := Plot{Title: "Both", Subtitle: "below", Bars: []Bar{{Label: "one", Value: "10 s", Length: 10, Least: 9, Most: 12}, {Label: "two", Value: "2.5 s", Length: 2.5, Least: 2.5, Most: 2.5}}}
	svg, err := p.SVG()
	require.NoError(t, err)
	bars, texts := widths(t, svg)
	require.Len(t, bars, len(p.Bars))
	for i, b := range p.Bars {
		require.InDelta(t, bars[0]/p.Bars[0].Length, bars[i]/b.Length, 0.1, b.Label)
		require.LessOrEqual(t, bars[i], float64(plotWidth-labelWidth))
	}
	for _, text := range []string{"Both", "below", "one", "two", "10 s", "2.5 s"} {
		require.Contains(t, texts, text)
	}
}

func TestPlotOfNothingIsNoPlotOfNaN(t *testing.T) {
	for _, p := range []Plot{{}, {Bars: []Bar{{Label: "none"}}}} {
		svg, err := p.SVG()
		require.NoError(t, err)
		bars, _ := widths(t, svg)
		require.Len(t, bars, len(p.Bars))
		require.NotContains(t, string(svg), "NaN")
	}
}
