package apply

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/shape"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

// altering is a pair of databases with the same table, whose source's DDL comes by the stream.
type altering struct {
	*old
	f *fixture
}

// alteringSchema is on both sides. Row 1 and 2 were copied.
const alteringSchema = `CREATE TYPE mood AS ENUM ('sad', 'happy');
	CREATE TABLE t (id int PRIMARY KEY, v varchar(10), n numeric(5,2), m mood, big text);
	CREATE TABLE other (id int PRIMARY KEY, v text);`

const alteringRows = `INSERT INTO t VALUES (1, 'one', 1.5, 'sad', repeat('x', 3000)), (2, 'two', 2, NULL, NULL); INSERT INTO other VALUES (1, 'a');`

func newAltering(t *testing.T, major int, sourceOnly, targetOnly string) *altering {
	t.Helper()
	o := newStreamed(t, major, alteringSchema+sourceOnly)
	a := &altering{old: o, f: o.fixture(t, alteringSchema+targetOnly, "t", "other")}
	a.f.options.Source = prepare.Catalogue{Source: o.src.Endpoint}
	a.recordShapes(t)
	a.src.Exec(t, alteringRows) // by the stream, like everything
	a.mustRun(t)
	return a
}

// recordShapes does what the migration does under the snapshot of the copy.
func (a *altering) recordShapes(t *testing.T) {
	t.Helper()
	var names []ident.Table
	for n := range a.f.options.Starts {
		names = append(names, n)
	}
	var shapes map[ident.Table]*shape.Definition
	require.NoError(t, pgkit.InTx(t.Context(), a.src.Conn(t), func(tx pgx.Tx) (err error) {
		shapes, err = pgkit.Definitions(t.Context(), tx, names)
		return err
	}))
	require.Len(t, shapes, len(names))
	require.NoError(t, ledger.SaveShapes(t.Context(), a.f.db.Conn(t), shapes))
}

func (a *altering) run(t *testing.T) error {
	t.Helper()
	return a.f.runUntil(t, a.open, a.end(t))
}

func (a *altering) mustRun(t *testing.T) {
	t.Helper()
	require.NoError(t, a.run(t))
}

func (a *altering) requireSame(t *testing.T) {
	t.Helper()
	for _, query := range []string{"SELECT to_jsonb(t) - 'big', md5(to_jsonb(t) ->> 'big') FROM t ORDER BY id", "SELECT to_jsonb(other) FROM other ORDER BY id"} {
		require.Equal(t, a.src.Dump(t, query), a.f.db.Dump(t, query))
	}
}

// columns are those of t as they count: names, types and defaults.
const columnsOfT = `SELECT attname, format_type(atttypid, atttypmod), pg_get_expr(adbin, adrelid) FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	WHERE a.attrelid = 'public.t'::regclass AND a.attnum > 0 AND NOT attisdropped ORDER BY attname`

func (a *altering) requireSameColumns(t *testing.T) {
	t.Helper()
	require.Equal(t, a.src.Dump(t, columnsOfT), a.f.db.Dump(t, columnsOfT))
}

// requireStop returns the statements for the target, and what the hint says after them.
func (a *altering) requireStop(t *testing.T, what string) (statements, more string) {
	t.Helper()
	f := requireFault(t, a.run(t), fault.Operator, CodeSchemaChanged)
	require.Contains(t, f.Error(), what)
	statements, ok := strings.CutPrefix(f.Hint, "run on the target: ")
	require.True(t, ok, f.Hint)
	statements, more, ok = strings.Cut(statements, "; then resume")
	require.True(t, ok, f.Hint)
	return statements, more
}

var alterations = []struct {
	name string
	ddl  string // on the source, with rows
	what string
	want string // the statements for the target
	// follows is true when replication.ddl: follow carries it over. Otherwise, after the statements, the values of these rows come
	// by refill.
	follows bool
	why     string
	refill  bool
	loose   bool // names, types and defaults are not all the same afterwards
}{
	{name: "column without default", ddl: "ALTER TABLE t ADD COLUMN c int; INSERT INTO t (id, c) VALUES (3, 7); UPDATE t SET c = 1 WHERE id = 1",
		what: `column "c" (integer) was added`, want: `ALTER TABLE "public"."t" ADD COLUMN "c" integer`, follows: true},
	{name: "column with a constant", ddl: "ALTER TABLE t ADD COLUMN c int DEFAULT 5; INSERT INTO t (id, c) VALUES (3, 7); UPDATE t SET v = 'x' WHERE id = 1",
		what: `column "c" (integer) was added`, want: `ALTER TABLE "public"."t" ADD COLUMN "c" integer DEFAULT 5`, follows: true},
	{name: "column with text", ddl: `ALTER TABLE t ADD COLUMN c varchar(20) DEFAULT 'it''s {a} "b", \c'; INSERT INTO t (id) VALUES (3)`,
		what: `column "c" (character varying(20)) was added`, want: `ALTER TABLE "public"."t" ADD COLUMN "c" character varying(20) DEFAULT 'it''s {a} "b", \c'::character varying`, follows: true},
	{name: "column with an array", ddl: `ALTER TABLE t ADD COLUMN c int[] DEFAULT '{1,2}'; INSERT INTO t (id) VALUES (3)`,
		what: `was added`, want: `ALTER TABLE "public"."t" ADD COLUMN "c" integer[] DEFAULT '{1,2}'::integer[]`, follows: true},
	{name: "column with an enum", ddl: `ALTER TABLE t ADD COLUMN c mood DEFAULT 'happy'; INSERT INTO t (id) VALUES (3); UPDATE t SET c = 'sad' WHERE id = 2`,
		what: `column "c" (public.mood) was added`, want: `ALTER TABLE "public"."t" ADD COLUMN "c" public.mood DEFAULT 'happy'::public.mood`, follows: true},
	{name: "column with a stable default", ddl: "ALTER TABLE t ADD COLUMN c timestamptz DEFAULT now(); INSERT INTO t (id) VALUES (3)",
		what: `was added`, follows: true},
	{name: "column whose default changed afterwards", ddl: "ALTER TABLE t ADD COLUMN c int DEFAULT 5; ALTER TABLE t ALTER c SET DEFAULT 6; INSERT INTO t (id) VALUES (3)",
		what: "was added", want: `ALTER TABLE "public"."t" ADD COLUMN "c" integer DEFAULT '5'::integer; ALTER TABLE "public"."t" ALTER COLUMN "c" SET DEFAULT 6`, follows: true},
	{name: "column whose default is gone", ddl: "ALTER TABLE t ADD COLUMN c int NOT NULL DEFAULT 5; ALTER TABLE t ALTER c DROP DEFAULT; INSERT INTO t (id, c) VALUES (3, 1)",
		what: "was added", want: `ALTER TABLE "public"."t" ADD COLUMN "c" integer DEFAULT '5'::integer; ALTER TABLE "public"."t" ALTER COLUMN "c" DROP DEFAULT`, follows: true},
	{name: "default that came later", ddl: "ALTER TABLE t ADD COLUMN c int; ALTER TABLE t ALTER c SET DEFAULT 6; INSERT INTO t (id) VALUES (3)",
		what: "was added", want: `ALTER TABLE "public"."t" ADD COLUMN "c" integer; ALTER TABLE "public"."t" ALTER COLUMN "c" SET DEFAULT 6`, follows: true},
	{name: "volatile default", ddl: "ALTER TABLE t ADD COLUMN c float8 DEFAULT random(); INSERT INTO t (id) VALUES (3)",
		what: "was added", want: `ALTER TABLE "public"."t" ADD COLUMN "c" double precision; ALTER TABLE "public"."t" ALTER COLUMN "c" SET DEFAULT random()`, why: "may have values of their own", refill: true},
	{name: "identity column", ddl: "ALTER TABLE t ADD COLUMN c int GENERATED BY DEFAULT AS IDENTITY; INSERT INTO t (id) VALUES (3)",
		what: "was added", want: `ALTER TABLE "public"."t" ADD COLUMN "c" integer`, why: "a number of its own", refill: true},
	{name: "dropped column", ddl: "INSERT INTO t (id, n) VALUES (4, 3); ALTER TABLE t DROP COLUMN n; INSERT INTO t (id) VALUES (3); UPDATE t SET v = 'x' WHERE id IN (1, 4)",
		what: `column "n" was dropped`, want: `ALTER TABLE "public"."t" DROP COLUMN "n"`, follows: true},
	{name: "two statements at once", ddl: "ALTER TABLE t ADD COLUMN c int DEFAULT 5, DROP COLUMN n, ALTER v TYPE text; UPDATE t SET c = 1 WHERE id = 1",
		what: `column "v" changed its type from character varying(10) to text; column "c" (integer) was added; column "n" was dropped`,
		want: `ALTER TABLE "public"."t" ALTER COLUMN "v" TYPE text; ALTER TABLE "public"."t" ADD COLUMN "c" integer DEFAULT 5; ALTER TABLE "public"."t" DROP COLUMN "n"`, follows: true},
	{name: "longer varchar", ddl: "ALTER TABLE t ALTER v TYPE varchar(20); INSERT INTO t (id, v) VALUES (3, 'longer than ten')",
		what: "from character varying(10) to character varying(20)", want: `ALTER TABLE "public"."t" ALTER COLUMN "v" TYPE character varying(20)`, follows: true},
	{name: "varchar to text", ddl: "ALTER TABLE t ALTER v TYPE text; INSERT INTO t (id, v) VALUES (3, 'longer than ten')",
		what: "to text", want: `ALTER TABLE "public"."t" ALTER COLUMN "v" TYPE text`, follows: true},
	{name: "int to bigint behind a row", ddl: "INSERT INTO t (id) VALUES (7); ALTER TABLE t ALTER id TYPE bigint; INSERT INTO t (id) VALUES (5000000000)",
		what: "from integer to bigint", want: `ALTER TABLE "public"."t" ALTER COLUMN "id" TYPE bigint`, follows: true},
	{name: "int to bigint", ddl: "ALTER TABLE t ALTER id TYPE bigint; INSERT INTO t (id) VALUES (5000000000); UPDATE t SET v = 'x' WHERE id = 1",
		what: "from integer to bigint", want: `ALTER TABLE "public"."t" ALTER COLUMN "id" TYPE bigint`, follows: true},
	{name: "numeric precision", ddl: "ALTER TABLE t ALTER n TYPE numeric(8,2); INSERT INTO t (id, n) VALUES (3, 123456.78)",
		what: "from numeric(5,2) to numeric(8,2)", want: `ALTER TABLE "public"."t" ALTER COLUMN "n" TYPE numeric(8,2)`, follows: true},
	{name: "numeric scale", ddl: "ALTER TABLE t ALTER n TYPE numeric(8,3); INSERT INTO t (id, n) VALUES (3, 12345.678)",
		what: "to numeric(8,3)", want: `ALTER TABLE "public"."t" ALTER COLUMN "n" TYPE numeric(8,3)`, follows: true},
	{name: "narrower", ddl: "ALTER TABLE t ALTER v TYPE varchar(5); INSERT INTO t (id, v) VALUES (3, 'short')",
		what: "to character varying(5)", want: `ALTER TABLE "public"."t" ALTER COLUMN "v" TYPE character varying(5)`, why: "USING", refill: true},
	{name: "another type", ddl: "ALTER TABLE t ALTER n TYPE int USING (n * 100)::int; INSERT INTO t (id, n) VALUES (3, 5)",
		what: "from numeric(5,2) to integer", want: `ALTER TABLE "public"."t" ALTER COLUMN "n" TYPE integer`, why: "USING", refill: true},
	{name: "renamed", ddl: "ALTER TABLE t RENAME v TO w; INSERT INTO t (id, w) VALUES (3, 'x'); UPDATE t SET w = 'y' WHERE id = 1",
		what: `column "v" was renamed to "w"`, want: `ALTER TABLE "public"."t" RENAME COLUMN "v" TO "w"`},
	{name: "renamed and wider", ddl: "ALTER TABLE t RENAME v TO w; ALTER TABLE t ALTER w TYPE text; INSERT INTO t (id, w) VALUES (3, 'longer than ten')",
		what: `column "v" was renamed to "w"; column "w" changed its type`, want: `ALTER TABLE "public"."t" RENAME COLUMN "v" TO "w"; ALTER TABLE "public"."t" ALTER COLUMN "w" TYPE text`},
	{name: "dropped and added with another type", ddl: "ALTER TABLE t DROP COLUMN n, ADD COLUMN n text DEFAULT 'q'; INSERT INTO t (id, n) VALUES (3, 'x')",
		what: `column "n" was dropped and added anew`, want: `ALTER TABLE "public"."t" DROP COLUMN "n"; ALTER TABLE "public"."t" ADD COLUMN "n" text DEFAULT 'q'::text`, why: "the stream does not tell when", refill: true},
	{name: "a further column before it is read", ddl: "ALTER TABLE t ADD COLUMN c int DEFAULT 5; INSERT INTO t (id) VALUES (3); ALTER TABLE t ADD COLUMN d text DEFAULT 'x'; INSERT INTO t (id) VALUES (4)",
		what: `column "c" (integer) was added`, follows: true, loose: true},
}

func TestAlteredTables(t *testing.T) {
	for _, c := range alterations {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			t.Run("stop", func(t *testing.T) {
				t.Parallel()
				a := newAltering(t, 15, "", "")
				applied := a.f.last().AppliedLSN
				execEach(t, a.src, c.ddl)
				statements, more := a.requireStop(t, c.what)
				if c.want != "" {
					require.Equal(t, c.want, statements)
				}
				require.Contains(t, more, c.why)
				require.Equal(t, c.refill, strings.Contains(more, "run on the source: UPDATE"), more)
				require.GreaterOrEqual(t, a.f.last().AppliedLSN, applied)
				require.Equal(t, "0", a.f.db.QueryValue(t, "SELECT count(*) FROM t WHERE id = 3"), "nothing of the changed form was applied")
				a.requireResumes(t, statements, c.refill, more)
				if !c.loose && !c.refill {
					a.requireSameColumns(t)
				}
			})
			t.Run("follow", func(t *testing.T) {
				t.Parallel()
				a := newAltering(t, 15, "", "")
				a.f.options.FollowDDL = true
				execEach(t, a.src, c.ddl)
				if !c.follows {
					statements, more := a.requireStop(t, c.what)
					a.requireResumes(t, statements, c.refill, more)
					return
				}
				a.mustRun(t)
				a.requireSame(t)
				a.requireSameColumns(t)
				noted, err := ledger.SchemaChanges(t.Context(), a.f.db.Conn(t))
				require.NoError(t, err)
				require.NotEmpty(t, noted)
				require.Equal(t, ident.Table{Schema: "public", Name: "t"}, noted[0].Table)
				require.NotZero(t, noted[0].LSN)
			})
		})
	}
}

// requireResumes does what the hint says, as often as the stream stops, and compares both sides.
func (a *altering) requireResumes(t *testing.T, statements string, refill bool, more string) {
	t.Helper()
	for range 3 {
		execEach(t, a.f.db, statements)
		err := a.run(t)
		if err == nil {
			break
		}
		f := requireFault(t, err, fault.Operator, CodeSchemaChanged)
		statements, _, _ = strings.Cut(strings.TrimPrefix(f.Hint, "run on the target: "), "; then resume")
	}
	a.mustRun(t)
	if refill {
		_, update, _ := strings.Cut(more, "run on the source: ")
		update, _, _ = strings.Cut(update, ", so that")
		a.src.Exec(t, update)
		a.mustRun(t)
	}
	a.requireSame(t)
}

// execEach runs each statement in a transaction of its own.
func execEach(t *testing.T, db *pgtest.Database, statements string) {
	t.Helper()
	for _, sql := range strings.Split(statements, "; ") {
		db.Exec(t, sql)
	}
}

// A column that came and went while nobody looked stops nothing: its values do not matter.
func TestColumnThatIsGoneAgain(t *testing.T) {
	for _, follow := range []bool{false, true} {
		a := newAltering(t, 15, "", "")
		a.f.options.FollowDDL = follow
		execEach(t, a.src, "ALTER TABLE t ADD COLUMN c int DEFAULT 5; INSERT INTO t (id, c) VALUES (3, 7); UPDATE t SET c = 8; ALTER TABLE t DROP COLUMN c; INSERT INTO t (id) VALUES (4); UPDATE t SET v = 'x' WHERE id = 3")
		a.mustRun(t)
		a.requireSame(t)
		a.requireSameColumns(t)
		execEach(t, a.src, "ALTER TABLE t ADD COLUMN d int DEFAULT 6; UPDATE t SET d = 1 WHERE id = 3")
		if !follow {
			statements, more := a.requireStop(t, `column "d"`)
			require.Empty(t, more)
			execEach(t, a.f.db, statements)
		}
		a.mustRun(t)
		a.requireSame(t)
		a.requireSameColumns(t)
	}
}

// A column that was renamed to another since is not taken for one that is gone.
func TestNewColumnThatIsRenamed(t *testing.T) {
	a := newAltering(t, 15, "", "")
	a.f.options.FollowDDL = true
	execEach(t, a.src, "ALTER TABLE t ADD COLUMN c int DEFAULT 5; INSERT INTO t (id, c) VALUES (3, 7); ALTER TABLE t RENAME c TO d; INSERT INTO t (id, d) VALUES (4, 8)")
	statements, more := a.requireStop(t, `column "c" (integer) was added`)
	require.Contains(t, more, "in this form any more")
	execEach(t, a.f.db, statements)
	statements, more = a.requireStop(t, `column "d" (integer) was added; column "c" was dropped`)
	require.Contains(t, more, "or was renamed")
	a.requireResumes(t, statements, true, more)
}

// A transaction changes rows, drops the column and changes rows again: what a person runs on the target before resume has no place
// for the first rows' values, which do not matter any more.
func TestStoppedInsideOfATransaction(t *testing.T) {
	a := newAltering(t, 15, "", "")
	a.src.Exec(t, "INSERT INTO other VALUES (2, 'before')")
	a.src.Exec(t, `INSERT INTO t (id, n) VALUES (4, 3); UPDATE t SET n = 9 WHERE id = 1; ALTER TABLE t DROP COLUMN n; INSERT INTO t (id) VALUES (3); UPDATE t SET v = 'x' WHERE id IN (1, 4)`)
	statements, _ := a.requireStop(t, `column "n" was dropped`)
	require.Equal(t, "1", a.f.db.QueryValue(t, "SELECT count(*) FROM other WHERE id = 2"), "what was committed before is there")
	execEach(t, a.f.db, statements)
	a.mustRun(t)
	a.requireSame(t)
	a.requireSameColumns(t)
}

// DDL in the middle of a transaction that changes rows before and after it, other tables among them.
func TestFollowedInsideOfATransaction(t *testing.T) {
	for _, replica := range []bool{true, false} {
		a := newAltering(t, 15, "", "")
		a.f.options.FollowDDL, a.f.options.ReplicaRole, a.f.options.BatchChanges = true, replica, 3
		a.src.Exec(t, `BEGIN; INSERT INTO t (id, v, n) SELECT i, 'x', 1 FROM generate_series(10, 20) i; UPDATE other SET v = 'b'; UPDATE t SET n = 4 WHERE id = 12;
			ALTER TABLE t DROP COLUMN n, ADD COLUMN c int DEFAULT 5; UPDATE t SET c = id WHERE id > 15; INSERT INTO other VALUES (2, 'c'); DELETE FROM t WHERE id = 11;
			ALTER TABLE t ALTER v TYPE text; INSERT INTO t (id, v) VALUES (30, 'longer than ten'); COMMIT`)
		a.mustRun(t)
		a.requireSame(t)
		a.requireSameColumns(t)
	}
}

// A batch with DDL in it that is refused for another reason is rolled back with it, and applied again in order.
func TestFollowedInABatchThatIsReplayed(t *testing.T) {
	a := newAltering(t, 15, "CREATE UNIQUE INDEX t_v ON t (v)", "CREATE UNIQUE INDEX t_v ON t (v)")
	a.f.options.FollowDDL = true
	a.src.Exec(t, `ALTER TABLE t ADD COLUMN c int DEFAULT 5; INSERT INTO t (id, v) VALUES (3, 'three'); UPDATE t SET v = 'four' WHERE id = 1; UPDATE t SET v = 'one' WHERE id = 2;
		UPDATE t SET v = 'two', c = 8 WHERE id = 1; INSERT INTO other VALUES (7, 'x')`)
	a.mustRun(t)
	a.requireSame(t)
	a.requireSameColumns(t)
}

// What was followed is known after a restart, though the stream describes nothing anew; and a type that changed while nobody
// looked is seen.
func TestKnownAcrossRestarts(t *testing.T) {
	a := newAltering(t, 15, "", "")
	a.src.Exec(t, "ALTER TABLE t ALTER n TYPE numeric(8,2); UPDATE t SET n = 7 WHERE id = 1") // a value that the old type has, too
	statements, _ := a.requireStop(t, `column "n" changed its type from numeric(5,2) to numeric(8,2)`)
	a.f.db.Exec(t, statements)
	a.mustRun(t)
	a.src.Exec(t, "UPDATE t SET n = 8 WHERE id = 1")
	a.mustRun(t)
	a.requireSame(t)
}

// The worker dies between the statement on the target and resume, and in the middle of what is followed.
func TestDeathAroundAChange(t *testing.T) {
	a := newAltering(t, 15, "", "")
	killer := a.f.db.Conn(t)
	kill := func() {
		_, err := killer.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'timeferry apply%'")
		require.NoError(t, err)
	}
	a.src.Exec(t, "ALTER TABLE t ADD COLUMN c int DEFAULT 5; INSERT INTO t (id, c) VALUES (3, 7); INSERT INTO t (id) VALUES (4)")
	statements, _ := a.requireStop(t, "was added")
	a.f.db.Exec(t, statements)
	kill()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a worker that dies as soon as it starts
	require.ErrorIs(t, Run(ctx, a.f.options, a.open, nil), context.Canceled)
	a.mustRun(t)
	a.requireSame(t)

	a.f.options.FollowDDL, a.f.options.BatchChanges = true, 50
	a.src.Exec(t, `BEGIN; INSERT INTO t (id) SELECT i FROM generate_series(100, 500) i; ALTER TABLE t ADD COLUMN d text DEFAULT 'd'; INSERT INTO t (id) SELECT i FROM generate_series(600, 4000) i; COMMIT`)
	end := a.end(t)
	stop := a.f.start(t, a.open)
	for range 20 {
		kill()
	}
	eventually(t, "all is applied", func() bool { return a.f.last().AppliedLSN >= end })
	require.ErrorIs(t, stop(), context.Canceled)
	a.requireSame(t)
	a.requireSameColumns(t)
	noted, err := ledger.SchemaChanges(t.Context(), a.f.db.Conn(t))
	require.NoError(t, err)
	require.Len(t, noted, 1)
}

// What the stream does not describe: labels of enum types, constraints, NOT NULL.
func TestRefusedBecauseOfDDL(t *testing.T) {
	for _, c := range []struct{ name, ddl, what, want string }{
		{"new label", "ALTER TYPE mood ADD VALUE 'fine' AFTER 'sad'; INSERT INTO t (id, m) VALUES (3, 'fine')", "type public.mood has a new label 'fine'",
			`ALTER TYPE "public"."mood" ADD VALUE IF NOT EXISTS 'fine' AFTER 'sad'`},
		{"first label", "ALTER TYPE mood ADD VALUE 'aa' BEFORE 'sad'; ALTER TYPE mood ADD VALUE 'bb' BEFORE 'sad'; INSERT INTO t (id, m) VALUES (3, 'bb'), (4, 'aa')", "has a new label 'aa'",
			`ALTER TYPE "public"."mood" ADD VALUE IF NOT EXISTS 'aa' BEFORE 'sad'; ALTER TYPE "public"."mood" ADD VALUE IF NOT EXISTS 'bb' AFTER 'aa'`},
		{"renamed label", "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'; INSERT INTO t (id, m) VALUES (3, 'blue')", "label 'sad' of type public.mood is now 'blue'",
			`ALTER TYPE "public"."mood" RENAME VALUE 'sad' TO 'blue'`},
		{"NOT NULL dropped", "ALTER TABLE other ALTER v DROP NOT NULL; INSERT INTO other (id) VALUES (3)", `column "v" may be NULL`, `ALTER TABLE "public"."other" ALTER COLUMN "v" DROP NOT NULL`},
		{"check dropped", "ALTER TABLE other DROP CONSTRAINT sane; INSERT INTO other (id, v) VALUES (3, 'insane')", `constraint "sane" was dropped`, `ALTER TABLE "public"."other" DROP CONSTRAINT "sane"`},
		{"index dropped", "DROP INDEX other_v; INSERT INTO other (id, v) VALUES (3, 'a')", `constraint "other_v" was dropped`, `DROP INDEX "public"."other_v"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const rules = "ALTER TABLE other ALTER v SET NOT NULL, ADD CONSTRAINT sane CHECK (v <> 'insane'); CREATE UNIQUE INDEX other_v ON other (v)"
			for _, follow := range []bool{false, true} {
				a := newAltering(t, 15, rules, rules)
				a.f.options.FollowDDL = follow
				execEach(t, a.src, c.ddl)
				if follow && strings.Contains(c.name, "new label") {
					a.mustRun(t)
					a.requireSame(t)
					continue
				}
				if follow && strings.Contains(c.name, "first label") {
					a.mustRun(t)
					a.requireSame(t)
					const labels = "SELECT enumlabel FROM pg_enum WHERE enumtypid = 'mood'::regtype ORDER BY enumsortorder"
					require.Equal(t, a.src.Dump(t, labels), a.f.db.Dump(t, labels))
					continue
				}
				statements, _ := a.requireStop(t, c.what)
				require.Equal(t, c.want, statements)
				a.requireResumes(t, statements, false, "")
			}
		})
	}
}

// A hypertable, and a partition tree that became one: the statement is for the table as the target has it.
func TestAlteredHypertables(t *testing.T) {
	const source = `CREATE TABLE m (ts timestamptz NOT NULL, dev int, v int, PRIMARY KEY (ts, dev)) PARTITION BY RANGE (ts);
		CREATE TABLE m_1 PARTITION OF m FOR VALUES FROM ('2024-01-01') TO ('2024-02-01'); CREATE TABLE m_2 PARTITION OF m FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');`
	const target = `CREATE TABLE m (ts timestamptz NOT NULL, dev int, v int, PRIMARY KEY (ts, dev)); SELECT create_hypertable('m', 'ts');`
	for _, major := range []int{12, 15} {
		for _, follow := range []bool{false, true} {
			o := newStreamed(t, major, source)
			a := &altering{old: o, f: o.fixture(t, target, "m")}
			a.f.options.Source, a.f.options.FollowDDL = prepare.Catalogue{Source: o.src.Endpoint}, follow
			a.recordLeafShapes(t)
			a.src.Exec(t, "INSERT INTO m SELECT timestamptz '2024-01-10' + i * interval '1 day', i, 1 FROM generate_series(1, 40) i")
			a.mustRun(t)
			a.src.Exec(t, `ALTER TABLE m ALTER v TYPE bigint; ALTER TABLE m ADD COLUMN c int DEFAULT 5; INSERT INTO m VALUES ('2024-01-10', 1, 5000000000, 7), ('2024-02-10', 1, 5000000000, 7);
				UPDATE m SET c = 9 WHERE dev > 20; DELETE FROM m WHERE dev = 7; UPDATE m SET ts = ts + interval '25 days' WHERE dev = 3`)
			if !follow {
				statements, _ := a.requireStop(t, "was added")
				require.Equal(t, `ALTER TABLE "public"."m" ALTER COLUMN "v" TYPE bigint; ALTER TABLE "public"."m" ADD COLUMN "c" integer DEFAULT 5`, statements)
				a.f.db.Exec(t, statements)
			}
			a.mustRun(t)
			query := "SELECT ts AT TIME ZONE 'UTC', dev, v, c FROM m ORDER BY 1, 2"
			require.Equal(t, a.src.Dump(t, query), a.f.db.Dump(t, query))
		}
	}
}

// recordLeafShapes is recordShapes with the leaves that come by their own names.
func (a *altering) recordLeafShapes(t *testing.T) {
	t.Helper()
	for n := range a.leaves {
		a.f.options.Starts[n] = 0
	}
	a.recordShapes(t)
	for n := range a.leaves {
		delete(a.f.options.Starts, n)
	}
}

// A table comes by its new name; what was committed before that is applied under the old one.
func TestRenamedTable(t *testing.T) {
	a := newAltering(t, 15, "", "")
	execEach(t, a.src, "INSERT INTO other VALUES (2, 'b'); ALTER TABLE other RENAME TO another; INSERT INTO another VALUES (3, 'c'); UPDATE another SET v = 'd' WHERE id = 1")
	f := requireFault(t, a.run(t), fault.Operator, CodeSchemaChanged)
	require.Contains(t, f.Error(), "renamed to public.another")
	require.Contains(t, f.Hint, `run on the target: ALTER TABLE "public"."other" RENAME TO "another"; then resume`)
	require.Equal(t, "1", a.f.db.QueryValue(t, "SELECT count(*) FROM other WHERE id = 2"))
	a.f.db.Exec(t, "ALTER TABLE other RENAME TO another")
	from, to := ident.Table{Schema: "public", Name: "other"}, ident.Table{Schema: "public", Name: "another"}
	require.NoError(t, ledger.RenameTable(t.Context(), a.f.db.Conn(t), from, to)) // as the activity does when it starts
	a.f.options.Starts[to] = a.f.options.Starts[from]
	delete(a.f.options.Starts, from)
	a.mustRun(t)
	const query = "SELECT * FROM another ORDER BY id"
	require.Equal(t, a.src.Dump(t, query), a.f.db.Dump(t, query))
}

// Somebody follows on the target while changes are applied. A session that has prepared its statement for the old type must not go
// on with it: a real's 0.1 is no float8's 0.1.
func TestStatementsOfAnAlteredTable(t *testing.T) {
	for _, c := range []struct{ from, to, value string }{{"real", "float8", "0.1"}, {"int", "text", "007"}, {"timestamp", "timestamptz", "2024-01-01 00:00:00+05"}} {
		t.Run(c.from+" to "+c.to, func(t *testing.T) {
			src := pgtest.Source(t)
			f := newFollower(t, src, followSetup{replica: true, tables: []string{"t"}, both: "CREATE TABLE t (id int PRIMARY KEY, v " + c.from + ")"})
			src.Exec(t, "INSERT INTO t VALUES (1, NULL)")
			f.await(t)
			for _, db := range []*pgtest.Database{f.db, src} {
				db.Exec(t, "ALTER TABLE t ALTER v TYPE "+c.to)
			}
			src.Exec(t, "INSERT INTO t VALUES (2, '"+c.value+"')")
			f.await(t)
			require.Equal(t, src.QueryValue(t, "SELECT v::text FROM t WHERE id = 2"), f.db.QueryValue(t, "SELECT v::text FROM t WHERE id = 2"))
		})
	}
}
