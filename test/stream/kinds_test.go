package stream

import (
	"fmt"
	"strings"
)

// kind is a type with values that are hard for somebody, in their text form.
type kind struct {
	name, sql string
	values    []string
}

// kinds are the types of a stock server and of the common extensions, alone and inside of arrays, domains, composites and ranges.
var kinds = []kind{
	{"bool", "boolean", []string{"t", "f"}},
	{"bytechar", `"char"`, []string{"a", "", `\377`}},
	{"fixed", "char(5)", []string{"", "a", "ab  ", "äöüß€"}},
	{"limited", "varchar(20)", []string{"", " x ", "null", `\N`, "a\tb\nc\\.", "🚢"}},
	{"words", "text", []string{"", "it's", `back\slash`, `\.`, "tab\there", "new\nline", "\r\n", `{},"()`, "\u00a0\u2028", "NULL"}},
	{"name", "name", []string{"", "pg_class", "a b"}},
	{"bytes", "bytea", []string{"", `\x00ff5c`, `\xdeadbeef27`}},
	{"small", "int2", []string{"0", "-32768", "32767"}},
	{"integer", "int4", []string{"0", "-2147483648", "2147483647"}},
	{"big", "int8", []string{"0", "-9223372036854775808", "9223372036854775807"}},
	{"real", "float4", []string{"0", "-0", "1e-45", "3.4028235e38", "NaN", "Infinity", "-Infinity", "0.1"}},
	{"double", "float8", []string{"0", "-0", "5e-324", "1.7976931348623157e308", "NaN", "Infinity", "-Infinity", "0.30000000000000004"}},
	{"numeric", "numeric", []string{"0", "0.00", "NaN", "1e-100", "123456789012345678901234567890.123456789", "-1.10", "1e300", "Infinity", "-Infinity"}},
	{"scaled", "numeric(10,2)", []string{"0.00", "-99999999.99", "12345.67", "NaN"}},
	{"money", "money", []string{"0", "-92233720368547758.08", "1.10"}},
	{"day", "date", []string{"4713-01-01 BC", "5874897-12-31", "infinity", "-infinity", "0001-12-31 BC", "2024-02-29"}},
	{"hour", "time", []string{"00:00", "24:00:00", "23:59:59.999999"}},
	{"hourtz", "timetz", []string{"00:00+15:59", "24:00:00-15:59", "12:34:56.789+05:45"}},
	{"moment", "timestamp", []string{"4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999", "infinity", "-infinity", "2000-01-01"}},
	{"momenttz", "timestamptz", []string{"4713-01-02 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00", "infinity", "-infinity", "2024-03-31 02:30:00+02", "0044-03-15 12:00:00+00 BC"}},
	{"span", "interval", []string{"0", "-178000000 years", "1 mon -1 day 00:00:00.000001", "-1 year 2 mons", "23:59:60"}},
	{"uuid", "uuid", []string{"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}},
	{"json", "json", []string{"null", `{"a":  1.0, "a": 2}`, `[1, "\u00e4", {}]`}},
	{"jsonb", "jsonb", []string{"null", `{"b": 1.00, "a": [null, "\n"]}`, "1e400"}},
	{"path", "jsonpath", []string{"$.a[*] ? (@ > 1)"}},
	{"xml", "xml", []string{`<a b="c">&amp;</a>`, "text <b/> only", ""}},
	{"bits", "bit(5)", []string{"00000", "10101"}},
	{"varbits", "varbit", []string{"", "1", "0101010101010"}},
	{"inet", "inet", []string{"10.0.0.1/8", "::1", "2001:db8::/32"}},
	{"cidr", "cidr", []string{"10.0.0.0/8", "::/0"}},
	{"mac", "macaddr", []string{"08:00:2b:01:02:03"}},
	{"mac8", "macaddr8", []string{"08:00:2b:01:02:03:04:05"}},
	{"point", "point", []string{"(0,-0)", "(NaN,Infinity)", "(0.1,1e-300)"}},
	{"line", "line", []string{"{1,-1,0}"}},
	{"lseg", "lseg", []string{"[(0,0),(1,1)]"}},
	{"box", "box", []string{"(1,1),(0,0)"}},
	{"geopath", "path", []string{"((0,0),(1,1))", "[(0,0),(1,1),(2,0)]"}},
	{"polygon", "polygon", []string{"((0,0),(1,1),(2,0))"}},
	{"circle", "circle", []string{"<(0,0),1.5>"}},
	{"vector", "tsvector", []string{"", "'a':1A,2B 'it''s'"}},
	{"query", "tsquery", []string{"", "'a' & !'b' <2> 'c':*"}},
	{"position", "pg_lsn", []string{"0/0", "FFFFFFFF/FFFFFFFF"}},
	{"snapshot", "pg_snapshot", []string{"10:20:10,14,15"}},
	{"oldsnapshot", "txid_snapshot", []string{"10:20:10,14,15"}},
	{"oid", "oid", []string{"0", "4294967295"}},
	{"xid", "xid", []string{"3", "4294967295"}},
	{"xid8", "xid8", []string{"18446744073709551615"}},
	{"cid", "cid", []string{"7"}},
	{"tid", "tid", []string{"(4294967295,65535)"}},
	{"regtype", "regtype", []string{"integer", `"char"`, "0"}},
	{"int2vector", "int2vector", []string{"", "1 -2 3"}},
	{"oidvector", "oidvector", []string{"1 4294967295"}},
	{"ints", "int4range", []string{"empty", "(,)", "[1,5)"}},
	{"bigs", "int8range", []string{"empty", "[-9223372036854775808,9223372036854775807)"}},
	{"nums", "numrange", []string{"(1.10,2.200]", "[NaN,NaN]"}},
	{"moments", "tsrange", []string{"[-infinity,infinity]", "[2020-01-01 BC,2020-01-01)"}},
	{"momentstz", "tstzrange", []string{"[2024-03-31 02:30:00+02,)"}},
	{"days", "daterange", []string{"[2024-01-01,infinity]", "empty"}},
	{"many", "int4multirange", []string{"{}", "{[1,3),[5,8)}"}},
	{"manytz", "tstzmultirange", []string{"{[2024-01-01 00:00+00,2024-02-01 00:00+00),[2025-01-01 00:00+00,)}"}},
	{"mood", "mood", []string{"sad", "ok", `it's "fine"`}},
	{"positive", "positive", []string{"1", "2147483647"}},
	{"email", "email", []string{"", "A@b"}},
	{"pair", "pair", []string{"(1,)", `(,"a ""b"", (c)")`, "(,)"}},
	{"pairdomain", "checked_pair", []string{"(1,x)"}},
	{"floats", "floatrange", []string{"[-0,1.5)", "[NaN,NaN]", "empty"}},
	{"intarray", "int4[]", []string{"{}", "{1,NULL,-3}", "[-1:1]={1,2,3}", "{{1,2},{3,4}}"}},
	{"textarray", "text[]", []string{"{}", `{"",NULL,"NULL","a,\"b}\\"}`, "{it's}"}},
	{"moodarray", "mood[]", []string{"{sad,NULL}", `{"it's \"fine\""}`}},
	{"pairarray", "pair[]", []string{`{"(1,x)",NULL}`, `{"(,\"a, b\")"}`}},
	{"positives", "positive[]", []string{"{1,2}", "{}"}},
	{"numerics", "numeric[]", []string{"{1.10,NaN,0.00}"}},
	{"jsonbs", "jsonb[]", []string{`{"{\"a\": 1}",NULL}`}},
	{"ranges", "tstzrange[]", []string{`{empty,"[2024-01-01 00:00+00,)"}`}},
	{"bytearray", "bytea[]", []string{`{"\\x00ff",NULL}`}},
	{"nested", "nested", []string{`("(1,x)","{sad}",1.10)`, "(,,)"}},
	{"hstore", "hstore", []string{"", `"a"=>NULL, "b c"=>"\\\""`}},
	{"citext", "citext", []string{"", "Ab", "aB"}},
	{"ltree", "ltree", []string{"", "a.b_1.c"}},
	{"cube", "cube", []string{"(1.5)", "(0, 0),(1, 1)"}},
}

// kindTypes are the types that kinds uses and a stock server does not have.
const kindTypes = `
CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE EXTENSION cube;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s "fine"');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN email AS varchar(30) DEFAULT 'none';
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN checked_pair AS pair CHECK ((value).a > 0);
CREATE TYPE nested AS (p pair, m mood[], n numeric);
CREATE TYPE floatrange AS RANGE (subtype = float8);
`

// kindsTable makes the table of all types, with its columns in the given order or the other way round.
func kindsTable(backwards bool) string {
	columns := []string{"id int PRIMARY KEY"}
	for i := range kinds {
		k := kinds[i]
		if backwards {
			k = kinds[len(kinds)-1-i]
		}
		columns = append(columns, k.column()+" "+k.sql)
	}
	return "CREATE TABLE kinds (" + strings.Join(columns, ", ") + ");"
}

func (k kind) column() string { return "c_" + k.name }

// literal is the SQL of one of a kind's values, or NULL.
func (k kind) literal(n int) string {
	if n == 0 {
		return "NULL"
	}
	return fmt.Sprintf("$v$%s$v$::%s", k.values[(n-1)%len(k.values)], k.sql)
}
