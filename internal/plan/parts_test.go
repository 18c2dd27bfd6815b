package plan_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
)

const gib = 1 << 30

func heap(name string, bytes, pages int64) shape.Table {
	return shape.Table{Table: ident.Table{Schema: "public", Name: name}, Bytes: bytes, Pages: pages}
}

// ranges writes parts as "name[first,end)=bytes".
func ranges(parts []plan.Part) []string {
	texts := []string{}
	for _, p := range parts {
		first, end := "", ""
		if p.First != nil {
			first = fmt.Sprint(*p.First)
		}
		if p.End != nil {
			end = fmt.Sprint(*p.End)
		}
		texts = append(texts, fmt.Sprintf("%s[%s,%s)=%d", p.Source.Name, first, end, p.Bytes))
	}
	return texts
}

func TestParts(t *testing.T) {
	tree := heap("root", 300, 30)
	tree.Partitioned = true
	tree.Leaves = []shape.Leaf{
		{Table: ident.Table{Schema: "public", Name: "east"}, Bytes: 200, Pages: 20},
		{Table: ident.Table{Schema: "public", Name: "inner"}, Partitioned: true},
		{Table: ident.Table{Schema: "other", Name: "empty"}},
	}
	childless := heap("childless", 0, 0)
	childless.Partitioned = true
	for _, c := range []struct {
		name      string
		table     shape.Table
		partBytes int64
		noRanges  bool
		want      []string
	}{
		{name: "empty table", table: heap("t", 0, 0), partBytes: gib, want: []string{"t[,)=0"}},
		{name: "smaller than a part", table: heap("t", 80, 8), partBytes: 100, want: []string{"t[,)=80"}},
		{name: "exactly one part", table: heap("t", 100, 10), partBytes: 100, want: []string{"t[,)=100"}},
		{name: "evenly", table: heap("t", 200, 20), partBytes: 100, want: []string{"t[,10)=100", "t[10,)=100"}},
		{name: "no tiny rest", table: heap("t", 210, 21), partBytes: 100, want: []string{"t[,7)=70", "t[7,14)=70", "t[14,)=70"}},
		{name: "never below a block", table: heap("t", 1000, 3), partBytes: 10, want: []string{"t[,1)=333", "t[1,2)=333", "t[2,)=334"}},
		{name: "one block with much TOAST", table: heap("t", 5*gib, 1), partBytes: gib, want: []string{fmt.Sprintf("t[,)=%d", int64(5*gib))}},
		{name: "before PostgreSQL 14", table: heap("t", 200, 20), partBytes: 100, noRanges: true, want: []string{"t[,)=200"}},
		{name: "no size asked for", table: heap("t", 200, 20), partBytes: 0, want: []string{"t[,)=200"}},
		{name: "partition tree", table: tree, partBytes: 100, want: []string{"east[,10)=100", "east[10,)=100", "empty[,)=0"}},
		{name: "partition root without leaves", table: childless, partBytes: 100, want: []string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, ranges(plan.Parts(c.table, c.partBytes, !c.noRanges)))
		})
	}
}

// Every block belongs to exactly one part, the last part is open, and no byte is lost.
func TestPartsCoverTheHeap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		pages := random.Int64N(1 << random.IntN(33))
		bytes := pages*8192 + random.Int64N(1<<20)
		partBytes := max(bytes/(1+random.Int64N(200)), 1)
		parts := plan.Parts(heap("t", bytes, pages), partBytes, true)
		next, sum := int64(0), int64(0)
		for i, p := range parts {
			if i > 0 {
				require.NotNil(t, p.First)
				require.Equal(t, next, *p.First)
			} else {
				require.Nil(t, p.First)
			}
			sum += p.Bytes
			if i == len(parts)-1 {
				require.Nil(t, p.End)
				break
			}
			require.NotNil(t, p.End)
			require.Greater(t, *p.End, next)
			next = *p.End
		}
		require.Equal(t, bytes, sum)
		require.LessOrEqual(t, next, max(pages-1, 0), "the last part starts inside the heap")
	}
}

func TestFairPart(t *testing.T) {
	const mib = 1 << 20
	tables := func(sizes ...int64) (all []shape.Table) {
		for i, size := range sizes {
			all = append(all, heap(fmt.Sprint("t", i), size, size/8192))
		}
		return all
	}
	tree := shape.Table{Partitioned: true, Bytes: 900 * mib, Leaves: []shape.Leaf{{Bytes: 800 * mib}, {Bytes: 100 * mib}, {Partitioned: true, Bytes: 5 * gib}}}
	for _, c := range []struct {
		name    string
		tables  []shape.Table
		part    int64
		streams int
		want    int64
	}{
		{"nothing", nil, gib, 4, gib},
		{"two alike", tables(400*mib, 400*mib), gib, 2, gib},
		{"one much larger", tables(900*mib, 100*mib), gib, 2, 250 * mib},
		{"more streams than tables", tables(400*mib, 400*mib), gib, 4, 100 * mib},
		{"one stream", tables(900*mib, 100*mib), gib, 1, gib},
		{"no stream", tables(900*mib, 100*mib), gib, 0, gib},
		{"never too small", tables(90 * mib), gib, 8, 64 * mib},
		{"nor larger than asked for", tables(900*mib, 100*mib), 16 * mib, 2, 16 * mib},
		{"large parts stay", tables(900*gib, 100*gib), gib, 4, gib},
		{"leaves are heaps of their own", []shape.Table{tree}, gib, 2, 225 * mib},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, plan.FairPart(c.tables, c.part, c.streams)) })
	}
}
