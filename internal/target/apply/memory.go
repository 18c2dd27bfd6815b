package apply

import "timeferry/internal/change"

// memory holds the copies of one batch's values. Its blocks are used again by the next batch: nothing that was handed out
// may be looked at after reset.
type memory struct {
	bytes  blocks[byte]
	datums blocks[change.Datum]
	rows   blocks[row]
}

func newMemory() *memory {
	return &memory{bytes: blocks[byte]{size: 256 << 10}, datums: blocks[change.Datum]{size: 8192}, rows: blocks[row]{size: 2048}}
}

func (m *memory) reset() {
	m.bytes.reset()
	m.datums.reset()
	m.rows.reset()
}

// copyBytes keeps b; nil stays nil.
func (m *memory) copyBytes(b []byte) []byte {
	if b == nil {
		return nil
	}
	kept := m.bytes.take(len(b))
	copy(kept, b)
	return kept
}

func (m *memory) copyDatums(from []change.Datum) []change.Datum {
	kept := m.datums.take(len(from))
	for i, d := range from {
		kept[i] = change.Datum{State: d.State, Bytes: m.copyBytes(d.Bytes)}
	}
	return kept
}

func (m *memory) newRow() *row {
	r := &m.rows.take(1)[0]
	*r = row{}
	return r
}

// blocks hands out slices of big blocks.
type blocks[T any] struct {
	size int
	all  [][]T
	at   int // the block in use
	used int // of it
}

func (b *blocks[T]) take(n int) []T {
	if n > b.size/4 { // too big to share a block
		return make([]T, n)
	}
	if len(b.all) == 0 || b.used+n > b.size {
		if len(b.all) > 0 {
			b.at++
		}
		if b.at == len(b.all) {
			b.all = append(b.all, make([]T, b.size))
		}
		b.used = 0
	}
	b.used += n
	return b.all[b.at][b.used-n : b.used : b.used]
}

func (b *blocks[T]) reset() { b.at, b.used = 0, 0 }
