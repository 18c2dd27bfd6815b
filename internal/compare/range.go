package compare

import (
	"cmp"
	"math"
	"slices"
)

// Range is a stretch of ordinals, both ends included. Open ends take in what has no ordinal.
type Range struct {
	Low, High     int64
	NoLow, NoHigh bool
}

// Everything is the range without ends.
func Everything() Range {
	return Range{Low: math.MinInt64, High: math.MaxInt64, NoLow: true, NoHigh: true}
}

// Clip is the part of r that lies inside of outer; ok is false when there is none.
func (r Range) Clip(outer Range) (part Range, ok bool) {
	part = r
	if !outer.NoLow && (r.NoLow || r.Low < outer.Low) {
		part.Low, part.NoLow = outer.Low, false
	}
	if !outer.NoHigh && (r.NoHigh || r.High > outer.High) {
		part.High, part.NoHigh = outer.High, false
	}
	return part, part.Low <= part.High
}

// Merge puts ranges in order and joins those that touch or overlap.
func Merge(ranges []Range) []Range {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b Range) int {
		if a.NoLow != b.NoLow {
			if a.NoLow {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Low, b.Low)
	})
	var merged []Range
	for _, r := range sorted {
		n := len(merged) - 1
		if n >= 0 && merged[n].reaches(r) {
			merged[n].NoHigh = merged[n].NoHigh || r.NoHigh
			merged[n].High = max(merged[n].High, r.High)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// reaches is true when next, which does not begin before r, begins within r or right behind it.
func (r Range) reaches(next Range) bool {
	return r.NoHigh || next.NoLow || r.High == math.MaxInt64 || next.Low <= r.High+1
}

// Cuts are up to n-1 ordinals that cut a table into n about equal pieces, each the first of a piece. bounds are ordinals, in
// order, between which about equally many rows lie each; fewer than two tell nothing.
func Cuts(bounds []int64, n int) []int64 {
	if len(bounds) < 2 {
		return nil
	}
	var cuts []int64
	for i := 1; i < n; i++ {
		at := float64(i) / float64(n) * float64(len(bounds)-1)
		left := min(int(at), len(bounds)-2)
		low, high := bounds[left], bounds[left+1]
		cut := low + int64((at-float64(left))*(float64(high)-float64(low)))
		cut = min(max(cut, low), high) // a width beyond what float64 tells exactly
		if cut > bounds[0] && (len(cuts) == 0 || cut > cuts[len(cuts)-1]) {
			cuts = append(cuts, cut)
		}
	}
	return cuts
}

// Pieces are the ranges between the cuts; together they take in everything.
func Pieces(cuts []int64) []Range {
	all := make([]Range, 0, len(cuts)+1)
	next := Everything()
	for _, cut := range cuts {
		piece := next
		piece.High, piece.NoHigh = cut-1, false
		all = append(all, piece)
		next.Low, next.NoLow = cut, false
	}
	return append(all, next)
}
