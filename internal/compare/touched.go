package compare

import "math"

// MaxBuckets bounds what is remembered of one table: with more, buckets become twice as wide. 16,384 are half a minute of 500
// updates a second anywhere in a large table, and half a megabyte.
const MaxBuckets = 16384

// maxValueBytes is how long a value that is remembered as itself may be.
const maxValueBytes = 500

// Bucket is a stretch of ordinals that was touched: those with Number when they are divided by 2 to the Shift. A Shift of Whole
// is everything, one of ByValue is the one Value.
type Bucket struct {
	Shift  int
	Number int64
	Value  string
}

// Special values of Bucket.Shift.
const (
	Whole   = 64
	ByValue = -1
)

// Range is what the bucket holds; everything, for one that has no ordinals.
func (b Bucket) Range() Range {
	if b.Shift >= Whole || b.Shift < 0 {
		return Everything()
	}
	low := b.Number << b.Shift
	return Range{Low: low, High: low + (1<<b.Shift - 1)}
}

// Touched remembers which ordinals of one table were touched, as a bounded number of buckets. The zero value remembers nothing.
// Not safe for concurrent use.
type Touched struct {
	shift   int
	numbers map[int64]struct{}
	values  map[string]struct{}
	last    int64 // looked up last
	fresh   []Bucket
}

// NewTouched begins with buckets that are 2 to the shift wide.
func NewTouched(shift int) *Touched {
	return &Touched{shift: shift, numbers: map[int64]struct{}{}, values: map[string]struct{}{}, last: math.MinInt64}
}

// Add takes note of one ordinal.
func (t *Touched) Add(ordinal int64) {
	if t.shift >= Whole {
		return
	}
	number := ordinal >> t.shift
	if number == t.last && len(t.numbers) > 0 {
		return
	}
	t.last = number
	if _, known := t.numbers[number]; known {
		return
	}
	t.numbers[number] = struct{}{}
	t.fresh = append(t.fresh, Bucket{Shift: t.shift, Number: number})
	if len(t.numbers) > MaxBuckets {
		t.widen()
	}
}

// AddValue takes note of one value of a kind without ordinals.
func (t *Touched) AddValue(text []byte) {
	if t.shift >= Whole {
		return
	}
	if _, known := t.values[string(text)]; known {
		return
	}
	if len(t.values) >= MaxBuckets || len(text) > maxValueBytes {
		t.AddAll()
		return
	}
	value := string(text)
	t.values[value] = struct{}{}
	t.fresh = append(t.fresh, Bucket{Shift: ByValue, Value: value})
}

// AddAll takes note that anything may have been touched.
func (t *Touched) AddAll() {
	if t.shift >= Whole {
		return
	}
	t.shift, t.numbers, t.values = Whole, nil, nil
	t.fresh = []Bucket{{Shift: Whole}}
}

// widen makes the buckets as wide as it takes for half of them. What is fresh is told in the new width: together with what was
// taken before, it holds everything.
func (t *Touched) widen() {
	for len(t.numbers) > MaxBuckets/2 && t.shift < Whole-1 {
		t.shift++
		wider := make(map[int64]struct{}, len(t.numbers)/2)
		for n := range t.numbers {
			wider[n>>1] = struct{}{}
		}
		t.numbers = wider
	}
	if len(t.numbers) > MaxBuckets/2 {
		t.AddAll()
		return
	}
	t.last = math.MinInt64
	t.fresh = t.fresh[:0]
	for n := range t.numbers {
		t.fresh = append(t.fresh, Bucket{Shift: t.shift, Number: n})
	}
}

// Take returns the buckets that came to be since the last call. The slice is valid until the next Add.
func (t *Touched) Take() []Bucket {
	fresh := t.fresh
	t.fresh = t.fresh[:0]
	return fresh
}

// FirstShift is how wide buckets of a kind are at first: 64 keys, a minute or a day, and for UUIDs, which are spread, few of them.
func (k Kind) FirstShift() int {
	switch k {
	case Int:
		return 6
	case Timestamp:
		return 26
	case UUID:
		return 40
	}
	return 0
}
