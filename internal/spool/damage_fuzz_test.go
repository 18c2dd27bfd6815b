package spool

import (
	"context"
	"slices"
	"testing"

	"timeferry/internal/fault"
	"timeferry/internal/segment"
)

// fuzzStream is how many transactions the fuzzed spool has, over several segments.
const fuzzStream = 8

// fuzzDisk is a disk with a spool that was closed properly, and its segments' names in order.
func fuzzDisk(t testing.TB, o Options) (*faultDisk, []string) {
	d := newFaultDisk()
	s, err := openOn(d, "spool", o)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= fuzzStream; n++ {
		for _, r := range transaction(n) {
			if err := s.Append(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Flush(); err != nil { // a block each
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := d.list()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return d, names
}

// fuzzForm makes some segments of either form.
func fuzzForm(compress bool) Options {
	if compress {
		return Options{SegmentBytes: 400, Compress: true}
	}
	return small
}

// FuzzDamagedSpool: whatever becomes of a byte, or of a file's end, what is read is the stream from its beginning without a hole,
// up to an error with a class or up to Durable, from where the receiver asks again. Nothing panics, and nothing is passed over.
func FuzzDamagedSpool(f *testing.F) {
	for _, compress := range []bool{false, true} {
		f.Add(compress, uint8(0), uint16(0), uint8(0), uint16(0), []byte{})          // nothing
		f.Add(compress, uint8(0), uint16(200), uint8(1), uint16(0), []byte{})        // a bit in the first segment
		f.Add(compress, uint8(3), uint16(60), uint8(0x80), uint16(0), []byte{})      // one in the last
		f.Add(compress, uint8(3), uint16(0), uint8(0), uint16(30), []byte{})         // a torn tail
		f.Add(compress, uint8(1), uint16(0), uint8(0), uint16(10), []byte{})         // a sealed segment cut short
		f.Add(compress, uint8(3), uint16(0), uint8(0), uint16(0), make([]byte, 100)) // zeros after the end
		f.Add(compress, uint8(2), uint16(9), uint8(2), uint16(0), []byte{})          // another version
		_, names := fuzzDisk(f, fuzzForm(compress))
		for cut := range uint16(400) { // a sealed segment cut anywhere, at the border of two records or transactions too
			f.Add(compress, uint8(len(names)-2), uint16(0), uint8(0), cut, []byte{})
		}
	}
	f.Fuzz(func(t *testing.T, compress bool, which uint8, at uint16, xor uint8, cut uint16, more []byte) {
		o := fuzzForm(compress)
		d, names := fuzzDisk(t, o)
		file := d.files[names[int(which)%len(names)]]
		file.data[int(at)%len(file.data)] ^= xor
		file.data = append(file.data[:len(file.data)-int(cut)%len(file.data)], more...)
		s, err := openOn(d, "spool", o)
		if err != nil {
			requireClass(t, err)
			return
		}
		got, err := readAll(s)
		want := []string{}
		for n := 1; n <= fuzzStream; n++ {
			want = append(want, texts(transaction(n)...)...)
		}
		if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("read %q, want a beginning of %q", got, want)
		}
		if err != nil {
			requireClass(t, err)
			return
		}
		whole := 0
		for n := 1; n <= fuzzStream && s.Durable() >= endOf(n); n++ {
			whole += len(transaction(n))
		}
		if len(got) != whole {
			t.Fatalf("%d records were read without an error, and %d are said to be durable", len(got), whole)
		}
	})
}

// FuzzSegment: no bytes after a segment's header make opening or reading panic, or go wrong without a class.
func FuzzSegment(f *testing.F) {
	for _, compress := range []bool{false, true} {
		d, names := fuzzDisk(f, fuzzForm(compress))
		for _, name := range names {
			f.Add(compress, d.files[name].data[segment.HeaderSize:])
		}
		f.Add(compress, []byte{})
	}
	f.Fuzz(func(t *testing.T, compress bool, body []byte) {
		d, names := fuzzDisk(t, fuzzForm(compress))
		first := d.files[names[0]]
		d.files = map[string]*faultFile{names[0]: {disk: d, data: append(slices.Clone(first.data[:segment.HeaderSize]), body...)}}
		s, err := openOn(d, "spool", fuzzForm(compress))
		if err == nil {
			_, err = readAll(s)
		}
		if err != nil {
			requireClass(t, err)
		}
	})
}

// readAll reads what there is, up to an error.
func readAll(s *Spool) (got []string, err error) {
	r, err := s.NewReader(0)
	if err != nil {
		return nil, err
	}
	for r.Ready() {
		rec, err := r.Next(context.Background())
		if err != nil {
			return got, err
		}
		got = append(got, text(rec))
	}
	return got, r.Close()
}

func requireClass(t *testing.T, err error) {
	switch class := fault.Classify(err); class {
	case fault.Integrity, fault.Operator:
	default:
		t.Fatalf("%v has class %s", err, class)
	}
}
