package plan

import (
	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// Part is a stretch of one heap on the source that is copied in one go.
type Part struct {
	Source ident.Table // the table itself, or one leaf of a partition tree
	First  *int64      // first block; nil: from the start
	End    *int64      // the block after the last; nil: to the end, however far that is by then
	Bytes  int64       // of heap and TOAST
}

// Parts cuts a table into parts of about partBytes, heap by heap: a plain table has one heap, a partition tree one per
// leaf. Every heap gives at least one part, empty ones too, and its last part is open-ended: pages that were added since
// the catalogue was read are copied with it. Without tidRange (before PostgreSQL 14 a block range reads the whole table)
// there is one part per heap.
func Parts(t shape.Table, partBytes int64, tidRange bool) []Part {
	if !tidRange {
		partBytes = 0
	}
	if !t.Partitioned {
		return heapParts(t.Table, t.Bytes, t.Pages, partBytes)
	}
	var parts []Part
	for _, l := range t.Leaves {
		if !l.Partitioned {
			parts = append(parts, heapParts(l.Table, l.Bytes, l.Pages, partBytes)...)
		}
	}
	return parts
}

// heapParts cuts one heap into ranges of equally many blocks. partBytes zero or less means one part.
func heapParts(source ident.Table, bytes, pages, partBytes int64) []Part {
	if partBytes <= 0 || bytes <= partBytes || pages <= 1 {
		return []Part{{Source: source, Bytes: bytes}}
	}
	count := min((bytes-1)/partBytes+1, pages)
	blocks := (pages-1)/count + 1
	var parts []Part
	for first := int64(0); first < pages; first += blocks {
		end := min(first+blocks, pages)
		// Shares of the running total, so that the parts' bytes add up to the heap's however they are rounded.
		p := Part{Source: source, Bytes: share(bytes, end, pages) - share(bytes, first, pages)}
		if first > 0 {
			p.First = &first
		}
		if end < pages {
			p.End = &end
		}
		parts = append(parts, p)
	}
	return parts
}

// share is bytes × blocks / pages, without overflow for heaps of any size PostgreSQL can hold (2^32 blocks of 8 KiB).
func share(bytes, blocks, pages int64) int64 {
	return bytes/pages*blocks + bytes%pages*blocks/pages
}
