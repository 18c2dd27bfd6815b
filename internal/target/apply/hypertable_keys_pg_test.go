package apply

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
)

// The stream goes by the source's key, which the hypertable has only with the time column added, or as an index that is
// not unique: no constraint then stops a batch in which rows trade their keys, so the count of rows must.
func TestHypertableWithoutTheSourcesKey(t *testing.T) {
	for name, key := range map[string]string{"extended": "ALTER TABLE h ADD PRIMARY KEY (id, ts)", "dropped": "CREATE INDEX ON h (id)"} {
		for _, n := range []int{1, 30} {
			t.Run(fmt.Sprintf("%s, %d rows", name, n), func(t *testing.T) {
				modes(t, func(t *testing.T, replica bool) {
					f := newFixture(t, `CREATE TABLE h (id int NOT NULL, ts timestamptz NOT NULL, v text, big text); SELECT create_hypertable('h', 'ts', create_default_indexes => false);`+key+`;
						INSERT INTO h SELECT i, '2024-01-01'::timestamptz + i * interval '1 hour', 'row' || i, 'big' || i FROM generate_series(0, 299) i`, "h")
					f.options.ReplicaRole = replica
					h := relation("h", 'd', "id*", "ts", "v", "big")
					was := func(i int) string { return fmt.Sprintf("2024-01-%02d %02d:00:00+00", 1+i/24, i%24) }
					rekey := func(from, to int, big string) change.Event { // the row keeps all but its key
						return updFrom(h, row1(sprint(from), null, null, null), sprint(to), was(from%1000), fmt.Sprint("row", from%1000), big)
					}
					f.mustApply(t, transactions(1,
						// rows i and i+50 trade their keys by way of a third, in updates of different columns
						many(n, func(i int) change.Event { return rekey(i, 1000+i, unchanged) }),
						many(n, func(i int) change.Event { return rekey(50+i, i, fmt.Sprint("big", 50+i)) }),
						many(n, func(i int) change.Event {
							return updFrom(h, row1(sprint(1000+i), null, null, null), sprint(50+i), was(i), fmt.Sprint("row", i), unchanged)
						}),
						// a key is freed and taken by a new row of another time
						many(n, func(i int) change.Event { return del(h, sprint(100+i), null, null, null) }),
						many(n, func(i int) change.Event {
							return ins(h, sprint(100+i), "2025-01-01 00:00:00+00", "again", fmt.Sprint("big", 100+i))
						}),
						// rows move to another chunk
						many(n, func(i int) change.Event {
							return upd(h, sprint(150+i), "2025-06-01 00:00:00+00", "moved", unchanged)
						}),
						many(n, func(i int) change.Event { return upd(h, sprint(200+i), was(200+i), "same", unchanged) }),
						tx(del(h, "299", null, null, null)),
					))
					require.Equal(t, "299|299", f.db.QueryValue(t, "SELECT count(*), count(DISTINCT id) FROM h"))
					require.Equal(t, sprint(2*n), f.db.QueryValue(t, "SELECT count(*) FROM h WHERE v = 'row' || CASE WHEN id < 50 THEN id + 50 ELSE id - 50 END AND big = 'big' || CASE WHEN id < 50 THEN id + 50 ELSE id - 50 END"))
					require.Equal(t, []string{fmt.Sprintf("again|%d|2025-01-01", n), fmt.Sprintf("moved|%d|2025-06-01", n), fmt.Sprintf("same|%d|2024-01-09", n)},
						f.db.Dump(t, "SELECT v, count(*), min(ts)::date FROM h WHERE v IN ('again', 'moved', 'same') AND big = 'big' || id GROUP BY v ORDER BY v"))
				})
			})
		}
	}
}
