package plan_test

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/plan"
	"timeferry/internal/shape"
)

func keyHeap(bytes, pages, live int64, bounds ...string) shape.Table {
	t := heap("t", bytes, pages)
	t.Split = &shape.Split{LiveBytes: live, Column: "id", Bounds: bounds}
	return t
}

// keys writes parts as "[first,end)"; parts without a key as "blocks".
func keys(parts []plan.Part) (texts []string) {
	for _, p := range parts {
		first, end := "", ""
		if p.FirstKey != nil {
			first = *p.FirstKey
		}
		if p.EndKey != nil {
			end = *p.EndKey
		}
		if p.KeyColumn == "" {
			texts = append(texts, "blocks")
		} else {
			texts = append(texts, "["+first+","+end+")")
		}
	}
	return texts
}

func TestPartsByKey(t *testing.T) {
	const page = 8192
	for _, c := range []struct {
		name      string
		table     shape.Table
		partPages int64
		tidRange  bool
		want      []string
	}{
		{"before PostgreSQL 14", keyHeap(100*page, 100, 90*page, "1", "25", "50", "75", "100"), 50, false, []string{"[,50)", "[50,)"}},
		{"finer than the bounds", keyHeap(100*page, 100, 90*page, "1", "50", "100"), 10, false, []string{"[,50)", "[50,)"}},
		{"the same bound again", keyHeap(100*page, 100, 90*page, "1", "7", "7", "7", "9"), 25, false, []string{"[,7)", "[7,)"}},
		{"no bound inside", keyHeap(100*page, 100, 90*page, "1", "2"), 10, false, []string{"blocks"}},
		{"no bounds", keyHeap(100*page, 100, 90*page), 10, false, []string{"blocks"}},
		{"dense", keyHeap(100*page, 100, 90*page, "1", "50", "100"), 50, true, []string{"blocks", "blocks"}},
		{"just not bloated", keyHeap(100*page, 100, 25*page, "1", "50", "100"), 50, true, []string{"blocks", "blocks"}},
		{"bloated", keyHeap(100*page, 100, 24*page, "1", "25", "50", "75", "100"), 12, true, []string{"[,50)", "[50,)"}},
		{"bloated, with TOAST", keyHeap(124*page, 100, 24*page, "1", "25", "50", "75", "100"), 12, true, []string{"[,25)", "[25,50)", "[50,75)", "[75,)"}},
		{"bloated, small rest", keyHeap(100*page, 100, page, "1", "50", "100"), 50, true, []string{"[,50)", "[50,)"}},
		{"smaller than a part", keyHeap(100*page, 100, page, "1", "50", "100"), 100, true, []string{"blocks"}},
		{"statistics say nothing", keyHeap(100*page, 100, 0, "1", "50", "100"), 50, true, []string{"blocks", "blocks"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			parts := plan.Parts(c.table, c.partPages*page, c.tidRange)
			require.Equal(t, c.want, keys(parts))
			sum := int64(0)
			for _, p := range parts {
				sum += p.Bytes
			}
			require.Equal(t, c.table.Bytes, sum)
		})
	}
}

// Every value belongs to exactly one range, whatever the bounds are.
func TestPartsByKeyCoverAllValues(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		var bounds []string
		value := -random.Int64N(1000)
		for range random.IntN(120) {
			value += random.Int64N(20)
			bounds = append(bounds, strconv.FormatInt(value, 10))
		}
		parts := plan.Parts(keyHeap(1<<30, 1<<17, 0, bounds...), 1+random.Int64N(1<<30), false)
		for v := int64(-1100); v < 3000; v += 1 + random.Int64N(50) {
			holders := 0
			for _, p := range parts {
				if (p.FirstKey == nil || v >= number(t, *p.FirstKey)) && (p.EndKey == nil || v < number(t, *p.EndKey)) {
					holders++
				}
			}
			require.Equal(t, 1, holders)
		}
	}
}

func number(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	require.NoError(t, err)
	return n
}
