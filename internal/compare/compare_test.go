package compare_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/compare"
)

func TestOrdinalsOfKnownValues(t *testing.T) {
	for _, c := range []struct {
		kind compare.Kind
		text string
		want int64
	}{
		{compare.Int, "0", 0}, {compare.Int, "-17", -17}, {compare.Int, "9223372036854775807", math.MaxInt64}, {compare.Int, "-9223372036854775808", math.MinInt64},
		{compare.Date, "1970-01-01", 0}, {compare.Date, "1969-12-31", -1}, {compare.Date, "2024-02-29", 19782},
		{compare.Timestamp, "1970-01-01 00:00:00", 0}, {compare.Timestamp, "1970-01-01 00:00:01.5+00", 1_500_000}, {compare.Timestamp, "1969-12-31 23:59:59.999999+00", -1},
		{compare.UUID, "00000000-0000-0000-0000-000000000000", math.MinInt64}, {compare.UUID, "ffffffff-ffff-ffff-0000-000000000000", math.MaxInt64},
		{compare.UUID, "80000000-0000-0001-ffff-ffffffffffff", 1},
	} {
		got, ok := c.kind.Ordinal([]byte(c.text))
		require.True(t, ok, c.text)
		require.Equal(t, c.want, got, c.text)
	}
}

func TestWhatTheTextDoesNotTell(t *testing.T) {
	for kind, texts := range map[compare.Kind][]string{
		compare.Int: {"", "-", "1.0", "x", "99999999999999999999"}, compare.Date: {"infinity", "10000-01-01", "0044-03-15 BC", "2024-1-1", ""},
		compare.Timestamp: {"-infinity", "2024-01-01 00:00:00+01", "2024-01-01", "0044-03-15 00:00:00+00 BC", "12024-01-01 00:00:00"},
		compare.UUID:      {"", "zz000000-0000-0000-0000-000000000000"}, compare.None: {"1"},
	} {
		for _, text := range texts {
			_, ok := kind.Ordinal([]byte(text))
			require.False(t, ok, "%s %q", kind, text)
		}
	}
}

// Text and Ordinal are each other's inverse, and keep the order.
func TestOrdinalsKeepTheOrder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for _, kind := range []compare.Kind{compare.Int, compare.Date, compare.Timestamp, compare.UUID} {
		width := float64(kind.Greatest()) - float64(kind.Least())
		for range 2000 {
			a := kind.Least() + int64(r.Float64()*width*0.999)
			if kind == compare.Int || kind == compare.UUID {
				a = int64(r.Uint64())
			}
			back, ok := kind.Ordinal([]byte(kind.Text(a)))
			require.True(t, ok, kind.Text(a))
			require.Equal(t, a, back, kind.Text(a))
			if b := a + 1; kind == compare.UUID && a < b {
				require.Less(t, kind.Text(a), kind.Text(b))
			}
		}
		for _, end := range []int64{kind.Least(), kind.Greatest()} {
			back, ok := kind.Ordinal([]byte(kind.Text(end)))
			require.True(t, ok, kind.Text(end))
			require.Equal(t, end, back)
		}
	}
}

// Every date of four centuries and more, against the calendar of the standard library.
func TestEveryDay(t *testing.T) {
	for day := time.Date(1896, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 2105; day = day.AddDate(0, 0, 1) {
		got, ok := compare.Date.Ordinal([]byte(day.Format("2006-01-02")))
		require.True(t, ok)
		require.Equal(t, day.Unix()/86400, got, day)
	}
}

func TestPiecesTakeInEverythingOnce(t *testing.T) {
	cuts := compare.Cuts([]int64{0, 10, 1000, 1001, math.MaxInt64}, 8)
	require.LessOrEqual(t, len(cuts), 7)
	pieces := compare.Pieces(cuts)
	require.True(t, pieces[0].NoLow)
	require.True(t, pieces[len(pieces)-1].NoHigh)
	for i := 1; i < len(pieces); i++ {
		require.Equal(t, pieces[i-1].High+1, pieces[i].Low)
		require.Less(t, pieces[i-1].Low, pieces[i].Low)
	}
	require.Equal(t, []compare.Range{compare.Everything()}, compare.Pieces(nil))
	require.Empty(t, compare.Cuts([]int64{5}, 4))
	require.Empty(t, compare.Cuts([]int64{5, 5, 5}, 4), "one value only")
	require.Equal(t, []int64{25, 50, 75}, compare.Cuts([]int64{0, 100}, 4))
}

func TestMerge(t *testing.T) {
	r := func(low, high int64) compare.Range { return compare.Range{Low: low, High: high} }
	open := compare.Range{Low: math.MinInt64, High: 5, NoLow: true}
	for _, c := range []struct{ in, want []compare.Range }{
		{nil, nil},
		{[]compare.Range{r(5, 6), r(1, 2)}, []compare.Range{r(1, 2), r(5, 6)}},
		{[]compare.Range{r(3, 4), r(1, 2)}, []compare.Range{r(1, 4)}},
		{[]compare.Range{r(1, 9), r(2, 3), r(8, 12)}, []compare.Range{r(1, 12)}},
		{[]compare.Range{r(7, 8), open}, []compare.Range{open, r(7, 8)}},
		{[]compare.Range{r(1, math.MaxInt64), r(3, 4)}, []compare.Range{r(1, math.MaxInt64)}},
		{[]compare.Range{compare.Everything(), r(3, 4)}, []compare.Range{compare.Everything()}},
	} {
		require.Equal(t, c.want, compare.Merge(c.in))
	}
}

func TestClip(t *testing.T) {
	outer := compare.Range{Low: 10, High: 20}
	_, ok := compare.Range{Low: 1, High: 9}.Clip(outer)
	require.False(t, ok)
	part, ok := compare.Everything().Clip(outer)
	require.True(t, ok)
	require.Equal(t, outer, part)
	part, ok = compare.Range{Low: 15, High: 30}.Clip(compare.Range{Low: 10, High: math.MaxInt64, NoHigh: true})
	require.True(t, ok)
	require.Equal(t, compare.Range{Low: 15, High: 30}, part)
}

// Whatever is added is in some bucket that was taken, and there are never many.
func TestTouchedTellsTooMuchRatherThanTooLittle(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for name, draw := range map[string]func(*rand.Rand) int64{
		"dense":    func(r *rand.Rand) int64 { return r.Int64N(1000) },
		"growing":  func() func(*rand.Rand) int64 { n := int64(0); return func(*rand.Rand) int64 { n += 3; return n } }(),
		"anywhere": func(r *rand.Rand) int64 { return int64(r.Uint64()) },
		"wide":     func(r *rand.Rand) int64 { return r.Int64N(1 << 40) },
		"negative": func(r *rand.Rand) int64 { return -r.Int64N(1 << 30) },
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			touched := compare.NewTouched(compare.Int.FirstShift())
			var added []int64
			var taken []compare.Range
			for i := range 20_000 {
				n := draw(r)
				added = append(added, n)
				touched.Add(n)
				if i%37 == 0 || i == 19_999 {
					for _, b := range touched.Take() {
						taken = append(taken, b.Range())
					}
				}
			}
			require.Less(t, len(taken), 64*compare.MaxBuckets)
			merged := compare.Merge(taken)
			for _, n := range added {
				require.True(t, holds(merged, n), fmt.Sprint(n))
			}
			if name == "dense" {
				require.Equal(t, []compare.Range{{Low: 0, High: 1023}}, merged)
			}
		})
	}
	values := compare.NewTouched(0)
	for i := range 3 * compare.MaxBuckets {
		values.AddValue(fmt.Append(nil, i/2))
	}
	taken := values.Take()
	require.Equal(t, []compare.Bucket{{Shift: compare.Whole}}, taken, "too many")
	values = compare.NewTouched(0)
	values.AddValue([]byte("a"))
	values.AddValue([]byte("a"))
	require.Equal(t, []compare.Bucket{{Shift: compare.ByValue, Value: "a"}}, values.Take())
	values.AddValue(make([]byte, 1000))
	require.Equal(t, []compare.Bucket{{Shift: compare.Whole}}, values.Take(), "too long")
	touched := compare.NewTouched(0)
	touched.Add(5)
	touched.AddAll()
	touched.Add(6)
	require.Equal(t, []compare.Bucket{{Shift: compare.Whole}}, touched.Take())
	touched.AddAll()
	require.Empty(t, touched.Take())
	require.Equal(t, compare.Everything(), compare.Bucket{Shift: compare.Whole}.Range())
}

func holds(ranges []compare.Range, n int64) bool {
	for _, r := range ranges {
		if (r.NoLow || r.Low <= n) && (r.NoHigh || n <= r.High) {
			return true
		}
	}
	return false
}

// BenchmarkTouch is what a change costs on the applier's hot path while comparisons want to know what it touches.
func BenchmarkTouch(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	keys := make([][]byte, 100_000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "%d", r.IntN(10_000_000))
	}
	touched := compare.NewTouched(compare.Int.FirstShift())
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		ordinal, _ := compare.Int.Ordinal(keys[i%len(keys)])
		touched.Add(ordinal)
		if i%1000 == 0 {
			touched.Take()
		}
	}
}
