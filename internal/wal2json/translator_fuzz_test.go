package wal2json_test

import (
	"testing"

	"timeferry/internal/fault"
	"timeferry/internal/pgoutput"
	"timeferry/internal/wal2json"
)

// FuzzTranslate: no object makes the translator panic, give a message that does not decode, or give an error without a class.
func FuzzTranslate(f *testing.F) {
	key := `{"name":"id","type":"integer","typeoid":23,"value":1}`
	for _, seed := range []string{begin, commit, change1("I", "plain", row, ""), change1("U", "plain", row, key), change1("U", "whole", key, key), change1("D", "plain", "", key),
		change1("T", "plain", "", ""), change1("I", "leaf", row, ""), `{"action":"M","transactional":true,"prefix":"a","content":"b\u00e9"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		tr, d := wal2json.NewTranslator(catalogue()), pgoutput.NewDecoder()
		for _, o := range [][]byte{[]byte(begin), object, []byte(commit)} {
			err := tr.Translate(1, o, false, func(msg []byte) error {
				_, _, err := d.Decode(msg)
				if err != nil {
					t.Fatalf("%q does not decode: %v", msg, err)
				}
				return nil
			})
			if class := fault.Classify(err); err != nil && class != fault.Integrity && class != fault.Operator {
				t.Fatalf("error %v of class %s", err, class)
			}
		}
	})
}
