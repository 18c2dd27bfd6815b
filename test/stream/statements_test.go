package stream

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

// draw is rapid's source of choices, with short words.
type draw struct{ *rapid.T }

func (d draw) n(low, high int) int { return rapid.IntRange(low, high).Draw(d.T, "n") }

func (d draw) one(list ...string) string { return rapid.SampledFrom(list).Draw(d.T, "one") }

// statements are the ways to change the workload's tables, by what they change. The keys are few, so that the same rows change
// again and again, and statements of several sessions meet.
var statements = []func(draw) string{
	keyed, keyed, keyed, allKinds, allKinds, byIndex, bag, bag, fullKeyed, oddKeys, counted, family, insertOnly, droppedColumns, partitions, partitions,
	oddNames, looseTypes, hypertables, hypertables, messages,
}

func statement(d draw) string {
	return rapid.SampledFrom(statements).Draw(d.T, "statement")(d)
}

// long is a value that is kept out of its row.
func long(seed, kilobytes int) string {
	return fmt.Sprintf("(SELECT string_agg(md5(i::text || '%d'), '') FROM generate_series(1, %d) i)", seed, kilobytes*32)
}

func keyed(d draw) string {
	id, other, n := d.n(1, 40), d.n(1, 40), d.n(0, 99)
	return d.one(
		fmt.Sprintf("INSERT INTO keyed VALUES (%d, 'c%d', %d, 'v%d', %s, NULL, 0) ON CONFLICT DO NOTHING", id, other, id+100, n, long(n, 1+n%5)),
		fmt.Sprintf("INSERT INTO keyed (id, code, v) VALUES (%d, 'c%d', 'new') ON CONFLICT (id) DO UPDATE SET v = keyed.v || 'x', n = keyed.n + 1", id, id),
		fmt.Sprintf("INSERT INTO keyed (id, code, n) SELECT i, 'b' || i, i %% 7 FROM generate_series(%d, %d) i ON CONFLICT DO NOTHING", 1000+other*20, 1000+other*20+n*6),
		fmt.Sprintf("INSERT INTO keyed (id, code) VALUES (%d, 'm%d'), (%d, 'm%d'), (%d, 'm%d') ON CONFLICT DO NOTHING", id, id, other, other, id+other, id+other),
		fmt.Sprintf("UPDATE keyed SET v = 'u%d' WHERE id = %d", n, id),
		fmt.Sprintf("UPDATE keyed SET n = n + 1 WHERE id %% %d = 0", 1+n%10),
		fmt.Sprintf("UPDATE keyed SET big = %s WHERE id = %d", long(n, 3), id),
		fmt.Sprintf("UPDATE keyed SET big2 = to_jsonb(%s), big = left(big, %d) WHERE id BETWEEN %d AND %d", long(n, 8), 10*n, id, id+3),
		fmt.Sprintf("UPDATE keyed SET id = %d WHERE id = %d", other, id),
		fmt.Sprintf("UPDATE keyed SET id = id + 50000, code = code || 'k' WHERE id BETWEEN %d AND %d", id, other),
		fmt.Sprintf("UPDATE keyed SET id = id - 50000 WHERE id > 50000 AND id <= %d", 50000+id),
		fmt.Sprintf("UPDATE keyed SET code = 'c%d' WHERE id = %d", other, id),
		fmt.Sprintf("UPDATE keyed SET u = NULL WHERE id = %d; UPDATE keyed SET u = %d WHERE id = %d; UPDATE keyed SET u = %d WHERE id = %d", id, id+100, other, other+100, id),
		fmt.Sprintf("DELETE FROM keyed WHERE id = %d", id),
		fmt.Sprintf("DELETE FROM keyed WHERE id BETWEEN %d AND %d", 900+id*20, 1000+id*20+n*10),
		fmt.Sprintf("DELETE FROM keyed WHERE id = %d; INSERT INTO keyed (id, code, v) VALUES (%d, 'r%d', 'again')", id, id, id),
		fmt.Sprintf("MERGE INTO keyed t USING (VALUES (%d, 'x'), (%d, 'y')) s(id, v) ON t.id = s.id WHEN MATCHED AND t.n > 1 THEN DELETE WHEN MATCHED THEN UPDATE SET v = s.v, n = n + 1 WHEN NOT MATCHED THEN INSERT (id, code, v) VALUES (s.id, 'g' || s.id, s.v)", id, id+1+n),
	)
}

// allKinds changes some columns of the table of all types.
func allKinds(d draw) string {
	id := d.n(1, 12)
	if d.n(0, 5) == 5 {
		return fmt.Sprintf("DELETE FROM kinds WHERE id = %d", id)
	}
	var columns, values, updates []string
	for range d.n(1, 6) {
		k := rapid.SampledFrom(kinds).Draw(d.T, "kind")
		if strings.Contains(strings.Join(columns, " ")+" ", k.column()+" ") {
			continue
		}
		columns = append(columns, k.column())
		values = append(values, k.literal(d.n(0, len(k.values))))
		updates = append(updates, k.column()+" = excluded."+k.column())
	}
	return fmt.Sprintf("INSERT INTO kinds (id, %s) VALUES (%d, %s) ON CONFLICT (id) DO UPDATE SET %s", strings.Join(columns, ", "), id,
		strings.Join(values, ", "), strings.Join(updates, ", "))
}

func byIndex(d draw) string {
	a, b, c := d.n(1, 5), d.n(1, 6), d.n(1, 6)
	return d.one(
		fmt.Sprintf("INSERT INTO by_index (a, b, c, v) VALUES (%d, 'b%d', %d, NULL) ON CONFLICT DO NOTHING", a, b, c),
		fmt.Sprintf("UPDATE by_index SET v = coalesce(v, '') || '%d' WHERE b = 'b%d'", a, b),
		fmt.Sprintf("UPDATE by_index SET c = %d WHERE b = 'b%d' AND c = %d", c, b, a),
		fmt.Sprintf("UPDATE by_index SET b = 'b%d', a = NULL WHERE a = %d AND c = %d", b, a, c),
		fmt.Sprintf("DELETE FROM by_index WHERE b = 'b%d' AND c <= %d", b, c),
	)
}

// bag has no key: equal rows, and rows of nulls, of which one alone must change.
func bag(d draw) string {
	a, n := d.n(1, 4), d.n(1, 5)
	one := fmt.Sprintf("ctid = (SELECT ctid FROM bag WHERE a = %d ORDER BY ctid DESC LIMIT 1)", a)
	return d.one(
		fmt.Sprintf("INSERT INTO bag SELECT %d, 'b', '2024-01-01' FROM generate_series(1, %d)", a, n),
		fmt.Sprintf("INSERT INTO bag SELECT %d, NULL FROM generate_series(1, %d)", a, n),
		fmt.Sprintf("INSERT INTO bag SELECT %d, '', 'infinity', %s FROM generate_series(1, 2)", a, long(n%2, 4)),
		"DELETE FROM bag WHERE "+one,
		fmt.Sprintf("UPDATE bag SET b = 'u%d' WHERE %s", n, one),
		fmt.Sprintf("UPDATE bag SET a = %d WHERE %s", n, one),
		fmt.Sprintf("UPDATE bag SET b = NULL, c = NULL WHERE a = %d", a),
		fmt.Sprintf("UPDATE bag SET big = big || 'x' WHERE a = %d AND big IS NOT NULL", a),
		fmt.Sprintf("UPDATE bag SET b = b WHERE a = %d", a),
		fmt.Sprintf("DELETE FROM bag WHERE a = %d AND b IS NULL", a),
	)
}

func fullKeyed(d draw) string {
	id, other := d.n(1, 20), d.n(1, 20)
	return d.one(
		fmt.Sprintf("INSERT INTO full_keyed VALUES (%d, 'v', %s) ON CONFLICT (id) DO UPDATE SET v = full_keyed.v || 'x'", id, long(id, 4)),
		fmt.Sprintf("UPDATE full_keyed SET v = NULL WHERE id = %d", id),
		fmt.Sprintf("UPDATE full_keyed SET id = %d WHERE id = %d", other, id),
		fmt.Sprintf("UPDATE full_keyed SET big = reverse(big) WHERE id <= %d", id),
		fmt.Sprintf("DELETE FROM full_keyed WHERE id = %d", id),
	)
}

// oddKeys are keys whose texts differ though they are equal, and the other way round.
func oddKeys(d draw) string {
	n, c := d.one("1", "1.0", "1.00", "0", "'NaN'"), d.one("a", "A", "")
	f, other := d.one("'0'", "'-0'", "'NaN'"), d.one("1", "1.0", "1.00", "2")
	return d.one(
		fmt.Sprintf("INSERT INTO odd_keys VALUES (%s, '%s', %s, 0) ON CONFLICT DO NOTHING", n, c, f),
		fmt.Sprintf("INSERT INTO odd_keys VALUES (%s, '%s', %s, 0) ON CONFLICT (n, c, d) DO UPDATE SET v = odd_keys.v + 1", n, c, f),
		fmt.Sprintf("UPDATE odd_keys SET n = %s WHERE n = %s", other, n),
		fmt.Sprintf("UPDATE odd_keys SET c = upper(c::text), d = -d WHERE c = '%s'", c),
		fmt.Sprintf("DELETE FROM odd_keys WHERE n = %s AND d = %s", n, f),
		fmt.Sprintf("DELETE FROM odd_keys WHERE n = %s; INSERT INTO odd_keys VALUES (%s, '%s', %s, 1)", n, n, c, f),
	)
}

func counted(d draw) string {
	n := d.n(1, 9)
	return d.one(
		fmt.Sprintf("INSERT INTO counted (v) SELECT i FROM generate_series(1, %d) i", n),
		fmt.Sprintf("INSERT INTO counted (id, v) OVERRIDING SYSTEM VALUE VALUES (%d, 1) ON CONFLICT DO NOTHING", 1000+n),
		fmt.Sprintf("UPDATE counted SET v = v + 1 WHERE id %% %d = 0", n),
		fmt.Sprintf("UPDATE counted SET id = DEFAULT WHERE id %% %d = 1", n+1),
		fmt.Sprintf("DELETE FROM counted WHERE id %% %d = 2", n+1),
	)
}

// family has a foreign key whose actions the source does: they come as changes of their own.
func family(d draw) string {
	id, other := d.n(1, 8), d.n(1, 8)
	return d.one(
		fmt.Sprintf("INSERT INTO parent VALUES (%d, 0) ON CONFLICT (id) DO UPDATE SET v = parent.v + 1", id),
		fmt.Sprintf("INSERT INTO child SELECT %d * 10 + %d, %d, 0 WHERE EXISTS (SELECT FROM parent WHERE id = %d) ON CONFLICT DO NOTHING", id, other, id, id),
		fmt.Sprintf("UPDATE parent SET id = %d WHERE id = %d", other, id),
		fmt.Sprintf("UPDATE child SET parent = NULL WHERE parent = %d", id),
		fmt.Sprintf("DELETE FROM parent WHERE id = %d", id),
	)
}

func insertOnly(d draw) string {
	return d.one("INSERT INTO nothing DEFAULT VALUES", fmt.Sprintf("INSERT INTO kept SELECT %d, 'k' FROM generate_series(1, %d)", d.n(1, 3), d.n(1, 5)))
}

func droppedColumns(d draw) string {
	id, n := d.n(1, 10), d.n(1, 99)
	return d.one(
		fmt.Sprintf("INSERT INTO dropped VALUES (%d, 'v%d', %d) ON CONFLICT (id) DO UPDATE SET w = %d", id, n, n, n),
		fmt.Sprintf("UPDATE dropped SET v = NULL WHERE id = %d", id),
		fmt.Sprintf("UPDATE dropped SET id = id + 10 WHERE id = %d", id),
		fmt.Sprintf("DELETE FROM dropped WHERE id > %d", id),
	)
}

func day(d draw) string { return fmt.Sprintf("date '2024-01-10' + %d", d.n(0, 70)) }

func partitions(d draw) string {
	id, at, other := d.n(1, 12), day(d), day(d)
	return d.one(
		fmt.Sprintf("INSERT INTO parted (id, d, v, big) VALUES (%d, %s, 'v', %s) ON CONFLICT DO NOTHING", id, at, long(id, 3)),
		fmt.Sprintf("INSERT INTO parted (id, d) SELECT i, %s + i FROM generate_series(20, %d) i ON CONFLICT DO NOTHING", at, 20+id),
		fmt.Sprintf("UPDATE parted SET v = v || 'x' WHERE id = %d", id),
		fmt.Sprintf("UPDATE parted SET d = %s WHERE id = %d AND d = %s", other, id, at),
		fmt.Sprintf("UPDATE parted SET d = d + 20 WHERE id = %d", id),
		fmt.Sprintf("UPDATE parted SET id = id + 1 WHERE id = %d AND d > %s", id, at),
		fmt.Sprintf("DELETE FROM parted WHERE id = %d AND d < %s", id, at),
	)
}

func oddNames(d draw) string {
	id := d.n(1, 5)
	return d.one(
		fmt.Sprintf(`INSERT INTO %s ("select", "1", "ü", %s) VALUES (%d, 1, 'ü', 7) ON CONFLICT ("select") DO UPDATE SET "a b" = 'a', "x""y" = NULL`, oddTable, longName, id),
		fmt.Sprintf(`UPDATE %s SET "1" = "1" + 1, "select" = "select" + 1 WHERE "select" = %d`, oddTable, id),
		fmt.Sprintf(`DELETE FROM %s WHERE "select" > %d`, oddTable, id),
	)
}

// looseTypes have no equality, or one that says equal of different texts.
func looseTypes(d draw) string {
	a, f := d.one("1", "1.0", "1.00", "NULL"), d.one("'0'", "'-0'", "NULL")
	one := fmt.Sprintf("ctid = (SELECT ctid FROM loose WHERE a IS NOT DISTINCT FROM %s ORDER BY ctid DESC LIMIT 1)", a)
	return d.one(
		fmt.Sprintf(`INSERT INTO loose SELECT %s, '{"a":  1}', '(0,-0)', %s, 'Ab', '<a/>' FROM generate_series(1, %d)`, a, f, d.n(1, 3)),
		fmt.Sprintf(`INSERT INTO loose VALUES (%s, '{"a": 1}', '(0,0)', %s, 'aB', NULL)`, a, f),
		"DELETE FROM loose WHERE "+one,
		"UPDATE loose SET r = -r, a = a * 1.0 WHERE "+one,
		"UPDATE loose SET j = '[ ]', c = upper(c::text) WHERE "+one,
	)
}

func hypertables(d draw) string {
	device, id, n := d.n(1, 4), d.n(1, 10), d.n(1, 60)
	from := fmt.Sprintf("timestamptz '2024-01-01 00:00+00' + %d * interval '7 hours'", n)
	return d.one(
		fmt.Sprintf("INSERT INTO metrics SELECT %s + i * interval '31 minutes', %d, i, NULL FROM generate_series(1, %d) i ON CONFLICT DO NOTHING", from, device, n),
		fmt.Sprintf("UPDATE metrics SET v = v + 1, note = 'n%d' WHERE dev = %d AND ts > %s", n, device, from),
		fmt.Sprintf("UPDATE metrics SET ts = ts + interval '%d days 1 second' WHERE dev = %d AND ts < %s", n%20, device, from),
		fmt.Sprintf("DELETE FROM metrics WHERE dev = %d AND ts > %s", device, from),
		fmt.Sprintf("INSERT INTO readings SELECT %s, %d FROM generate_series(1, %d)", from, device, device),
		fmt.Sprintf("DELETE FROM readings WHERE ctid = (SELECT ctid FROM readings WHERE v = %d LIMIT 1)", device),
		fmt.Sprintf("UPDATE readings SET ts = ts + interval '%d days', v = %d WHERE ctid = (SELECT ctid FROM readings WHERE v = %d LIMIT 1)", n%20, id%4, device),
		fmt.Sprintf("INSERT INTO flow VALUES (%d, %s, 'f') ON CONFLICT DO NOTHING", id, day(d)),
		fmt.Sprintf("UPDATE flow SET d = d + %d, v = v || 'x' WHERE id = %d", n%40, id),
		fmt.Sprintf("DELETE FROM flow WHERE id = %d", id),
	)
}

func messages(d draw) string {
	return fmt.Sprintf("SELECT pg_logical_emit_message(%s, '%s', 'content')", d.one("true", "false"), d.one("other", "timeferry"))
}

// alone are statements that want nobody beside them: they take locks on whole tables, or belong to a session.
func alone(d draw) string {
	n := d.n(1, 1000)
	return d.one(
		"TRUNCATE parent, child",
		"TRUNCATE parent CASCADE",
		"TRUNCATE keyed, bag, counted RESTART IDENTITY",
		"TRUNCATE parted", "TRUNCATE metrics, flow, loose", "TRUNCATE nothing, kept; INSERT INTO kept VALUES (1, 'after')",
		"INSERT INTO keyed (id, code) VALUES (777, 'before'); TRUNCATE keyed; INSERT INTO keyed (id, code) VALUES (777, 'after')",
		fmt.Sprintf("CREATE TABLE extra_%d PARTITION OF parted FOR VALUES FROM ('%d-01-01') TO ('%d-01-01'); INSERT INTO parted VALUES (1, '%d-05-05', 'x') ON CONFLICT DO NOTHING; "+
			"DELETE FROM extra_%[1]d; ALTER TABLE parted DETACH PARTITION extra_%[1]d; DROP TABLE extra_%[1]d", n, 2030+n, 2031+n, 2030+n),
		fmt.Sprintf("CREATE TABLE joined_%d (v text, d date NOT NULL, id int NOT NULL, big text); ALTER TABLE parted ATTACH PARTITION joined_%[1]d FOR VALUES FROM ('%d-01-01') TO ('%d-01-01');"+
			"INSERT INTO parted VALUES (1, '%[2]d-05-05', 'x'), (2, '2024-01-15', 'y') ON CONFLICT DO NOTHING; UPDATE parted SET d = '2024-01-11', id = %[1]d WHERE d >= '%[2]d-01-01';"+
			"ALTER TABLE parted DETACH PARTITION joined_%[1]d; DROP TABLE joined_%[1]d", 100000+n, 4000+n, 4001+n),
		originSetup+"; "+statement(d)+"; "+statement(d)+"; "+originReset,
		"ALTER TABLE keyed REPLICA IDENTITY FULL; UPDATE keyed SET n = n + 1 WHERE id < 20; ALTER TABLE keyed REPLICA IDENTITY DEFAULT; UPDATE keyed SET n = n + 1 WHERE id < 10",
		fmt.Sprintf("ALTER TABLE rekeyed REPLICA IDENTITY USING INDEX rekeyed_code_key; INSERT INTO rekeyed SELECT i, 'c' || i FROM generate_series(%d, %d) i ON CONFLICT DO NOTHING;"+
			"UPDATE rekeyed SET code = code || 'i', id = -id WHERE id %% 3 = 0; ALTER TABLE rekeyed REPLICA IDENTITY DEFAULT; UPDATE rekeyed SET id = -id, code = 'c' || abs(id) WHERE id %% 2 = 0;"+
			"ALTER TABLE rekeyed REPLICA IDENTITY FULL; DELETE FROM rekeyed WHERE id %% 5 = 0; ALTER TABLE rekeyed REPLICA IDENTITY DEFAULT", n%50, n%50+n%20),
		fmt.Sprintf("INSERT INTO keyed (id, code, v) SELECT i, 'big' || i, repeat('v', 20) FROM generate_series(100000, %d) i", 100000+n*5),
		"UPDATE keyed SET n = n + 1, v = coalesce(v, '') || id",
		"DELETE FROM keyed WHERE id >= 100000",
	)
}
