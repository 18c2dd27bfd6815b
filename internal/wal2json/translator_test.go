package wal2json_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/pgoutput"
	"timeferry/internal/wal2json"
)

// tables is a catalogue in memory; after is what it says when it is asked anew.
type tables struct {
	now, after map[string]wal2json.Table
	fresh      int
}

func (c *tables) Table(schema, name string, fresh bool) (wal2json.Table, bool, error) {
	if fresh {
		c.fresh++
		if c.after != nil {
			c.now = c.after
		}
	}
	t, ok := c.now[schema+"."+name]
	return t, ok, nil
}

var (
	id    = wal2json.Column{Name: "id", TypeOID: 23, Modifier: -1, Key: true, NotNull: true}
	body  = wal2json.Column{Name: "body", TypeOID: 25, Modifier: -1, Toastable: true}
	plain = wal2json.Table{OID: 7, Schema: "public", Name: "plain", Identity: 'd', Generated: []string{"twice"},
		Columns: []wal2json.Column{id, body, {Name: "bin", TypeOID: 17, Modifier: -1, Toastable: true}, {Name: "exact", TypeOID: 1700, Modifier: 655366, NotNull: true, Toastable: true}, {Name: "ok", TypeOID: 16, Modifier: -1}}}
	whole = wal2json.Table{OID: 8, Schema: "public", Name: "whole", Identity: 'f', Columns: []wal2json.Column{{Name: "a", TypeOID: 23, Modifier: -1}, body}}
	log   = wal2json.Table{OID: 9, Schema: "public", Name: "log", Identity: 'n', InsertOnly: true, Columns: []wal2json.Column{body}}
	leaf  = wal2json.Table{OID: 10, Schema: "public", Name: "root", Identity: 'd', Leaf: true, Columns: []wal2json.Column{id, body}}
)

func catalogue() *tables {
	return &tables{now: map[string]wal2json.Table{"public.plain": plain, "public.whole": whole, "public.log": log, "public.leaf": leaf}}
}

const (
	begin  = `{"action":"B","xid":728,"timestamp":"2026-11-29 08:33:27.356+00","origin":0,"lsn":"0/193D540","nextlsn":"0/193D570"}`
	commit = `{"action":"C","xid":728,"timestamp":"2026-11-29 08:33:27.356+00","origin":0,"lsn":"0/193D540","nextlsn":"0/193D570"}`
	row    = `{"name":"id","typeoid":23,"value":1},{"name":"twice","typeoid":23,"value":2},{"name":"body","typeoid":25,"value":"a\"\\\u0001\n\u00fc\ud83d\ude00"},` +
		`{"name":"bin","typeoid":17,"value":"00ff"},{"name":"exact","typeoid":1700,"value":1.50},{"name":"ok","typeoid":16,"value":true}`
)

func change1(action, table, columns, identity string) string {
	s := fmt.Sprintf(`{"action":%q,"xid":728,"lsn":"0/193D368","schema":"public","table":%q`, action, table)
	if columns != "" {
		s += `,"columns":[` + columns + `]`
	}
	if identity != "" {
		s += `,"identity":[` + identity + `]`
	}
	return s + "}"
}

// translate gives the objects to one translator, and decodes what comes out.
func translate(t *testing.T, c wal2json.Catalog, skip bool, objects ...string) ([]string, error) {
	t.Helper()
	tr, d := wal2json.NewTranslator(c), pgoutput.NewDecoder()
	var got []string
	for _, o := range objects {
		err := tr.Translate(0x193D6D8, []byte(o), skip, func(msg []byte) error {
			ev, ok, err := d.Decode(msg)
			require.NoError(t, err)
			if ok {
				got = append(got, describe(ev))
			}
			return nil
		})
		if err != nil {
			return got, err
		}
	}
	return got, nil
}

func describe(ev change.Event) string {
	values := func(row []change.Datum) string {
		var out []string
		for _, d := range row {
			if d.State == change.Text {
				out = append(out, fmt.Sprintf("%q", d.Bytes))
			} else {
				out = append(out, string(d.State))
			}
		}
		return strings.Join(out, " ")
	}
	switch ev.Kind {
	case change.Begin:
		return fmt.Sprintf("begin %d %s %s", ev.XID, ev.FinalLSN, ev.CommitTime.Format("15:04:05.000000"))
	case change.Commit:
		return fmt.Sprintf("commit %s %s", ev.FinalLSN, ev.EndLSN)
	case change.Schema:
		return fmt.Sprintf("relation %s %c %v", ev.Relation.Name, ev.Relation.Identity, ev.Relation.Columns)
	case change.Truncate:
		return fmt.Sprintf("truncate %d", len(ev.Truncated))
	case change.Message:
		return fmt.Sprintf("message %s=%s %s %t", ev.Prefix, ev.Content, ev.MessageLSN, ev.Transactional)
	}
	return fmt.Sprintf("%c %s [%s] key=%t [%s]", ev.Kind, ev.Relation.Name, values(ev.Old), ev.OldIsKey, values(ev.New))
}

const plainText = `relation plain d [{id 23 -1 true} {body 25 -1 false} {bin 17 -1 false} {exact 1700 655366 false} {ok 16 -1 false}]`

func TestTranslate(t *testing.T) {
	key := `{"name":"id","typeoid":23,"value":1}`
	cases := []struct {
		name    string
		objects []string
		want    []string
	}{
		{"transaction", []string{begin, commit}, []string{"begin 728 0/193D540 08:33:27.356000", "commit 0/193D540 0/193D570"}},
		{"insert, described once", []string{change1("I", "plain", row, ""), change1("I", "plain", row, "")},
			[]string{plainText, `I plain [] key=false ["1" "a\"\\\x01\nü😀" "\\x00ff" "1.50" "t"]`, `I plain [] key=false ["1" "a\"\\\x01\nü😀" "\\x00ff" "1.50" "t"]`}},
		{"update with untouched columns", []string{change1("U", "plain", `{"name":"id","typeoid":23,"value":1},{"name":"ok","typeoid":16,"value":null}`, key)},
			[]string{plainText, `U plain [] key=false ["1" u u u n]`}},
		{"update of the key", []string{change1("U", "plain", `{"name":"id","typeoid":23,"value":2},{"name":"ok","typeoid":16,"value":false}`, key)},
			[]string{plainText, `U plain ["1" n n n n] key=true ["2" u u u "f"]`}},
		{"delete", []string{change1("D", "plain", "", key)}, []string{plainText, `D plain ["1" n n n n] key=true []`}},
		{"full", []string{change1("D", "whole", "", `{"name":"a","typeoid":23,"value":null},{"name":"body","typeoid":25,"value":""}`)},
			[]string{`relation whole f [{a 23 -1 true} {body 25 -1 true}]`, `D whole [n ""] key=false []`}},
		{"inserts only", []string{change1("D", "log", "", `{"name":"body","typeoid":25,"value":"x"}`), change1("I", "log", `{"name":"body","typeoid":25,"value":"x"}`, "")},
			[]string{`relation log n [{body 25 -1 false}]`, `I log [] key=false ["x"]`}},
		{"a partition under its root, in another order", []string{change1("I", "leaf", `{"name":"body","typeoid":25,"value":"x"},{"name":"id","typeoid":23,"value":3}`, ""), change1("T", "leaf", "", "")},
			[]string{`relation root d [{id 23 -1 true} {body 25 -1 false}]`, `I root [] key=false ["3" "x"]`}},
		{"truncates are gathered", []string{change1("T", "plain", "", ""), change1("T", "whole", "", ""), change1("T", "elsewhere", "", ""), commit},
			[]string{plainText, `relation whole f [{a 23 -1 true} {body 25 -1 true}]`, "truncate 2", "commit 0/0 0/0"}},
		{"messages", []string{`{"action":"M","xid":null,"lsn":"0/193F750","transactional":false,"prefix":"timeferry","content":"loose"}`}, []string{"message timeferry=loose 0/193D6D8 false"}},
		{"out of scope", []string{change1("I", "elsewhere", key, "")}, nil},
		{"what later versions may add", []string{`{"action":"I","new":[{"a":[1,{"b":null}]}],"schema":"public","table":"log","columns":[{"name":"body","typeoid":25,"value":"x","more":{"c":true}}]}`},
			[]string{`relation log n [{body 25 -1 false}]`, `I log [] key=false ["x"]`}},
		{"quoted numbers", []string{change1("I", "whole", `{"name":"a","typeoid":23,"value":"5"},{"name":"body","typeoid":25,"value":"x"}`, "")},
			[]string{`relation whole f [{a 23 -1 true} {body 25 -1 true}]`, `I whole [] key=false ["5" "x"]`}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := translate(t, catalogue(), false, c.objects...)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

// What is passed over is neither looked at nor described, so that it is described where it comes first.
func TestSkip(t *testing.T) {
	got, err := translate(t, catalogue(), true, begin, change1("I", "plain", row, ""), change1("T", "plain", "", ""), commit)
	require.NoError(t, err)
	require.Equal(t, []string{"begin 728 0/193D540 08:33:27.356000", "commit 0/193D540 0/193D570"}, got)
}

func TestAlteredTable(t *testing.T) {
	c := catalogue()
	wider := plain
	wider.Columns = append(append([]wal2json.Column{}, plain.Columns...), wal2json.Column{Name: "later", TypeOID: 23, Modifier: -1})
	c.after = map[string]wal2json.Table{"public.plain": wider}
	got, err := translate(t, c, false, change1("I", "plain", row, ""), change1("I", "plain", row+`,{"name":"later","typeoid":23,"value":9}`, ""), change1("I", "plain", row, ""))
	require.NoError(t, err)
	require.Equal(t, 2, c.fresh)
	require.Contains(t, got[2], "{later 23 -1 false}")
	require.Contains(t, got[3], `"9"]`)
	require.Equal(t, plainText, got[4], "described again without the column that it did not have yet")
	require.Len(t, got, 6)
}

func TestErrors(t *testing.T) {
	cases := []struct {
		name, object string
		class        fault.Class
	}{
		{"empty", "", fault.Integrity},
		{"no object", "[]", fault.Integrity},
		{"unknown action", `{"action":"X"}`, fault.Integrity},
		{"cut", begin[:40], fault.Integrity},
		{"more than one", begin + begin, fault.Integrity},
		{"no position", `{"action":"B","xid":1,"timestamp":"2026-11-29 08:33:27+00"}`, fault.Integrity},
		{"no clock", `{"action":"B","xid":1,"timestamp":"yesterday","lsn":"0/1","nextlsn":"0/2"}`, fault.Integrity},
		{"a column without its value", change1("I", "log", `{"name":"body","typeoid":25}`, ""), fault.Integrity},
		{"a value of no kind", change1("I", "log", `{"name":"body","typeoid":25,"value":[1]}`, ""), fault.Integrity},
		{"a word", change1("I", "log", `{"name":"body","typeoid":25,"value":maybe}`, ""), fault.Integrity},
		{"half a surrogate", change1("I", "log", `{"name":"body","typeoid":25,"value":"\ud83d"}`, ""), fault.Integrity},
		{"a number that is none", change1("I", "plain", strings.Replace(row, "1.50", "null", 1), ""), fault.Operator},
		{"a delete without its key", change1("D", "plain", "", `{"name":"body","typeoid":25,"value":"x"}`), fault.Operator},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := translate(t, catalogue(), false, c.object)
			require.Error(t, err)
			require.Equal(t, c.class, fault.Classify(err), "%v", err)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

// Leaves go under one OID. What one of them is described as is void once another is described otherwise, and a column that is dropped by
// now is not one that a later change leaves alone.
func TestLeavesOfAnAlteredTable(t *testing.T) {
	c := catalogue()
	c.now["public.second"] = leaf
	const key, old, now = `{"name":"id","typeoid":23,"value":1}`, `{"name":"id","typeoid":23,"value":1},{"name":"gone","typeoid":23,"value":0},{"name":"body","typeoid":25,"value":"a"}`,
		`{"name":"id","typeoid":23,"value":1},{"name":"body","typeoid":25,"value":"b"}`
	got, err := translate(t, c, false, change1("U", "leaf", old, key), change1("I", "second", now, ""), change1("U", "leaf", now, key), change1("U", "second", now, key))
	require.NoError(t, err)
	require.Len(t, got, 6, "two descriptions, four changes: %q", got)
	require.Contains(t, got[0], "gone")
	require.NotContains(t, got[2], "gone", "described again")
	for _, update := range got[4:] {
		require.Contains(t, update, `"1" "b"]`)
	}
}
