package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Middle is the median; of an even number of values the mean of the two in the middle.
func Middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return Rounded((sorted[(n-1)/2] + sorted[n/2]) / 2)
}

// Middles is the median of each list; nil for nothing, as JSON reads it back.
func Middles(by map[string][]float64) map[string]float64 {
	if len(by) == 0 {
		return nil
	}
	m := map[string]float64{}
	for name, values := range by {
		m[name] = Middle(values)
	}
	return m
}

// Rounded keeps three decimals: a thousandth of a second is less than two runs differ.
func Rounded(f float64) float64 { return math.Round(f*1000) / 1000 }

// FormatSeconds is "name 1.0 s, other 2.0 s", by name.
func FormatSeconds(by map[string]float64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%s %.1f s", name, by[name]))
	}
	return strings.Join(parts, ", ")
}
