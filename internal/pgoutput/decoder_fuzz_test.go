package pgoutput_test

import (
	"testing"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/pgoutput"
)

// FuzzDecode: no input makes the decoder panic, invent a value outside of the message, or give an error without a class.
func FuzzDecode(f *testing.F) {
	recorded := mustRecording(f)
	for _, m := range recorded {
		f.Add(m)
	}
	f.Add([]byte("O\x00\x00\x00\x00\x00\x00\x00\x07origin\x00"))
	f.Add([]byte("Y\x00\x00\x40\x00public\x00mood\x00"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		d := pgoutput.NewDecoder()
		for _, m := range recorded {
			if _, _, err := d.Decode(m); err != nil {
				t.Fatal(err)
			}
		}
		ev, ok, err := d.Decode(msg)
		if err != nil {
			if class := fault.Classify(err); ok || (class != fault.Integrity && class != fault.Bug) {
				t.Fatalf("ok %t with error %v of class %s", ok, err, class)
			}
			return
		}
		if ignored := msg[0] == 'O' || msg[0] == 'Y'; ok == ignored { // origins and types say nothing that is applied; all else does
			t.Fatalf("ok %t for a message of type %q", ok, msg[0])
		}
		total := 0
		for _, row := range [][]change.Datum{ev.Old, ev.New} {
			for _, datum := range row {
				total += len(datum.Bytes)
			}
		}
		if total+len(ev.Content)+len(ev.Prefix) > len(msg) {
			t.Fatalf("values of %d bytes from a message of %d", total, len(msg))
		}
		if rowKind := ev.Kind == change.Insert || ev.Kind == change.Update; rowKind && len(ev.New) != len(ev.Relation.Columns) {
			t.Fatal("a row without its columns")
		}
	})
}
