package plan

import (
	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// Part is a stretch of one heap on the source that is copied in one go: of its blocks, or with KeyColumn of its keys.
type Part struct {
	Source           ident.Table // the table itself, or one leaf of a partition tree
	First            *int64      // first block; nil: from the start
	End              *int64      // the block after the last; nil: to the end, however far that is by then
	KeyColumn        string
	FirstKey, EndKey *string // rows from FirstKey on and below EndKey, in text form; nil: no such bound
	Bytes            int64   // of heap and TOAST
}

// bloatFactor: a heap is bloated when it has more than so many times the pages that its live rows would fill. Below that
// the blocks are read in order, whole, and that is cheaper than to come to the same rows by an index.
const bloatFactor = 4

const blockBytes = 8192

// heap is one table or leaf.
type heap struct {
	source       ident.Table
	bytes, pages int64
	split        *shape.Split
}

// leastPart is the smallest part that FairPart asks for: a part has its price, and a plain table that is one part is frozen as it is
// copied.
const leastPart = 64 << 20

// FairPart is partBytes, or less where one heap is so large that its stream would work on while the others have nothing left: by a quarter more
// than the share of each of the streams. Its parts are then half of a share.
func FairPart(tables []shape.Table, partBytes int64, streams int) int64 {
	var total, largest int64
	heapOf := func(bytes int64) { total, largest = total+bytes, max(largest, bytes) }
	for _, t := range tables {
		if !t.Partitioned {
			heapOf(t.Bytes)
		}
		for _, l := range t.Leaves {
			if !l.Partitioned {
				heapOf(l.Bytes)
			}
		}
	}
	share := total / int64(max(streams, 1))
	if largest <= share+share/4 {
		return partBytes
	}
	return min(partBytes, max(share/2, leastPart))
}

// Parts cuts a table into parts of about partBytes, heap by heap: a plain table has one heap, a partition tree one per
// leaf. Every heap gives at least one part, empty ones too, and its first and last part have no bound outwards: pages and
// rows that were added since the catalogue was read are copied with them. Parts are ranges of blocks; where those do not
// pay they are ranges of a key, if there is one: in a bloated heap, and without tidRange (before PostgreSQL 14 a block range
// reads the whole table), where a heap without such a key is one part.
func Parts(t shape.Table, partBytes int64, tidRange bool) []Part {
	if !t.Partitioned {
		return heap{t.Table, t.Bytes, t.Pages, t.Split}.cut(partBytes, tidRange)
	}
	var parts []Part
	for _, l := range t.Leaves {
		if !l.Partitioned {
			parts = append(parts, heap{l.Table, l.Bytes, l.Pages, l.Split}.cut(partBytes, tidRange)...)
		}
	}
	return parts
}

// cut gives one part when partBytes is zero or less.
func (h heap) cut(partBytes int64, tidRange bool) []Part {
	if partBytes <= 0 || h.bytes <= partBytes {
		return h.whole()
	}
	if !tidRange || h.bloated(partBytes) {
		if parts := h.byKey(partBytes); len(parts) > 1 {
			return parts
		}
	}
	if !tidRange {
		return h.whole()
	}
	return h.byBlocks(partBytes)
}

func (h heap) whole() []Part { return []Part{{Source: h.source, Bytes: h.bytes}} }

// bloated is false as long as what could be left unread is no more than a part.
func (h heap) bloated(partBytes int64) bool {
	if h.split == nil || h.split.LiveBytes <= 0 {
		return false
	}
	heapBytes := h.pages * blockBytes
	return heapBytes/bloatFactor > h.split.LiveBytes && heapBytes-h.split.LiveBytes > partBytes
}

// byKey cuts at bounds of the key. Whatever the bounds are, and however old, every row is in exactly one range; only how
// large they turn out depends on them. It gives less than two parts when there is nothing to cut at.
func (h heap) byKey(partBytes int64) []Part {
	if h.split == nil || h.split.Column == "" {
		return nil
	}
	reads := h.bytes
	if h.bloated(partBytes) {
		reads += h.split.LiveBytes - h.pages*blockBytes
	}
	count := max((reads-1)/partBytes+1, 2) // the index is used for a range only, not for the whole
	cuts := pickBounds(h.split.Bounds, count)
	n := int64(len(cuts)) + 1
	parts := make([]Part, n)
	for i := range n {
		parts[i] = Part{Source: h.source, KeyColumn: h.split.Column, Bytes: share(h.bytes, i+1, n) - share(h.bytes, i, n)}
		if i > 0 {
			parts[i].FirstKey = &cuts[i-1]
		}
		if i < n-1 {
			parts[i].EndKey = &cuts[i]
		}
	}
	return parts
}

// pickBounds picks at most count-1 different values, evenly spread, neither the first nor the last: nothing is outside.
func pickBounds(bounds []string, count int64) []string {
	last := int64(len(bounds)) - 1
	var cuts []string
	for i := int64(1); i < count; i++ {
		at := i * last / count
		if at < 1 || at >= last {
			continue
		}
		if b := bounds[at]; len(cuts) == 0 || cuts[len(cuts)-1] != b {
			cuts = append(cuts, b)
		}
	}
	return cuts
}

// byBlocks cuts into ranges of equally many blocks.
func (h heap) byBlocks(partBytes int64) []Part {
	if h.pages <= 1 {
		return h.whole()
	}
	count := min((h.bytes-1)/partBytes+1, h.pages)
	blocks := (h.pages-1)/count + 1
	var parts []Part
	for first := int64(0); first < h.pages; first += blocks {
		end := min(first+blocks, h.pages)
		// Shares of the running total, so that the parts' bytes add up to the heap's however they are rounded.
		p := Part{Source: h.source, Bytes: share(h.bytes, end, h.pages) - share(h.bytes, first, h.pages)}
		if first > 0 {
			p.First = &first
		}
		if end < h.pages {
			p.End = &end
		}
		parts = append(parts, p)
	}
	return parts
}

// share is bytes × blocks / pages, or of whatever else is counted, without overflow for heaps of any size PostgreSQL can hold (2^32 blocks of 8 KiB).
func share(bytes, blocks, pages int64) int64 {
	return bytes/pages*blocks + bytes%pages*blocks/pages
}
