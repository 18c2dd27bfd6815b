package apply

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
)

// modes runs a test set-wise, and change by change.
func modes(t *testing.T, test func(t *testing.T, replica bool)) {
	for _, replica := range []bool{true, false} {
		t.Run(fmt.Sprintf("replica=%v", replica), func(t *testing.T) { test(t, replica) })
	}
}

// many repeats make(i) often enough for every set-wise path: single statements, arrays and COPY.
func many(n int, make func(i int) change.Event) []change.Event {
	events := []change.Event{}
	for i := range n {
		events = append(events, make(i))
	}
	return events
}

func sprint(i int) string { return fmt.Sprint(i) }

func TestNetChanges(t *testing.T) {
	for _, n := range []int{1, 3, 20, 400} {
		modes(t, func(t *testing.T, replica bool) {
			f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'old' FROM generate_series(10000, 19999) i`, "t")
			f.options.ReplicaRole = replica
			rel := relation("t", 'd', "id*", "v")
			each := func(make func(i int) change.Event) []change.Event { return many(n, make) }
			f.mustApply(t, transactions(1,
				each(func(i int) change.Event { return ins(rel, sprint(i), "a") }),         // inserted, updated
				each(func(i int) change.Event { return ins(rel, sprint(1000+i), "a") }),    // inserted, deleted
				each(func(i int) change.Event { return del(rel, sprint(10000+i), null) }),  // deleted, inserted again, updated
				each(func(i int) change.Event { return upd(rel, sprint(11000+i), "u1") }),  // updated twice
				each(func(i int) change.Event { return upd(rel, sprint(12000+i), "u1") }),  // updated, deleted
				each(func(i int) change.Event { return upd(rel, sprint(i), "b") }),         //
				each(func(i int) change.Event { return del(rel, sprint(1000+i), null) }),   //
				each(func(i int) change.Event { return ins(rel, sprint(10000+i), "new") }), //
				each(func(i int) change.Event { return upd(rel, sprint(11000+i), "u2") }),  //
				each(func(i int) change.Event { return del(rel, sprint(12000+i), null) }),  //
				each(func(i int) change.Event { return upd(rel, sprint(10000+i), "newer") }),
				each(func(i int) change.Event { return del(rel, sprint(13000+i), null) }), // deleted, inserted, deleted
				each(func(i int) change.Event { return ins(rel, sprint(13000+i), "x") }),
				each(func(i int) change.Event { return del(rel, sprint(13000+i), null) }),
				each(func(i int) change.Event { // the key moves away, and another row takes its place
					return updFrom(rel, row1(sprint(14000+i), null), sprint(30000+i), "moved")
				}),
				each(func(i int) change.Event { return ins(rel, sprint(14000+i), "successor") }),
				each(func(i int) change.Event { return upd(rel, sprint(30000+i), "moved twice") }),
			))
			require.Equal(t, []string{
				fmt.Sprintf("b|%d", n), fmt.Sprintf("moved twice|%d", n), fmt.Sprintf("newer|%d", n), fmt.Sprintf("old|%d", 10000-5*n),
				fmt.Sprintf("successor|%d", n), fmt.Sprintf("u2|%d", n)},
				f.db.Dump(t, "SELECT v, count(*) FROM t GROUP BY v ORDER BY v"))
			require.EqualValues(t, 17, f.last().Transactions)
			require.EqualValues(t, 17*n, f.last().Changes)
		})
	}
}

func TestUnchangedToastIsLeftAlone(t *testing.T) {
	for _, n := range []int{1, 20} {
		modes(t, func(t *testing.T, replica bool) {
			f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY, big text, small text);
				INSERT INTO t SELECT i, repeat('x', 10000) || i, 'old' FROM generate_series(0, 99) i`, "t")
			f.options.ReplicaRole = replica
			rel := relation("t", 'd', "id*", "big", "small")
			f.mustApply(t, transactions(1,
				many(n, func(i int) change.Event { return upd(rel, sprint(i), unchanged, "new") }),
				many(n, func(i int) change.Event { return upd(rel, sprint(i), "second", "new") }),
				many(n, func(i int) change.Event { return upd(rel, sprint(i), unchanged, "newest") }),
				many(n, func(i int) change.Event {
					return updFrom(rel, row1(sprint(50+i), null, null), sprint(1050+i), unchanged, "moved")
				}),
				many(n, func(i int) change.Event { return ins(rel, sprint(2000+i), "inserted", "a") }),
				many(n, func(i int) change.Event { return upd(rel, sprint(2000+i), unchanged, "b") }),
			))
			n := sprint(n)
			require.Equal(t, n, f.db.QueryValue(t, "SELECT count(*) FROM t WHERE big = 'second' AND small = 'newest'"))
			require.Equal(t, n, f.db.QueryValue(t, "SELECT count(*) FROM t WHERE id > 1000 AND small = 'moved' AND big = repeat('x', 10000) || id - 1000"))
			require.Equal(t, n, f.db.QueryValue(t, "SELECT count(*) FROM t WHERE big = 'inserted' AND small = 'b'"))
		})
	}
}

func TestStrangeText(t *testing.T) {
	strange := []string{"", `\N`, `\`, `\.`, "a\tb", "a\nb\r\nc", `"quoted" 'single'`, `{1,2}`, "NULL", "ünïcödé ☃", " leading and trailing ", `\\x41`, "a,b"}
	for _, n := range []int{1, 5, 300} {
		modes(t, func(t *testing.T, replica bool) {
			f := newFixture(t, `CREATE TABLE "Odd ""name" ("the ""Key" int PRIMARY KEY, "Va\lue" text, "select" varchar(40))`, `Odd "name`)
			f.options.ReplicaRole = replica
			rel := relation(`Odd "name`, 'd', `the "Key*`, `Va\lue`, "select")
			var events []change.Event
			for i := range n {
				for j, s := range strange {
					events = append(events, ins(rel, sprint(i*100+j), s, null))
				}
			}
			f.mustApply(t, transactions(1, events, many(n, func(i int) change.Event { return upd(rel, sprint(i*100), strange[4], strange[2]) })))
			for j, s := range strange {
				want := s + "|NULL"
				if j == 0 {
					want = strange[4] + "|" + strange[2]
				}
				got := f.db.Dump(t, fmt.Sprintf(`SELECT DISTINCT "Va\lue", "select" FROM "Odd ""name" WHERE "the ""Key" %% 100 = %d`, j))
				require.Equal(t, []string{want}, got)
			}
		})
	}
}

func TestColumnsAreMatchedByName(t *testing.T) {
	modes(t, func(t *testing.T, replica bool) {
		f := newFixture(t, `CREATE TABLE t (gone int, sum int GENERATED ALWAYS AS (a + b) STORED, b int, extra text DEFAULT 'here', a int, id int PRIMARY KEY);
			ALTER TABLE t DROP COLUMN gone`, "t")
		f.options.ReplicaRole = replica
		rel := relation("t", 'd', "id*", "a", "b")
		f.mustApply(t, transactions(1, many(300, func(i int) change.Event { return ins(rel, sprint(i), "1", "2") }),
			many(50, func(i int) change.Event { return upd(rel, sprint(i), "10", "20") })))
		require.Equal(t, []string{"3|1|2|here|250", "30|10|20|here|50"}, f.db.Dump(t, "SELECT sum, a, b, extra, count(*) FROM t GROUP BY 1, 2, 3, 4 ORDER BY 1"))
	})
}

func TestIdentityAlways(t *testing.T) {
	for _, n := range []int{2, 300} {
		modes(t, func(t *testing.T, replica bool) {
			f := newFixture(t, `CREATE TABLE k (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, extra text DEFAULT 'e');
				CREATE TABLE o (code text PRIMARY KEY, id int GENERATED ALWAYS AS IDENTITY, v text)`, "k", "o")
			f.options.ReplicaRole = replica
			k, o := relation("k", 'd', "id*", "v"), relation("o", 'd', "code*", "id", "v")
			f.mustApply(t, transactions(1,
				many(n, func(i int) change.Event { return ins(k, sprint(7000+i), "a") }),
				many(n, func(i int) change.Event { return ins(o, sprint(i), sprint(500+i), "a") })))
			f.db.Exec(t, "UPDATE k SET extra = 'kept'")
			f.mustApply(t, transactions(3,
				many(n, func(i int) change.Event { return upd(k, sprint(7000+i), "b") }),
				many(n, func(i int) change.Event { return updFrom(k, row1(sprint(7000+i), null), sprint(17000+i), "c") }),
				many(n, func(i int) change.Event { return upd(o, sprint(i), sprint(500+i), "b") }),
				many(n/2, func(i int) change.Event { return upd(o, sprint(i), sprint(9000+i), "c") })))
			require.Equal(t, []string{fmt.Sprintf("17000|%d|c|c|kept", 17000+n-1)}, f.db.Dump(t, "SELECT min(id), max(id), min(v), max(v), min(extra) FROM k"))
			require.Equal(t, []string{fmt.Sprintf("b|%d|%d", n-n/2, 500+n/2), fmt.Sprintf("c|%d|9000", n/2)}, f.db.Dump(t, "SELECT v, count(*), min(id) FROM o GROUP BY v ORDER BY v"))
		})
	}
}

func TestFullIdentityWithoutKey(t *testing.T) {
	modes(t, func(t *testing.T, replica bool) {
		f := newFixture(t, `CREATE TABLE f (a int, j json, p point, x xml, g polygon, r float8, n numeric, c char(5), b bool, i inet)`, "f")
		f.options.ReplicaRole = replica
		rel := relation("f", 'f', "a", "j", "p", "x", "g", "r", "n", "c", "b", "i")
		one := []string{"1", `{"a":  1}`, "(1,2)", "<a/>", "((0,0),(1,1))", "NaN", "1.00", "ab   ", "t", "10.0.0.1"}
		nulls := []string{null, null, null, null, null, null, null, null, null, null}
		zero := append([]string{}, one...)
		zero[5], zero[6] = "0", "1.0"
		minus := append([]string{}, one...)
		minus[5] = "-0"
		empty := append([]string{}, nulls...)
		empty[7] = "     "
		changed := append([]string{"2"}, one[1:]...)
		f.mustApply(t, transactions(1,
			tx(ins(rel, one...), ins(rel, one...), ins(rel, one...), ins(rel, zero...), ins(rel, minus...)),
			tx(ins(rel, nulls...), ins(rel, nulls...), ins(rel, empty...)),
			tx(del(rel, one...), del(rel, minus...), updFrom(rel, row1(one...), changed...), updFrom(rel, row1(nulls...), one...)),
			tx(ins(rel, zero...), del(rel, zero...)),
		))
		require.Equal(t, []string{"1|0|1.0", "1|NaN|1.00", "1|NaN|1.00", "2|NaN|1.00", "NULL|NULL|NULL", "NULL|NULL|NULL"},
			f.db.Dump(t, "SELECT a, r::text, n::text FROM f ORDER BY a, r, c"))
		require.Equal(t, "NULL", f.db.QueryValue(t, "SELECT c FROM f WHERE a IS NULL AND c IS NULL"))
		requireFault(t, f.apply(t, transactions(5, tx(del(rel, minus...), del(rel, minus...)))), "integrity", CodeRowMissing)
	})
}

func TestFullIdentityPrefersTheTargetsKey(t *testing.T) {
	modes(t, func(t *testing.T, replica bool) {
		f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY, big text, v json); INSERT INTO t SELECT i, 'toasted', '1' FROM generate_series(1, 50) i`, "t")
		f.options.ReplicaRole = replica
		rel := relation("t", 'f', "id", "big", "v")
		f.mustApply(t, transactions(1,
			many(20, func(i int) change.Event {
				return updFrom(rel, row1(sprint(i+1), "toasted", "1"), sprint(i+1), unchanged, "2")
			}),
			many(20, func(i int) change.Event { return del(rel, sprint(i+21), "toasted", "1") })))
		require.Equal(t, []string{"1|toasted|10", "2|toasted|20"}, f.db.Dump(t, "SELECT v::text, big, count(*) FROM t GROUP BY 1, 2 ORDER BY 1"))
	})
}

func TestUserDefinedTypes(t *testing.T) {
	for _, n := range []int{1, 30, 300} {
		modes(t, func(t *testing.T, replica bool) {
			f := newFixture(t, `CREATE EXTENSION citext; CREATE SCHEMA types; CREATE TYPE types.mood AS ENUM ('sad', 'very "happy"');
				CREATE TYPE types.pair AS (a int, b text); CREATE DOMAIN types.short AS varchar(3) CHECK (value <> 'bad');
				CREATE TABLE t (c citext, m types.mood, p types.pair, d types.short, ms types.mood[], ps types.pair[], n numeric(6,2), v varchar(4), ch char(4), bits bit(3),
					tags text[], r int4range, ts timestamptz, i interval, b bytea, PRIMARY KEY (c, m, d, ch))`, "t")
			f.options.ReplicaRole = replica
			rel := relation("t", 'd', "c*", "m*", "p", "d*", "ms", "ps", "n", "v", "ch*", "bits", "tags", "r", "ts", "i", "b")
			values := func(i int, v string) []string {
				return []string{"Key" + sprint(i), `very "happy"`, `(1,"a,b")`, "abc", `{sad,"very \"happy\""}`, `{"(1,x)"}`, "1234.50", v, "ab  ", "101",
					`{a,NULL,"b c"}`, "[1,5)", "2024-01-02 03:04:05.678+00", "1 mon 2 days", `\x00ff`}
			}
			f.mustApply(t, transactions(1,
				many(n, func(i int) change.Event { return ins(rel, values(i, "one")...) }),
				many(n, func(i int) change.Event { return ins(rel, values(1000+i, "gone")...) })))
			f.mustApply(t, transactions(3,
				many(n, func(i int) change.Event { return upd(rel, values(i, "two")...) }),
				many(n, func(i int) change.Event { return del(rel, values(1000+i, "gone")...) })))
			require.Equal(t, []string{fmt.Sprintf(`very "happy"|(1,"a,b")|{sad,"very \"happy\""}|1234.50|two|101|{a,NULL,"b c"}|1 mon 2 days|\x00ff|%d`, n)},
				f.db.Dump(t, "SELECT m, p, ms, n, v, bits, tags, i, b, count(*) FROM t GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"))
			long := values(1, "three")
			refused := requireFault(t, f.apply(t, transactions(5, tx(upd(rel, long...)))), "operator", CodeValueRefused)
			require.NotContains(t, refused.Error(), "three")
		})
	}
}

func TestTooLongValuesAreNeverCut(t *testing.T) {
	for _, n := range []int{1, 20, 300} {
		f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY, v varchar(3), b bit(3), c char(3))`, "t")
		rel := relation("t", 'd', "id*", "v", "b", "c")
		for _, bad := range [][]string{{"abcd", "101", "abc"}, {"abc", "1010", "abc"}, {"abc", "101", "abcd"}} {
			err := f.apply(t, transactions(1, many(n, func(i int) change.Event { return ins(rel, append([]string{sprint(i)}, bad...)...) })))
			requireFault(t, err, "operator", CodeValueRefused)
		}
		require.Equal(t, "0", f.db.QueryValue(t, "SELECT count(*) FROM t"))
	}
}

func TestTruncate(t *testing.T) {
	modes(t, func(t *testing.T, replica bool) {
		f := newFixture(t, `CREATE TABLE a (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
			CREATE TABLE later (id int PRIMARY KEY); CREATE TABLE h (ts timestamptz NOT NULL, v int); SELECT create_hypertable('h', 'ts');
			CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p DEFAULT;
			CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent);
			CREATE TABLE r (id int PRIMARY KEY); CREATE TABLE outside (r int REFERENCES r);
			INSERT INTO a VALUES (DEFAULT, 'x'), (DEFAULT, 'y'); INSERT INTO b VALUES (1, 1); INSERT INTO later VALUES (1); INSERT INTO h VALUES ('2024-01-01', 1);
			INSERT INTO p VALUES (1); INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2); INSERT INTO r VALUES (1)`,
			"a", "b", "later", "h", "p", "parent", "r")
		f.options.ReplicaRole = replica
		f.options.Starts[tableName(relation("later", 'd'))] = lsnOf(99)
		a, b := relation("a", 'd', "id*", "v"), relation("b", 'd', "id*", "a")
		truncate := change.Event{Kind: change.Truncate, Cascade: true, RestartIdentity: true, Truncated: []*change.Relation{a, b, relation("later", 'd', "id*"),
			relation("h", 'f', "ts", "v"), relation("p", 'f', "id"), relation("parent", 'f', "id"), relation("r", 'd', "id*")}}
		f.mustApply(t, transactions(1, tx(ins(a, "10", "before"), ins(b, "10", "10"), truncate, ins(a, "11", "after"), ins(b, "12", "11"))))
		require.Equal(t, "11|after", f.db.QueryValue(t, "SELECT * FROM a"))
		require.Equal(t, "12|11", f.db.QueryValue(t, "SELECT * FROM b"))
		require.Equal(t, "1|0|0|1|0", f.db.QueryValue(t, `SELECT (SELECT count(*) FROM later), (SELECT count(*) FROM h), (SELECT count(*) FROM p), (SELECT count(*) FROM parent), (SELECT count(*) FROM r)`))
		require.Equal(t, "1", f.db.QueryValue(t, "SELECT nextval(pg_get_serial_sequence('a', 'id'))"))
	})
}

func TestHypertableRowsMoveBetweenChunks(t *testing.T) {
	for _, n := range []int{1, 4, 30} {
		modes(t, func(t *testing.T, replica bool) {
			f := newFixture(t, `CREATE TABLE k (id int, ts timestamptz, v text, big text, PRIMARY KEY (id, ts)); SELECT create_hypertable('k', 'ts');
				CREATE TABLE o (id int NOT NULL, ts timestamptz NOT NULL, v text, big text, extra text); SELECT create_hypertable('o', 'ts');
				CREATE TABLE f (ts timestamptz NOT NULL, v text, big text); SELECT create_hypertable('f', 'ts');
				INSERT INTO k SELECT i, '2024-01-01'::timestamptz + i * interval '1 hour', 'old', 'big' || i FROM generate_series(0, 199) i;
				INSERT INTO o SELECT i, '2024-01-01'::timestamptz + i * interval '1 hour', 'old', 'big' || i, 'extra' FROM generate_series(0, 199) i;
				INSERT INTO f SELECT '2024-01-01', 'old', 'big' FROM generate_series(0, 199) i`, "k", "o", "f")
			f.options.ReplicaRole = replica
			k, o, full := relation("k", 'd', "id*", "ts*", "v", "big"), relation("o", 'i', "id*", "ts", "v", "big"), relation("f", 'f', "ts", "v", "big")
			was := func(i int) string { return fmt.Sprintf("2024-01-%02d %02d:00:00+00", 1+i/24, i%24) }
			f.mustApply(t, transactions(1,
				many(n, func(i int) change.Event {
					return updFrom(k, row1(sprint(i), was(i), null, null), sprint(i), "2024-06-01 00:00:00+00", "moved", unchanged)
				}),
				many(n, func(i int) change.Event { return upd(k, sprint(50+i), was(50+i), "same", unchanged) }),
				many(n, func(i int) change.Event { return del(k, sprint(100+i), was(100+i), null, null) }),
				many(n, func(i int) change.Event { return upd(o, sprint(i), "2024-06-01 00:00:00+00", "moved", unchanged) }),
				many(n, func(i int) change.Event { return upd(o, sprint(50+i), was(50+i), "same", unchanged) }),
				many(n, func(i int) change.Event { return del(o, sprint(100+i), null, null, null) }),
				many(n, func(i int) change.Event {
					return updFrom(full, row1("2024-01-01 00:00:00+00", "old", "big"), "2024-06-01 00:00:00+00", "moved", unchanged)
				}),
				many(n, func(i int) change.Event {
					return updFrom(full, row1("2024-01-01 00:00:00+00", "old", "big"), "2024-01-01 00:00:00+00", "same", unchanged)
				}),
				many(n, func(i int) change.Event { return del(full, "2024-01-01 00:00:00+00", "old", "big") }),
				many(n*20, func(i int) change.Event { return ins(k, sprint(1000+i), "2025-01-01 00:00:00+00", "new", null) }),
			))
			want := []string{fmt.Sprintf("moved|%d|t", n), fmt.Sprintf("new|%d|NULL", n*20), fmt.Sprintf("old|%d|t", 200-3*n), fmt.Sprintf("same|%d|t", n)}
			require.Equal(t, want, f.db.Dump(t, "SELECT v, count(*), bool_and(big = 'big' || id) FROM k GROUP BY v ORDER BY v"))
			want = []string{fmt.Sprintf("moved|%d|t", n), fmt.Sprintf("old|%d|t", 200-3*n), fmt.Sprintf("same|%d|t", n)}
			require.Equal(t, want, f.db.Dump(t, "SELECT v, count(*), bool_and(big = 'big' || id AND extra = 'extra') FROM o GROUP BY v ORDER BY v"))
			require.Equal(t, want, f.db.Dump(t, "SELECT v, count(*), bool_and(big = 'big') FROM f GROUP BY v ORDER BY v"))
			require.Equal(t, sprint(n), f.db.QueryValue(t, "SELECT count(*) FROM o WHERE ts = '2024-06-01'"))
		})
	}
}

func TestPartitionRootMovesRows(t *testing.T) {
	modes(t, func(t *testing.T, replica bool) {
		f := newFixture(t, `CREATE TABLE p (id int, d date, v text, PRIMARY KEY (id, d)) PARTITION BY RANGE (d);
			CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2024-01-01') TO ('2024-02-01'); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')`, "p")
		f.options.ReplicaRole = replica
		rel := relation("p", 'd', "id*", "d*", "v")
		f.mustApply(t, transactions(1,
			many(300, func(i int) change.Event { return ins(rel, sprint(i), "2024-01-15", "a") }),
			many(100, func(i int) change.Event {
				return updFrom(rel, row1(sprint(i), "2024-01-15", null), sprint(i), "2024-02-15", "moved")
			})))
		f.mustApply(t, transactions(3,
			many(50, func(i int) change.Event {
				return updFrom(rel, row1(sprint(i), "2024-02-15", null), sprint(i), "2024-01-15", "back")
			}),
			many(50, func(i int) change.Event { return del(rel, sprint(100+i), "2024-01-15", null) })))
		require.Equal(t, []string{"p1|a|150", "p1|back|50", "p2|moved|50"}, f.db.Dump(t, "SELECT tableoid::regclass, v, count(*) FROM p GROUP BY 1, 2 ORDER BY 1, 2"))
	})
}

func TestUniqueValuesSwap(t *testing.T) {
	f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY, u text UNIQUE); INSERT INTO t SELECT i, i FROM generate_series(1, 40) i`, "t")
	rel := relation("t", 'd', "id*", "u")
	var swaps []change.Event
	for i := 1; i < 40; i += 2 {
		swaps = append(swaps, upd(rel, sprint(i), "parked"), upd(rel, sprint(i+1), sprint(i)), upd(rel, sprint(i), sprint(i+1)))
	}
	f.mustApply(t, transactions(1, swaps, tx(updFrom(rel, row1("1", null), "1001", "x"), updFrom(rel, row1("2", null), "1", "y"))))
	require.Equal(t, "38", f.db.QueryValue(t, "SELECT count(*) FROM t WHERE CASE WHEN id BETWEEN 3 AND 40 THEN abs(u::int - id) = 1 END"))
	require.Equal(t, []string{"1|y", "1001|x"}, f.db.Dump(t, "SELECT * FROM t WHERE id IN (1, 2, 1001) ORDER BY 1"))
}

func TestRefusalsNameTheRowByHashOnly(t *testing.T) {
	modes(t, func(t *testing.T, replica bool) {
		f := newFixture(t, `CREATE TABLE t (id text, v text UNIQUE); CREATE INDEX ON t (id); INSERT INTO t VALUES ('secret1', 'secret2'), ('double', 'a'), ('double', 'b')`, "t")
		f.options.ReplicaRole = replica
		rel := relation("t", 'i', "id*", "v")
		for _, n := range []int{1, 20} {
			others := many(n, func(i int) change.Event { return ins(rel, sprint(i), null) })
			missing := requireFault(t, f.apply(t, transactions(1, others, tx(upd(rel, "secret0", "x")))), "integrity", CodeRowMissing)
			require.NotContains(t, missing.Error(), "secret")
			require.Contains(t, missing.Error(), hashKey(keyBytes(row1("secret0"))))
			require.Equal(t, "public.t", missing.Subject)
			requireFault(t, f.apply(t, transactions(1, many(n, func(i int) change.Event { return del(rel, "secret"+sprint(i+2), null) }))), "integrity", CodeRowMissing)
			requireFault(t, f.apply(t, transactions(1, tx(upd(rel, "secret1", "z"), upd(rel, "double", null)))), "integrity", CodeRowAmbiguous)
			requireFault(t, f.apply(t, transactions(1, others, tx(del(rel, "double", null)))), "integrity", CodeRowAmbiguous)
			conflict := requireFault(t, f.apply(t, transactions(1, others, tx(ins(rel, "other", "secret2")))), "integrity", CodeConflict)
			require.NotContains(t, conflict.Error(), "secret")
			require.Contains(t, conflict.Error(), "t_v_key")
		}
		require.Equal(t, "3", f.db.QueryValue(t, "SELECT count(*) FROM t"), "a refused transaction must leave nothing")
	})
}

// One row is missing and another is there twice: the sum is right, the rows are not.
func TestMissingAndAmbiguousDoNotCancelOut(t *testing.T) {
	f := newFixture(t, `CREATE TABLE t (id int, v text); INSERT INTO t SELECT i, 'old' FROM generate_series(1, 20) i; INSERT INTO t VALUES (5, 'old'); DELETE FROM t WHERE id = 9`, "t")
	rel := relation("t", 'i', "id*", "v")
	err := f.apply(t, transactions(1, many(20, func(i int) change.Event { return upd(rel, sprint(i+1), "new") })))
	require.Contains(t, requireFault(t, err, "integrity", CodeRowAmbiguous).Error(), "found 2 rows")
	err = f.apply(t, transactions(1, many(20, func(i int) change.Event { return del(rel, sprint(i+1), null) })))
	requireFault(t, err, "integrity", CodeRowAmbiguous)
	require.Equal(t, "20", f.db.QueryValue(t, "SELECT count(*) FROM t WHERE v = 'old'"))
}

func TestSchemaChanges(t *testing.T) {
	f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY, v varchar(10), must int NOT NULL DEFAULT 1)`, "t")
	before := relation("t", 'd', "id*", "v", "must")
	before.Columns[0].TypeOID, before.Columns[1].TypeOID, before.Columns[1].Modifier, before.Columns[2].TypeOID = 23, 1043, 14, 23
	changed := func(edit func(r *change.Relation)) *change.Relation {
		r := *before
		r.Columns = append([]change.Column{}, before.Columns...)
		edit(&r)
		return &r
	}
	added := changed(func(r *change.Relation) {
		r.Columns = append(r.Columns, change.Column{Name: "fresh", TypeOID: 25, Modifier: -1})
	})
	err := f.apply(t, transactions(1, tx(ins(before, "1", "a", "1")), tx(ins(added, "2", "b", "1", "c"))))
	require.Contains(t, requireFault(t, err, "operator", CodeSchemaChanged).Error(), `column "fresh" (text) was added`)
	renamed := changed(func(r *change.Relation) { r.Columns[1].Name = "w" })
	err = f.apply(t, transactions(1, tx(ins(before, "1", "a", "1")), tx(ins(renamed, "2", "b", "1"))))
	require.Contains(t, requireFault(t, err, "operator", CodeSchemaChanged).Error(), `column "w" (character varying(10)) was added; column "v" was dropped`)
	wider := changed(func(r *change.Relation) { r.Columns[1].Modifier = 24 })
	err = f.apply(t, transactions(1, tx(ins(before, "1", "a", "1")), tx(ins(wider, "2", "b", "1"))))
	require.Contains(t, requireFault(t, err, "operator", CodeSchemaChanged).Error(), `column "v" changed its type`)
	retyped := changed(func(r *change.Relation) { r.Columns[2].TypeOID = 20 })
	err = f.apply(t, transactions(1, tx(ins(before, "1", "a", "1")), tx(ins(retyped, "2", "b", "1"))))
	require.Contains(t, requireFault(t, err, "operator", CodeSchemaChanged).Error(), `column "must" changed its type`)

	// A column that was added on both sides goes on. One that was dropped stops the stream even where the target could do without it.
	f.db.Exec(t, "ALTER TABLE t ADD COLUMN fresh text")
	f.mustApply(t, transactions(2, tx(ins(before, "4", "a", "1")), tx(ins(added, "5", "b", "1", "c"))))
	dropped := changed(func(r *change.Relation) {
		r.Columns = append(r.Columns[:2:2], change.Column{Name: "fresh", TypeOID: 25, Modifier: -1})
	})
	err = f.apply(t, transactions(4, tx(ins(dropped, "6", "b", "c"))))
	require.Contains(t, requireFault(t, err, "operator", CodeSchemaChanged).Hint, `run on the target: ALTER TABLE "public"."t" DROP COLUMN "must"; then resume`)
	f.db.Exec(t, "ALTER TABLE t DROP COLUMN must")
	f.mustApply(t, transactions(4, tx(ins(dropped, "6", "b", "c"))))
	require.Equal(t, []string{"1|a|NULL", "4|a|NULL", "5|b|c", "6|b|c"}, f.db.Dump(t, "SELECT * FROM t ORDER BY id"))
	f.db.Exec(t, "ALTER TABLE t ADD COLUMN strange int NOT NULL DEFAULT 1; ALTER TABLE t ALTER strange DROP DEFAULT")
	err = f.apply(t, transactions(6, tx(ins(dropped, "7", "b", "c"))))
	require.Contains(t, requireFault(t, err, "operator", CodeSchemaChanged).Error(), `"strange"`)
}

func TestScope(t *testing.T) {
	f := newFixture(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE late (id int PRIMARY KEY)`, "t", "late")
	f.options.Starts[tableName(relation("late", 'd'))] = lsnOf(2)
	rel, late := relation("t", 'd', "id*"), relation("late", 'd', "id*")
	f.mustApply(t, transactions(1, tx(ins(rel, "1"), ins(late, "1")), tx(ins(rel, "2"), ins(late, "2"))))
	require.Equal(t, []string{"1", "2"}, f.db.Dump(t, "SELECT id FROM t ORDER BY 1"))
	require.Equal(t, []string{"2"}, f.db.Dump(t, "SELECT id FROM late"))
	err := f.apply(t, transactions(3, tx(ins(relation("strange", 'd', "id*"), "1"))))
	require.True(t, strings.HasSuffix(requireFault(t, err, "operator", CodeUnknownTable).Subject, "strange"))
}
