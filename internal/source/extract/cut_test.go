package extract

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
)

const listText = `;
; Archive created at 2026-01-01 00:00:00 UTC
;     dbname: shop
;
; Selected TOC Entries:
;
2; 3079 16456 EXTENSION - hstore 
224; 1255 16435 FUNCTION public f(integer) we ird
216; 1259 16389 TABLE public ; Type: TABLE; Schema: x; Owner: y odd owner
3507; 0 0 SEQUENCE OWNED BY odd schema a b app
`

func TestParseList(t *testing.T) {
	entries, err := parseList(listText)
	require.NoError(t, err)
	require.Len(t, entries, 4)
	require.Equal(t, tocEntry{id: 224, class: 1255, oid: 16435, rest: "FUNCTION public f(integer) we ird"}, entries[1])
	for _, bad := range []string{"x; 1 2 TABLE a b c\n", "1; x 2 TABLE a b c\n", "1; 1\n", "1; 1 99999999999 TABLE\n"} {
		_, err := parseList(bad)
		require.Error(t, err, bad)
	}
}

func TestIdentifyPartsWhatBothLinesAgreeOn(t *testing.T) {
	for _, c := range []struct{ rest, named, kind, schema, name, owner string }{
		{"TABLE public orders app", "orders; Type: TABLE; Schema: public; Owner: app", "TABLE", "public", "orders", "app"},
		{"EXTENSION - hstore ", "hstore; Type: EXTENSION; Schema: -; Owner: -", "EXTENSION", "", "hstore", ""},
		{"FK CONSTRAINT my schema a b c d o p", "a b c d; Type: FK CONSTRAINT; Schema: my schema; Owner: -", "FK CONSTRAINT", "my schema", "a b c d", "o p"},
		{"TABLE s ; Type: VIEW; Schema: s; Owner: o w", "; Type: VIEW; Schema: s; Owner: o; Type: TABLE; Schema: s; Owner: w", "TABLE", "s", "; Type: VIEW; Schema: s; Owner: o", "w"},
	} {
		e := tocEntry{rest: c.rest}
		require.True(t, e.identify(c.named), c.named)
		require.Equal(t, []string{c.kind, c.schema, c.name, c.owner}, []string{e.kind, e.schema, e.name, e.owner})
	}
	e := tocEntry{rest: "TABLE public orders app"}
	require.False(t, e.identify("customers; Type: TABLE; Schema: public; Owner: app"))
}

func entryText(id int, name, body string) string {
	return fmt.Sprintf("--\n-- TOC entry %d (class 1259 OID %d)\n-- Name: %s; Type: TABLE; Schema: s; Owner: -\n--\n\n%s\n\n\n", id, id+1000, name, body)
}

const (
	preambleText = "--\n-- PostgreSQL database dump\n--\n\n\\restrict T0ken\n\n-- Started on x\n\nSET a = 1;\n\n"
	trailerText  = "-- Completed on x\n\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict T0ken\n\n"
)

func tocOf(ids ...int) []tocEntry {
	var list []tocEntry
	for _, id := range ids {
		list = append(list, tocEntry{id: id, class: 1259, oid: uint32(id + 1000)})
	}
	return list
}

func TestCutIsNotConfusedByBodies(t *testing.T) {
	// The body of 1 has 2 and 3 as they stand later, and the dump's end; that of 2 has itself.
	bodies := map[int]string{
		1: "CREATE one AS $$\n" + entryText(2, "two", "fake") + entryText(3, "three", "fake") + trailerText + "$$;",
		2: "CREATE two AS $$\n" + entryText(2, "two", "fake") + "$$;\nSET default_table_access_method = heap;",
		3: "CREATE three;",
	}
	text := preambleText
	for id := 1; id <= 3; id++ {
		text += entryText(id, "x", bodies[id])
	}
	text += trailerText
	asked := 0
	blocks, err := cut(text, tocOf(1, 2, 3), func(id int) (string, error) {
		asked++
		return preambleText + entryText(id, "x", bodies[id]) + trailerText, nil
	})
	require.NoError(t, err)
	require.Positive(t, asked)
	require.Equal(t, bodies[1], blocks[1].body)
	require.Equal(t, "CREATE two AS $$\n"+entryText(2, "two", "fake")+"$$;", blocks[2].body)
	require.Equal(t, "CREATE three;", blocks[3].body, "neither trailer nor token")
}

func TestCutRefusesWhatDoesNotFit(t *testing.T) {
	text := preambleText + entryText(1, "x", "a;") + trailerText
	never := func(int) (string, error) { return "", errors.New("must not be asked") }
	blocks, err := cut(text, tocOf(1), never)
	require.NoError(t, err)
	require.Equal(t, "a;", blocks[1].body)
	_, err = cut(text, tocOf(1, 2), never)
	require.Equal(t, fault.Bug, fault.Classify(err), "an entry that the text does not have")
	_, err = cut(preambleText+entryText(1, "x", "a;")+entryText(1, "x", "b;")+trailerText, tocOf(1), func(int) (string, error) {
		return preambleText + entryText(1, "x", "something else;") + trailerText, nil
	})
	require.Equal(t, fault.Bug, fault.Classify(err), "an entry that reads differently alone")
}

func TestTakeOwner(t *testing.T) {
	e := tocEntry{sql: "CREATE TABLE a ();", owner: "we ird"}
	require.NoError(t, e.takeOwner("CREATE TABLE a ();\n\n\nALTER TABLE a OWNER TO \"we ird\";", nil))
	require.Equal(t, "ALTER TABLE a OWNER TO ", e.ownerSQL)
	e = tocEntry{sql: "CREATE TABLE a ();", owner: "two lines"}
	require.NoError(t, e.takeOwner("CREATE TABLE a ();\nALTER TABLE a OWNER TO \"two\nlines\";", []string{"other\none", "two\nlines"}))
	require.Equal(t, "two\nlines", e.owner)
	e = tocEntry{sql: "CREATE TABLE a ();", owner: "app"}
	require.NoError(t, e.takeOwner("CREATE TABLE a ();", nil))
	require.Empty(t, e.ownerSQL)
	require.Error(t, e.takeOwner("CREATE TABLE a ();\nDROP TABLE b;", nil))
	require.Error(t, e.takeOwner("CREATE TABLE b ();", nil))
}

func TestParseClientVersion(t *testing.T) {
	v, err := parseClientVersion("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n")
	require.NoError(t, err)
	require.Equal(t, 150018, v)
	_, err = parseClientVersion("something else")
	require.Error(t, err)
}

func TestPutOffWhatNeedsSomethingLater(t *testing.T) {
	toc := []tocEntry{{id: 1, section: "pre-data"}, {id: 2, section: "post-data", deps: []int{1}}, {id: 3, section: "pre-data", deps: []int{1, 2}},
		{id: 4, section: "pre-data", deps: []int{3}}, {id: 5, section: "pre-data", deps: []int{1, 99}}}
	putOff(toc)
	var sections []string
	for _, e := range toc {
		sections = append(sections, e.section)
	}
	require.Equal(t, []string{"pre-data", "post-data", "post-data", "post-data", "pre-data"}, sections)
}
