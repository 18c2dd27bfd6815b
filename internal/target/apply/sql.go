package apply

import (
	"fmt"
	"strconv"
	"strings"

	"timeferry/internal/change"
	"timeferry/internal/ident"
)

// cached builds a statement once per mapping.
func (m *mapping) cached(key string, build func() string) string {
	if sql, ok := m.sql[key]; ok {
		return sql
	}
	sql := build()
	m.sql[key] = sql
	return sql
}

func (m *mapping) quoted(i int) string { return ident.Quote(m.columns[i].name) }

func (m *mapping) columnList() string {
	names := make([]string, len(m.columns))
	for i := range m.columns {
		names[i] = m.quoted(i)
	}
	return strings.Join(names, ", ")
}

// equal is the type's equality for a column that is known to have one, because an index is built on it.
func (c *column) equalOperator() string {
	if c.equal == "" {
		return "OPERATOR(pg_catalog.=)"
	}
	return c.equal
}

// each joins what f makes of 0…n-1.
func each(n int, separator string, f func(i int) string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = f(i)
	}
	return strings.Join(parts, separator)
}

// arrays reads the parameters $1… as rows of a table u: the key's columns as k0…, then the columns in set as v0…, then n,
// the row's number. The values come as text and are cast to the target's types, which must take them without loss.
func (m *mapping) arrays(withKey bool, set []int) string {
	var sources []int
	names := []string{}
	if withKey {
		for i, k := range m.key {
			sources = append(sources, k)
			names = append(names, "k"+strconv.Itoa(i))
		}
	}
	for i, s := range set {
		sources = append(sources, s)
		names = append(names, "v"+strconv.Itoa(i))
	}
	casts := each(len(sources), ", ", func(i int) string {
		return fmt.Sprintf("a%d::%s AS %s", i, m.columns[sources[i]].cast, names[i])
	})
	params := each(len(sources), ", ", func(i int) string { return fmt.Sprintf("$%d::text[]", i+1) })
	aliases := each(len(sources), ", ", func(i int) string { return "a" + strconv.Itoa(i) })
	return fmt.Sprintf("(SELECT %s, n FROM unnest(%s) WITH ORDINALITY AS a(%s, n)) AS u", casts, params, aliases)
}

// match finds the rows of t by the keys of u. With bounds, the parameters from $next on limit the columns that choose
// chunks and partitions.
func (m *mapping) match(bounds bool, next int) string {
	sql := each(len(m.key), " AND ", func(i int) string {
		return fmt.Sprintf("t.%s %s u.k%d", m.quoted(m.key[i]), m.columns[m.key[i]].equalOperator(), i)
	})
	if bounds {
		for _, b := range m.bounded {
			sql += fmt.Sprintf(" AND t.%[1]s >= $%[2]d::%[4]s AND t.%[1]s <= $%[3]d::%[4]s", m.quoted(b), next, next+1, m.columns[b].cast)
			next += 2
		}
	}
	return sql
}

// counted makes a changing statement answer with the rows it changed, and how many of ours they belong to.
func counted(sql string) string {
	return "WITH done AS (" + sql + " RETURNING u.n) SELECT count(*), count(DISTINCT n) FROM done"
}

func (m *mapping) deleteSetSQL(bounds bool) string {
	return m.cached("delete set "+strconv.FormatBool(bounds), func() string {
		sql := fmt.Sprintf("DELETE FROM %s%s AS t USING %s WHERE %s", m.table.only, m.table.name.Quote(), m.arrays(true, nil), m.match(bounds, len(m.key)+1))
		if !m.unique {
			sql = counted(sql)
		}
		return sql
	})
}

// updateSetSQL sets the columns in set. With nothing to set it only looks whether the rows are there.
func (m *mapping) updateSetSQL(set []int, mask string, bounds bool) string {
	return m.cached("update set "+strconv.FormatBool(bounds)+mask, func() string {
		table, match := m.table.only+m.table.name.Quote(), m.match(bounds, len(m.key)+len(set)+1)
		if len(set) == 0 {
			return fmt.Sprintf("SELECT count(*), count(DISTINCT u.n) FROM %s AS t JOIN %s ON %s", table, m.arrays(true, nil), match)
		}
		assignments := each(len(set), ", ", func(i int) string { return fmt.Sprintf("%s = u.v%d", m.quoted(set[i]), i) })
		sql := fmt.Sprintf("UPDATE %s AS t SET %s FROM %s WHERE %s", table, assignments, m.arrays(true, set), match)
		if !m.unique {
			sql = counted(sql)
		}
		return sql
	})
}

// moveSetSQL deletes rows and inserts them again with the columns in set changed and all others as they were. With
// onlyPinned it takes only rows in which a pinned column changes.
func (m *mapping) moveSetSQL(set []int, mask string, onlyPinned, bounds bool) string {
	return m.cached("move set "+strconv.FormatBool(bounds)+strconv.FormatBool(onlyPinned)+mask, func() string {
		table := m.table.only + m.table.name.Quote()
		position := map[int]int{}
		for i, s := range set {
			position[s] = i
		}
		where := m.match(bounds, len(m.key)+len(set)+1)
		if onlyPinned {
			var same []string
			for _, p := range m.pinned {
				if i, ok := position[p]; ok {
					same = append(same, fmt.Sprintf("t.%s %s u.v%d", m.quoted(p), m.columns[p].equalOperator(), i))
				}
			}
			where += " AND NOT (" + strings.Join(same, " AND ") + ")"
		}
		returned := each(len(m.columns), ", ", func(i int) string {
			if at, ok := position[i]; ok {
				return fmt.Sprintf("u.v%d AS c%d", at, i)
			}
			return fmt.Sprintf("t.%s AS c%d", m.quoted(i), i)
		})
		into, values := m.columnList(), each(len(m.columns), ", ", func(i int) string { return "c" + strconv.Itoa(i) })
		for i, e := range m.extra {
			returned += fmt.Sprintf(", t.%s AS e%d", ident.Quote(e), i)
			into += ", " + ident.Quote(e)
			values += ", e" + strconv.Itoa(i)
		}
		deleting := fmt.Sprintf("DELETE FROM %s AS t USING %s WHERE %s RETURNING %s, u.n", table, m.arrays(true, set), where, returned)
		inserting := fmt.Sprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM gone", m.table.name.Quote(), into, values)
		return fmt.Sprintf("WITH gone AS (%s), put AS (%s) SELECT count(*), count(DISTINCT n) FROM gone", deleting, inserting)
	})
}

func (m *mapping) insertSetSQL() string {
	return m.cached("insert set", func() string {
		all := make([]int, len(m.columns))
		for i := range all {
			all[i] = i
		}
		values := each(len(all), ", ", func(i int) string { return "v" + strconv.Itoa(i) })
		return fmt.Sprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM %s", m.table.name.Quote(), m.columnList(), values, m.arrays(false, all))
	})
}

func (m *mapping) copySQL() string {
	return m.cached("copy", func() string {
		return fmt.Sprintf("COPY %s (%s) FROM STDIN", m.table.name.Quote(), m.columnList())
	})
}

func (m *mapping) insertOneSQL() string {
	return m.cached("insert one", func() string {
		if len(m.columns) == 0 {
			return fmt.Sprintf("INSERT INTO %s DEFAULT VALUES", m.table.name.Quote())
		}
		values := each(len(m.columns), ", ", func(i int) string { return "$" + strconv.Itoa(i+1) })
		return fmt.Sprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE VALUES (%s)", m.table.name.Quote(), m.columnList(), values)
	})
}

// keyOne finds a row by its key in the parameters from $next on.
func (m *mapping) keyOne(next int) string {
	return each(len(m.key), " AND ", func(i int) string {
		return fmt.Sprintf("t.%s %s $%d", m.quoted(m.key[i]), m.columns[m.key[i]].equalOperator(), next+i)
	})
}

func (m *mapping) assignOne(set []int) string {
	return each(len(set), ", ", func(i int) string { return fmt.Sprintf("%s = $%d", m.quoted(set[i]), i+1) })
}

func (m *mapping) deleteOneSQL() string {
	return m.cached("delete one", func() string {
		return fmt.Sprintf("DELETE FROM %s%s AS t WHERE %s", m.table.only, m.table.name.Quote(), m.keyOne(1))
	})
}

func (m *mapping) updateOneSQL(set []int, mask string) string {
	return m.cached("update one "+mask, func() string {
		table := m.table.only + m.table.name.Quote()
		if len(set) == 0 {
			return fmt.Sprintf("SELECT 1 FROM %s AS t WHERE %s", table, m.keyOne(1))
		}
		return fmt.Sprintf("UPDATE %s AS t SET %s WHERE %s", table, m.assignOne(set), m.keyOne(len(set)+1))
	})
}

// victim finds one row by all its columns, parameters from $next on, as the target has it: among rows that are equal the
// one whose text is the same too. It returns the parameters' values in order.
func (m *mapping) victim(old []change.Datum, next int) (sql string, params []change.Datum) {
	var where, order []string
	param := func(d change.Datum) int {
		params = append(params, d)
		return next + len(params) - 1
	}
	for i, d := range old {
		c, name := m.columns[i], "w."+m.quoted(i)
		switch {
		case d.State == change.Null: // unlike IS NULL, right for composites too
			where = append(where, name+" IS NOT DISTINCT FROM NULL")
		case d.State == change.Unchanged:
		case c.equal == "": // concat uses the type's output function, as the stream does; a cast to text may not
			where = append(where, fmt.Sprintf("concat(%s) = $%d::text", name, param(d)))
		default:
			where = append(where, fmt.Sprintf("%s %s $%d", name, c.equal, param(d)))
			if c.loose {
				order = append(order, fmt.Sprintf("concat(%s) = $%d::text DESC", name, param(d)))
			}
		}
	}
	sql = fmt.Sprintf("WITH victim AS MATERIALIZED (SELECT w.tableoid AS o, w.ctid AS c FROM %s%s AS w", m.table.only, m.table.name.Quote())
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	if len(order) > 0 {
		sql += " ORDER BY " + strings.Join(order, ", ")
	}
	return sql + " LIMIT 1)", params
}

const isVictim = "t.ctid = victim.c AND t.tableoid = victim.o"

func (m *mapping) deleteVictimSQL(old []change.Datum) (string, []change.Datum) {
	victim, params := m.victim(old, 1)
	return fmt.Sprintf("%s DELETE FROM %s%s AS t USING victim WHERE %s", victim, m.table.only, m.table.name.Quote(), isVictim), params
}

func (m *mapping) updateVictimSQL(set []int, old []change.Datum) (string, []change.Datum) {
	victim, params := m.victim(old, len(set)+1)
	return fmt.Sprintf("%s UPDATE %s%s AS t SET %s FROM victim WHERE %s", victim, m.table.only, m.table.name.Quote(), m.assignOne(set), isVictim), params
}

// moveVictimSQL deletes one row and inserts it again with the columns in set changed.
func (m *mapping) moveVictimSQL(set []int, old []change.Datum) (string, []change.Datum) {
	victim, params := m.victim(old, len(set)+1)
	values := make([]string, len(m.columns))
	for i := range m.columns {
		values[i] = m.quoted(i)
	}
	for i, s := range set {
		values[s] = fmt.Sprintf("$%d::%s", i+1, m.columns[s].cast)
	}
	into := m.columnList()
	for _, e := range m.extra {
		into += ", " + ident.Quote(e)
		values = append(values, ident.Quote(e))
	}
	return fmt.Sprintf("%s, gone AS (DELETE FROM %s%s AS t USING victim WHERE %s RETURNING t.*) INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM gone",
		victim, m.table.only, m.table.name.Quote(), isVictim, m.table.name.Quote(), into, strings.Join(values, ", ")), params
}
