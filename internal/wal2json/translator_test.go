package wal2json_test

import (
	"fmt"
	"slices"
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
	asked      []string // names of types
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

// numerics are the modifiers of the types that the server knows by name, besides those of columns.
var numerics = map[string]int32{"numeric(10,3)": 10<<16 | 3 + 4, "numeric(12,4)": 12<<16 | 4 + 4}

func (c *tables) Modifier(typeName string) (oid uint32, modifier int32, err error) {
	c.asked = append(c.asked, typeName)
	if m, ok := numerics[typeName]; ok {
		return 1700, m, nil
	}
	return 0, 0, nil
}

var (
	id    = wal2json.Column{Name: "id", TypeOID: 23, Modifier: -1, Key: true, NotNull: true}
	body  = wal2json.Column{Name: "body", TypeOID: 25, Modifier: -1, Toastable: true}
	plain = wal2json.Table{OID: 7, Schema: "public", Name: "plain", Identity: 'd', Generated: []string{"twice"},
		Columns: []wal2json.Column{id, body, {Name: "bin", TypeOID: 17, Modifier: -1, Toastable: true}, {Name: "exact", TypeOID: 1700, Modifier: 655366, Type: "numeric(10,2)", NotNull: true, Toastable: true}, {Name: "ok", TypeOID: 16, Modifier: -1}}}
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
	row    = `{"name":"id","type":"integer","typeoid":23,"value":1},{"name":"twice","type":"integer","typeoid":23,"value":2},{"name":"body","type":"text","typeoid":25,"value":"a\"\\\u0001\n\u00fc\ud83d\ude00"},` +
		`{"name":"bin","type":"bytea","typeoid":17,"value":"00ff"},{"name":"exact","type":"numeric(10,2)","typeoid":1700,"value":1.50},{"name":"ok","type":"boolean","typeoid":16,"value":true}`
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
	key := `{"name":"id","type":"integer","typeoid":23,"value":1}`
	cases := []struct {
		name    string
		objects []string
		want    []string
	}{
		{"transaction", []string{begin, commit}, []string{"begin 728 0/193D540 08:33:27.356000", "commit 0/193D540 0/193D570"}},
		{"insert, described once", []string{change1("I", "plain", row, ""), change1("I", "plain", row, "")},
			[]string{plainText, `I plain [] key=false ["1" "a\"\\\x01\nü😀" "\\x00ff" "1.50" "t"]`, `I plain [] key=false ["1" "a\"\\\x01\nü😀" "\\x00ff" "1.50" "t"]`}},
		{"update with untouched columns", []string{change1("U", "plain", `{"name":"id","type":"integer","typeoid":23,"value":1},{"name":"ok","type":"boolean","typeoid":16,"value":null}`, key)},
			[]string{plainText, `U plain [] key=false ["1" u u u n]`}},
		{"update of the key", []string{change1("U", "plain", `{"name":"id","type":"integer","typeoid":23,"value":2},{"name":"ok","type":"boolean","typeoid":16,"value":false}`, key)},
			[]string{plainText, `U plain ["1" n n n n] key=true ["2" u u u "f"]`}},
		{"delete", []string{change1("D", "plain", "", key)}, []string{plainText, `D plain ["1" n n n n] key=true []`}},
		{"full", []string{change1("D", "whole", "", `{"name":"a","type":"integer","typeoid":23,"value":null},{"name":"body","type":"text","typeoid":25,"value":""}`)},
			[]string{`relation whole f [{a 23 -1 true} {body 25 -1 true}]`, `D whole [n ""] key=false []`}},
		{"inserts only", []string{change1("D", "log", "", `{"name":"body","type":"text","typeoid":25,"value":"x"}`), change1("I", "log", `{"name":"body","type":"text","typeoid":25,"value":"x"}`, "")},
			[]string{`relation log n [{body 25 -1 false}]`, `I log [] key=false ["x"]`}},
		{"a partition under its root, in another order", []string{change1("I", "leaf", `{"name":"body","type":"text","typeoid":25,"value":"x"},{"name":"id","type":"integer","typeoid":23,"value":3}`, ""), change1("T", "leaf", "", "")},
			[]string{`relation root d [{id 23 -1 true} {body 25 -1 false}]`, `I root [] key=false ["3" "x"]`}},
		{"truncates are gathered", []string{change1("T", "plain", "", ""), change1("T", "whole", "", ""), change1("T", "elsewhere", "", ""), commit},
			[]string{plainText, `relation whole f [{a 23 -1 true} {body 25 -1 true}]`, "truncate 2", "commit 0/0 0/0"}},
		{"messages", []string{`{"action":"M","xid":null,"lsn":"0/193F750","transactional":false,"prefix":"timeferry","content":"loose"}`}, []string{"message timeferry=loose 0/193D6D8 false"}},
		{"out of scope", []string{change1("I", "elsewhere", key, "")}, nil},
		{"what later versions may add", []string{`{"action":"I","new":[{"a":[1,{"b":null}]}],"schema":"public","table":"log","columns":[{"name":"body","type":"text","typeoid":25,"value":"x","more":{"c":true}}]}`},
			[]string{`relation log n [{body 25 -1 false}]`, `I log [] key=false ["x"]`}},
		{"quoted numbers", []string{change1("I", "whole", `{"name":"a","type":"integer","typeoid":23,"value":"5"},{"name":"body","type":"text","typeoid":25,"value":"x"}`, "")},
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
	got, err := translate(t, c, false, change1("I", "plain", row, ""), change1("I", "plain", row+`,{"name":"later","type":"integer","typeoid":23,"value":9}`, ""), change1("I", "plain", row, ""))
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
		{"a column without its value", change1("I", "log", `{"name":"body","type":"text","typeoid":25}`, ""), fault.Integrity},
		{"a column without its type", change1("I", "log", `{"name":"body","typeoid":25,"value":"x"}`, ""), fault.Integrity},
		{"a type without its number", change1("I", "log", `{"name":"body","type":"text","value":"x"}`, ""), fault.Integrity},
		{"a modifier that nobody knows", change1("I", "plain", strings.Replace(row, "(10,2)", "(9,9)", 1), ""), fault.Operator},
		{"a value of no kind", change1("I", "log", `{"name":"body","type":"text","typeoid":25,"value":[1]}`, ""), fault.Integrity},
		{"a word", change1("I", "log", `{"name":"body","type":"text","typeoid":25,"value":maybe}`, ""), fault.Integrity},
		{"half a surrogate", change1("I", "log", `{"name":"body","type":"text","typeoid":25,"value":"\ud83d"}`, ""), fault.Integrity},
		{"a number that is none", change1("I", "plain", strings.Replace(row, "1.50", "null", 1), ""), fault.Operator},
		{"a delete without its key", change1("D", "plain", "", `{"name":"body","type":"text","typeoid":25,"value":"x"}`), fault.Operator},
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
	const key, old, now = `{"name":"id","type":"integer","typeoid":23,"value":1}`, `{"name":"id","type":"integer","typeoid":23,"value":1},{"name":"gone","type":"integer","typeoid":23,"value":0},{"name":"body","type":"text","typeoid":25,"value":"a"}`,
		`{"name":"id","type":"integer","typeoid":23,"value":1},{"name":"body","type":"text","typeoid":25,"value":"b"}`
	got, err := translate(t, c, false, change1("U", "leaf", old, key), change1("I", "second", now, ""), change1("U", "leaf", now, key), change1("U", "second", now, key))
	require.NoError(t, err)
	require.Len(t, got, 6, "two descriptions, four changes: %q", got)
	require.Contains(t, got[0], "gone")
	require.NotContains(t, got[2], "gone", "described again")
	for _, update := range got[4:] {
		require.Contains(t, update, `"1" "b"]`)
	}
}

// withExact is plain as it is when its column exact has another modifier.
func withExact(name string) wal2json.Table {
	t := plain
	t.Columns = slices.Clone(plain.Columns)
	t.Columns[3].Type, t.Columns[3].Modifier = name, numerics[name]
	return t
}

// Each form of a type is described before its first row, be the catalogue there or ahead. What says nothing of the column changes nothing.
func TestAlteredModifiers(t *testing.T) {
	insert := func(name string) string {
		return change1("I", "plain", strings.Replace(row, "numeric(10,2)", name, 1), "")
	}
	key := `{"name":"id","type":"integer","typeoid":23,"value":1}`
	remove, touch := change1("D", "plain", "", key), change1("U", "plain", key+`,{"name":"ok","type":"boolean","typeoid":16,"value":null}`, key)
	c := catalogue()
	c.after = map[string]wal2json.Table{"public.plain": withExact("numeric(12,4)")}
	got, err := translate(t, c, false, insert("numeric(10,2)"), remove, insert("numeric(10,3)"), remove, touch, insert("numeric(10,3)"), insert("numeric(12,4)"), touch, remove, insert("numeric"), insert("numeric(12,4)"))
	require.NoError(t, err)
	var forms []string
	for _, g := range got {
		if _, columns, ok := strings.Cut(g, "{exact 1700 "); ok {
			m, _, _ := strings.Cut(columns, " ")
			forms = append(forms, m)
		} else {
			forms = append(forms, g[:1])
		}
	}
	require.Equal(t, []string{"655366", "I", "D", "655367", "I", "D", "U", "I", "786440", "I", "U", "D", "-1", "I", "786440", "I"}, forms)
	require.Equal(t, []string{"numeric(10,3)"}, c.asked)
	require.Equal(t, 2, c.fresh)
}

// A partition that was seen before an alteration does not bring the old form back by a change that shows no modifier, nor its root by a TRUNCATE.
func TestAlteredModifiersOfLeaves(t *testing.T) {
	c := catalogue()
	old, now := leaf, withExact("numeric(10,3)")
	old.Columns, now.OID, now.Name, now.Leaf = plain.Columns, leaf.OID, leaf.Name, true
	root, altered := old, now
	root.Leaf, altered.Leaf = false, false
	c.now = map[string]wal2json.Table{"public.leaf": old, "public.second": old, "public.root": root}
	c.after = map[string]wal2json.Table{"public.leaf": now, "public.second": now, "public.root": altered}
	key := `{"name":"id","type":"integer","typeoid":23,"value":1}`
	got, err := translate(t, c, false, change1("I", "leaf", row, ""), change1("I", "second", strings.Replace(row, "(10,2)", "(10,3)", 1), ""), change1("D", "leaf", "", key), change1("T", "root", "", ""), commit,
		change1("D", "second", "", key))
	require.NoError(t, err)
	require.Len(t, got, 8)
	require.Contains(t, got[0], "{exact 1700 655366")
	require.Contains(t, got[2], "{exact 1700 655367")
	require.Equal(t, []string{"truncate 1", "commit 0/0 0/0"}, got[5:7])
}

// Names of types as version 2.5 writes them, be they JSON or not. Those of types that take no modifier are not looked at.
func TestTypeNames(t *testing.T) {
	for token, name := range map[string]string{
		`"numeric(10,2)[]"`: "numeric(10,2)[]", `"timestamp(3) without time zone"`: "timestamp(3) without time zone", `"\"Q S\".\"b\\s\"(3)[]"`: `"Q S"."b\s"(3)[]`,
		`"Q S"."T""q(,"(3)`: `"Q S"."T""q(,"(3)`, `"public.\"Odd, \\name\"(3)"`: `public."Odd, \name"(3)`, `"Q S".",""typeoid"":"(1)`: `"Q S".",""typeoid"":"(1)`, `"char"`: `"char"`,
	} {
		for _, known := range []string{name, ""} {
			c := catalogue()
			c.now = map[string]wal2json.Table{"public.log": {OID: 9, Schema: "public", Name: "log", Identity: 'n', Columns: []wal2json.Column{{Name: "body", TypeOID: 70000, Modifier: 3, Type: known}}}}
			got, err := translate(t, c, false, change1("I", "log", `{"name":"body","type":`+token+`,"typeoid":70000,"value":"x"}`, ""))
			require.NoError(t, err, token)
			require.Equal(t, []string{`relation log n [{body 70000 3 false}]`, `I log [] key=false ["x"]`}, got)
			require.Zero(t, c.fresh, token)
		}
	}
}

// Where the catalogue does not have the type any more, only a name with a modifier in it is asked about.
func TestForgottenTypes(t *testing.T) {
	for token, asks := range map[string]string{`"public.mood"`: "", `"public.\"Mood (3)\"[]"`: "", `"Q S"."T(3)"`: "", `"public.geometry(Point,4326)"`: "public.geometry(Point,4326)", `"Q S"."T"(3)`: `"Q S"."T"(3)`} {
		c := catalogue()
		_, err := translate(t, c, false, change1("I", "log", `{"name":"body","type":"text","typeoid":25,"value":"x"},{"name":"gone","type":`+token+`,"typeoid":70000,"value":"x"}`, ""))
		require.Equal(t, asks == "", err == nil, "%s: %v", token, err)
		require.Equal(t, asks, strings.Join(c.asked, " "))
	}
}
