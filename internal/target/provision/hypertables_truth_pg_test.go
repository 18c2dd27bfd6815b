package provision_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/source/extract"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/provision"
	"timeferry/internal/target/survey"
	"timeferry/internal/testkit/pgtest"
)

// truth is one thing that preflight speaks of, and what TimescaleDB does with it. T stands for the table's name.
type truth struct {
	name   string
	table  string // on the source
	rows   string // on both sides, the target's table being a hypertable
	code   string // of the finding; "" for none
	fatal  bool   // the finding is an error, and the target refuses
	object string // of the finding, if not T
	spec   contract.Hypertable
}

const function = "CREATE FUNCTION f_T() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"

var truths = []truth{
	{name: "clean", table: "CREATE TABLE T (ts timestamptz NOT NULL, v int, PRIMARY KEY (v, ts))", rows: "INSERT INTO T VALUES (now(), 1), ('infinity', 2)"},
	{name: "date", table: "CREATE TABLE T (ts date PRIMARY KEY)", rows: "INSERT INTO T VALUES ('infinity'), (now())", spec: contract.Hypertable{ChunkInterval: "1 month"}},
	{name: "timestamp", table: "CREATE TABLE T (ts timestamp PRIMARY KEY)", rows: "INSERT INTO T VALUES (now())", spec: contract.Hypertable{ChunkInterval: "36 hours"}},
	{name: "smallint", table: "CREATE TABLE T (ts smallint PRIMARY KEY)", rows: "INSERT INTO T VALUES (-5), (1000)", spec: contract.Hypertable{ChunkInterval: "32767"}},
	{name: "integer", table: "CREATE TABLE T (ts int PRIMARY KEY)", rows: "INSERT INTO T VALUES (-5), (1000)", spec: contract.Hypertable{ChunkInterval: "100"}},
	{name: "bigint identity", table: "CREATE TABLE T (ts bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int)", rows: "INSERT INTO T (v) VALUES (1)", spec: contract.Hypertable{ChunkInterval: "100"}},
	{name: "null allowed", table: "CREATE TABLE T (ts timestamptz)", rows: "INSERT INTO T VALUES (now())", code: plan.CodeHypertableNullable},
	{name: "null there", table: "CREATE TABLE T (ts timestamptz)", rows: "INSERT INTO T VALUES (NULL)", code: plan.CodeHypertableNullable, fatal: true},
	{name: "before all times", table: "CREATE TABLE T (ts timestamptz PRIMARY KEY)", rows: "INSERT INTO T VALUES ('-infinity')", code: plan.CodeHypertableTimeRange, fatal: true},
	{name: "after all times", table: "CREATE TABLE T (ts timestamp PRIMARY KEY)", rows: "INSERT INTO T VALUES ('294250-01-01')", code: plan.CodeHypertableTimeRange, fatal: true},
	{name: "date after all times", table: "CREATE TABLE T (ts date PRIMARY KEY)", rows: "INSERT INTO T VALUES ('300000-01-01')", code: plan.CodeHypertableTimeRange, fatal: true},
	{name: "text as time", table: "CREATE TABLE T (ts text NOT NULL)", code: plan.CodeHypertableTimeType, fatal: true},
	{name: "domain as time", table: "CREATE DOMAIN d_T AS timestamptz; CREATE TABLE T (ts d_T NOT NULL)", code: plan.CodeHypertableTimeType, fatal: true},
	{name: "generated time", table: "CREATE TABLE T (x timestamp NOT NULL, ts date GENERATED ALWAYS AS (x::date) STORED NOT NULL)", code: plan.CodeHypertableGenerated, fatal: true},
	{name: "generated space", table: "CREATE TABLE T (ts timestamp NOT NULL, x int, s int GENERATED ALWAYS AS (x) STORED)", code: plan.CodeHypertableGenerated, fatal: true,
		spec: contract.Hypertable{SpaceColumn: "s", SpacePartitions: 2}},
	{name: "other generated", table: "CREATE TABLE T (ts timestamp NOT NULL, x int, s int GENERATED ALWAYS AS (x) STORED)", rows: "INSERT INTO T VALUES (now(), 1)"},
	{name: "part of a day", table: "CREATE TABLE T (ts date NOT NULL)", code: plan.CodeHypertableInterval, fatal: true, spec: contract.Hypertable{ChunkInterval: "36 hours"}},
	{name: "no interval", table: "CREATE TABLE T (ts date NOT NULL)", code: plan.CodeHypertableInterval, fatal: true, spec: contract.Hypertable{ChunkInterval: "7 potatoes"}},
	{name: "zero", table: "CREATE TABLE T (ts timestamptz NOT NULL)", rows: "INSERT INTO T VALUES (now())", code: plan.CodeHypertableInterval, fatal: true, spec: contract.Hypertable{ChunkInterval: "0 days"}},
	{name: "backwards", table: "CREATE TABLE T (ts timestamptz NOT NULL)", rows: "INSERT INTO T VALUES (now())", code: plan.CodeHypertableInterval, fatal: true, spec: contract.Hypertable{ChunkInterval: "-1 day"}},
	{name: "too long", table: "CREATE TABLE T (ts timestamptz NOT NULL)", rows: "INSERT INTO T VALUES (now())", code: plan.CodeHypertableInterval, fatal: true, spec: contract.Hypertable{ChunkInterval: "1000000 years"}},
	{name: "too great", table: "CREATE TABLE T (ts smallint NOT NULL)", code: plan.CodeHypertableInterval, fatal: true, spec: contract.Hypertable{ChunkInterval: "32768"}},
	{name: "interval for a number", table: "CREATE TABLE T (ts int NOT NULL)", code: plan.CodeHypertableInterval, fatal: true},
	{name: "json space", table: "CREATE TABLE T (ts timestamptz NOT NULL, s json)", rows: "INSERT INTO T VALUES (now(), '1')", code: plan.CodeHypertableSpaceType, fatal: true, spec: contract.Hypertable{SpaceColumn: "s", SpacePartitions: 2}},
	{name: "varchar space", table: "CREATE TABLE T (ts timestamptz NOT NULL, s varchar(5))", rows: "INSERT INTO T VALUES (now(), 'a'), (now(), NULL)", spec: contract.Hypertable{SpaceColumn: "s", SpacePartitions: 2}},
	{name: "enum space", table: "CREATE TYPE e_T AS ENUM ('a'); CREATE TABLE T (ts timestamptz NOT NULL, s e_T)", rows: "INSERT INTO T VALUES (now(), 'a')", spec: contract.Hypertable{SpaceColumn: "s", SpacePartitions: 2}},
	{name: "domain space", table: "CREATE DOMAIN d_T AS int; CREATE TABLE T (ts timestamptz NOT NULL, s d_T)", rows: "INSERT INTO T VALUES (now(), 1)", spec: contract.Hypertable{SpaceColumn: "s", SpacePartitions: 2}},
	{name: "rule", table: "CREATE TABLE T (ts timestamptz NOT NULL); CREATE RULE r AS ON DELETE TO T DO INSTEAD NOTHING", code: plan.CodeHypertableRule, fatal: true},
	{name: "row trigger with transition table", table: "CREATE TABLE T (ts timestamptz NOT NULL);" + function + "CREATE TRIGGER t AFTER INSERT ON T REFERENCING NEW TABLE AS n FOR EACH ROW EXECUTE FUNCTION f_T()",
		code: plan.CodeHypertableTrigger, fatal: true},
	{name: "the same, switched off", table: "CREATE TABLE T (ts timestamptz NOT NULL);" + function + "CREATE TRIGGER t AFTER INSERT ON T REFERENCING NEW TABLE AS n FOR EACH ROW EXECUTE FUNCTION f_T(); ALTER TABLE T DISABLE TRIGGER t"},
	{name: "other triggers", table: "CREATE TABLE T (ts timestamptz NOT NULL);" + function + "CREATE TRIGGER t AFTER INSERT ON T REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION f_T(); CREATE CONSTRAINT TRIGGER c AFTER INSERT ON T DEFERRABLE FOR EACH ROW EXECUTE FUNCTION f_T()"},
	{name: "exclusion without the time", table: "CREATE TABLE T (ts timestamptz NOT NULL, r int4range, EXCLUDE USING gist (r WITH &&))", code: plan.CodeHypertableExclusion, fatal: true},
	{name: "exclusion with it", table: "CREATE TABLE T (ts timestamptz NOT NULL, i int, EXCLUDE USING btree (i WITH =, ts WITH =))"},
	{name: "no inherit", table: "CREATE TABLE T (ts timestamptz NOT NULL, v int, CHECK (v > 0) NO INHERIT)", code: plan.CodeHypertableNoInherit, fatal: true},
	{name: "unlogged", table: "CREATE UNLOGGED TABLE T (ts timestamptz NOT NULL)", code: plan.CodeHypertableUnlogged, fatal: true},
	{name: "has children", table: "CREATE TABLE T (ts timestamptz NOT NULL); CREATE TABLE c_T () INHERITS (T)", code: plan.CodeHypertableInheritance, fatal: true},
	{name: "row security", table: "CREATE TABLE T (ts timestamptz NOT NULL, v int); ALTER TABLE T ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON T USING (v > 0)", rows: "INSERT INTO T VALUES (now(), 1)"},
	{name: "identities", table: "CREATE TABLE T (id bigint GENERATED ALWAYS AS IDENTITY, ts timestamptz NOT NULL, u int NOT NULL); CREATE UNIQUE INDEX u_T ON T (u, ts); ALTER TABLE T REPLICA IDENTITY USING INDEX u_T", rows: "INSERT INTO T (ts, u) VALUES (now(), 1)"},
	{name: "key", table: "CREATE TABLE T (id int PRIMARY KEY, ts timestamptz NOT NULL)", code: plan.CodeHypertableKey, fatal: true},
	{name: "key without space", table: "CREATE TABLE T (id int, ts timestamptz, s int NOT NULL, UNIQUE (id, ts), PRIMARY KEY (s, ts))", code: plan.CodeHypertableKey, fatal: true, spec: contract.Hypertable{SpaceColumn: "s", SpacePartitions: 2}},
	{name: "deferrable key", table: "CREATE TABLE T (id int, ts timestamptz NOT NULL, UNIQUE (id, ts) DEFERRABLE)"},
	{name: "key extended", table: "CREATE TABLE T (id int PRIMARY KEY, ts timestamptz NOT NULL)", rows: "INSERT INTO T VALUES (1, now())", code: plan.CodeHypertableKeyExtended, spec: contract.Hypertable{Key: contract.KeyExtend}},
	{name: "key dropped", table: "CREATE TABLE T (id int PRIMARY KEY, ts timestamptz NOT NULL)", rows: "INSERT INTO T VALUES (1, now())", code: plan.CodeHypertableKeyDropped, spec: contract.Hypertable{Key: contract.KeyDrop}},
	{name: "key extended, referred to", table: "CREATE TABLE T (id int PRIMARY KEY, ts timestamptz NOT NULL); CREATE TABLE r_T (i int REFERENCES T)", code: plan.CodeHypertableKeyUsed, object: "public.r_T", fatal: true, spec: contract.Hypertable{Key: contract.KeyExtend}},
	{name: "key dropped, referred to", table: "CREATE TABLE T (id int PRIMARY KEY, ts timestamptz NOT NULL); CREATE TABLE r_T (i int REFERENCES T)", code: plan.CodeHypertableKeyUsed, object: "public.r_T", fatal: true, spec: contract.Hypertable{Key: contract.KeyDrop}},
	{name: "key extended, grouped by", table: "CREATE TABLE T (id int PRIMARY KEY, ts timestamptz NOT NULL); CREATE VIEW r_T AS SELECT id, ts FROM T GROUP BY id", code: plan.CodeHypertableKeyUsed, object: "public.r_T", fatal: true, spec: contract.Hypertable{Key: contract.KeyExtend}},
	{name: "whole key referred to", table: "CREATE TABLE T (id int, ts timestamptz, PRIMARY KEY (id, ts)); CREATE TABLE r_T (i int, t timestamptz, FOREIGN KEY (i, t) REFERENCES T)"},
	{name: "refers to another", table: "CREATE TABLE r_T (id int PRIMARY KEY); CREATE TABLE T (ts timestamptz NOT NULL, r int REFERENCES r_T ON DELETE SET NULL)", rows: "INSERT INTO T VALUES (now(), NULL)"},
	{name: "refers to itself", table: "CREATE TABLE T (ts timestamptz PRIMARY KEY, r timestamptz REFERENCES T)", code: plan.CodeHypertableForeignKey, fatal: true},
}

// What preflight says of tables that are to become hypertables is what TimescaleDB does with them.
func TestHypertableFindingsAreTrue(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	spec, err := contract.ParseSpec([]byte(`{"name": "x", "source": {"host": "h", "database": "d", "user": "u", "password": {"env": "P"}}, "target": {"host": "h", "database": "d", "user": "u", "password": {"env": "P"}}}`))
	require.NoError(t, err)
	for i, c := range truths {
		name := fmt.Sprintf("t%d", i)
		named := strings.NewReplacer("_T", "_"+name, " T ", " "+name+" ", " T;", " "+name+";", " T)", " "+name+")", "(T)", "("+name+")")
		c.table, c.rows, c.object = named.Replace(c.table), named.Replace(c.rows), named.Replace(c.object)
		mustMasterExec(t, src, c.table)
		if c.rows != "" {
			mustMasterExec(t, src, c.rows)
		}
		c.spec.Table, c.spec.TimeColumn = "public."+name, "ts"
		if c.spec.ChunkInterval == "" {
			c.spec.ChunkInterval = "7 days"
		}
		if c.object == "" {
			c.object = c.spec.Table
		}
		truths[i] = c
		spec.Hypertables = append(spec.Hypertables, c.spec)
	}
	found := assessAll(t, spec, src, dst)
	mustDump(t, src, dst, extract.DumpOptions{Tables: spec.Tables, Hypertables: spec.Hypertables, Privileges: true})
	conn := dst.MasterConn(t)
	_, err = provision.PreData(t.Context(), conn)
	require.NoError(t, err)
	entries, err := ledger.Entries(t.Context(), conn, ledger.SectionPostData)
	require.NoError(t, err)
	for i, c := range truths {
		t.Run(c.name, func(t *testing.T) {
			requireFinding(t, c, found)
			err := become(t.Context(), conn, c, entries, i)
			if c.fatal {
				require.Error(t, err, "TimescaleDB takes it")
			} else {
				require.NoError(t, err)
			}
		})
	}
}

func assessAll(t *testing.T, spec contract.Spec, src, dst *pgtest.Database) []contract.Problem {
	t.Helper()
	source, target := src.MasterConn(t), dst.MasterConn(t)
	s, err := prepare.ReadFacts(t.Context(), source, spec.Tables)
	require.NoError(t, err)
	s.ForHypertables, err = prepare.ReadHypertables(t.Context(), source, s.Tables, plan.HypertablesOf(spec))
	require.NoError(t, err)
	d, err := survey.ReadFacts(t.Context(), target, plan.TargetNames(spec, s.Tables))
	require.NoError(t, err)
	d.Intervals, err = survey.ReadIntervals(t.Context(), target, plan.Intervals(spec))
	require.NoError(t, err)
	return plan.Assess(spec, s, d)
}

// requireFinding: the one that is expected, and nothing else that is said of hypertables.
func requireFinding(t *testing.T, c truth, found []contract.Problem) {
	t.Helper()
	for _, p := range found {
		if p.Object != c.object || !strings.HasPrefix(p.Code, "hypertable-") {
			continue
		}
		require.Equal(t, c.code, p.Code, p.Message)
		require.Equal(t, c.fatal, p.Severity == contract.Fatal, p.Message)
		return
	}
	require.Empty(t, c.code, "nothing is said of it")
}

// become makes the hypertable, puts in the rows, and restores what belongs to the table.
func become(ctx context.Context, conn *pgx.Conn, c truth, entries []ledger.Entry, i int) error {
	if _, err := provision.Hypertables(ctx, conn, []contract.Hypertable{c.spec}); err != nil {
		return err
	}
	if c.rows != "" {
		if _, err := conn.PgConn().Exec(ctx, c.rows).ReadAll(); err != nil {
			return err
		}
	}
	mine := map[ident.Table]bool{}
	for _, prefix := range []string{"t", "r_t", "c_t"} {
		mine[ident.Table{Schema: "public", Name: fmt.Sprintf("%s%d", prefix, i)}] = true
	}
	for _, e := range entries {
		if len(e.Roles) > 0 || !mine[e.Table] && !mine[ident.Table{Schema: e.Schema, Name: e.Name}] {
			continue
		}
		if _, err := conn.PgConn().Exec(ctx, e.SQL+e.AfterSQL).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w", e, err)
		}
	}
	return nil
}
