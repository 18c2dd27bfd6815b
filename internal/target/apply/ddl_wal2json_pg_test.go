package apply

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/source/prepare"
	"timeferry/internal/target/ledger"
)

// modifiers is a table of every type whose modifier bounds its values, and one whose rows come by way of its partitions. What version 2.5
// of wal2json cannot say, a numeric that may be NULL, is not in it.
const modifiers = `CREATE TABLE t (id int PRIMARY KEY, n numeric(8,2) NOT NULL, v varchar(10), ts timestamp(0), tz timestamptz(0), an numeric(8,2)[]);`

func newModified(t *testing.T) *altering {
	t.Helper()
	o := newStreamedBy(t, "wal2json", 15, modifiers+`CREATE TABLE other (id int PRIMARY KEY, n numeric(8,2) NOT NULL) PARTITION BY RANGE (id);
		CREATE TABLE other_1 PARTITION OF other FOR VALUES FROM (0) TO (100); CREATE TABLE other_2 PARTITION OF other FOR VALUES FROM (100) TO (200);`)
	a := &altering{old: o, f: o.fixture(t, modifiers+"CREATE TABLE other (id int PRIMARY KEY, n numeric(8,2) NOT NULL);", "t", "other")}
	a.f.options.Source = prepare.Catalogue{Source: o.src.Endpoint}
	a.recordShapes(t)
	a.src.Exec(t, `INSERT INTO t VALUES (1, 1.23, 'one', '2026-01-01', '2026-01-01', '{1.23}'); INSERT INTO other VALUES (1, 1.23), (101, 1.23)`)
	a.mustRun(t)
	return a
}

// remodified are types whose modifier alone changes, while wal2json's changes stream: nothing may be rounded.
var remodified = []struct {
	name  string
	ddl   string // with rows, each statement by itself but where no space follows the semicolon
	what  string
	value string // of n in row 3
	stops bool   // in any case, and with values that the source must write once more
}{
	{name: "scale", ddl: "ALTER TABLE t ALTER n TYPE numeric(10,3); INSERT INTO t (id, n) VALUES (3, 1.234)",
		what: "from numeric(8,2) to numeric(10,3)", value: "1.234"},
	{name: "by an update", ddl: "ALTER TABLE t ALTER n TYPE numeric(10,3); UPDATE t SET n = 1.235 WHERE id = 1; INSERT INTO t (id, n) VALUES (3, 1)",
		what: "from numeric(8,2) to numeric(10,3)", value: "1.000"},
	{name: "several in a row", ddl: "ALTER TABLE t ALTER n TYPE numeric(10,3); INSERT INTO t (id, n) VALUES (4, 1.234); ALTER TABLE t ALTER n TYPE numeric(12,4); DELETE FROM t WHERE id = 1; " +
		"INSERT INTO t (id, n) VALUES (5, 1.2345); ALTER TABLE t ALTER n TYPE numeric(13,5); ALTER TABLE t ALTER n TYPE numeric(14,6); INSERT INTO t (id, n) VALUES (3, 1.234567)",
		what: "from numeric(8,2) to numeric(10,3)", value: "1.234567"},
	{name: "inside of a transaction", ddl: "BEGIN;INSERT INTO t (id, n) VALUES (4, 1.23);ALTER TABLE t ALTER n TYPE numeric(10,3);INSERT INTO t (id, n) VALUES (3, 1.234);COMMIT",
		what: "from numeric(8,2) to numeric(10,3)", value: "1.234"},
	{name: "no modifier any more", ddl: "ALTER TABLE t ALTER n TYPE numeric; INSERT INTO t (id, n) VALUES (3, 1.23456789)",
		what: "from numeric(8,2) to numeric", value: "1.23456789"},
	{name: "fractions of a second", ddl: "ALTER TABLE t ALTER ts TYPE timestamp(6), ALTER tz TYPE timestamptz(6); INSERT INTO t VALUES (3, 1, 'x', '2026-01-01 00:00:00.654321', '2026-01-01 00:00:00.654321+00')",
		what: "from timestamp(0) without time zone to timestamp(6) without time zone", value: "1.00"},
	{name: "length", ddl: "ALTER TABLE t ALTER v TYPE varchar(20); INSERT INTO t (id, n, v) VALUES (3, 1, 'longer than ten')",
		what: "from character varying(10) to character varying(20)", value: "1.00"},
	{name: "with a column that is dropped", ddl: "ALTER TABLE t ALTER n TYPE numeric(10,3); INSERT INTO t (id, n) VALUES (4, 1.234); ALTER TABLE t DROP v, ALTER n TYPE numeric(12,4); INSERT INTO t (id, n) VALUES (3, 1.2345)",
		what: "from numeric(8,2) to numeric(10,3)", value: "1.2345"},
	{name: "an array's", ddl: "ALTER TABLE t ALTER an TYPE numeric(10,3)[]; INSERT INTO t (id, n, an) VALUES (3, 1, '{1.234}')",
		what: "from numeric(8,2)[] to numeric(10,3)[]", value: "1.00", stops: true},
	{name: "narrower", ddl: "ALTER TABLE t ALTER n TYPE numeric(8,1); INSERT INTO t (id, n) VALUES (3, 1.2)",
		what: "from numeric(8,2) to numeric(8,1)", value: "1.2", stops: true},
	{name: "of partitions", ddl: "ALTER TABLE other ALTER n TYPE numeric(10,3); INSERT INTO other VALUES (102, 1.234); DELETE FROM other WHERE id = 1; INSERT INTO other VALUES (2, 1.235); " +
		"UPDATE other SET n = 9.876 WHERE id = 101; INSERT INTO t (id, n) VALUES (3, 1)",
		what: "from numeric(8,2) to numeric(10,3)", value: "1.00"},
}

func TestModifiersByWal2json(t *testing.T) {
	for _, c := range remodified {
		for _, follow := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s follow=%t", c.name, follow), func(t *testing.T) {
				t.Parallel()
				a := newModified(t)
				a.f.options.FollowDDL = follow
				execEach(t, a.src, c.ddl)
				if !follow || c.stops {
					statements, more := a.requireStop(t, c.what)
					require.Equal(t, "0", a.f.db.QueryValue(t, "SELECT count(*) FROM t WHERE id = 3"), "nothing of the changed form was applied")
					a.requireResumes(t, statements, c.stops, more)
				}
				a.mustRun(t)
				a.requireSame(t)
				a.requireSameColumns(t)
				require.Equal(t, c.value, a.f.db.QueryValue(t, "SELECT n FROM t WHERE id = 3"))
				noted, err := ledger.SchemaChanges(t.Context(), a.f.db.Conn(t))
				require.NoError(t, err)
				require.Equal(t, follow && !c.stops, len(noted) > 0)
			})
		}
	}
}
