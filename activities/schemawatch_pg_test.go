package activities_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"timeferry/activities"
	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

// watchWorld is a planned migration whose tables are on both sides.
type watchWorld struct {
	src, dst *pgtest.Database
	spec     contract.Spec
	env      *testsuite.TestActivityEnvironment
	a        *activities.Activities
}

const watchedSchema = `CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TABLE t (id int PRIMARY KEY, v varchar(10)); CREATE TABLE u (id int PRIMARY KEY);
	CREATE TABLE gone (id int PRIMARY KEY); CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
	CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);`

func newWatchWorld(t *testing.T, tables ...string) *watchWorld {
	t.Helper()
	w := &watchWorld{src: pgtest.Source(t), dst: pgtest.Target(t)}
	w.spec = hypertableSpec(t, w.src, w.dst)
	target := w.dst.MasterConn(t)
	require.NoError(t, ledger.Create(t.Context(), target, w.spec.Name))
	_, err := w.src.MasterConn(t).Exec(t.Context(), watchedSchema)
	require.NoError(t, err)
	_, err = target.Exec(t.Context(), watchedSchema)
	require.NoError(t, err)
	var planned []ledger.Table
	for _, name := range tables {
		planned = append(planned, ledger.Table{Table: ident.Table{Schema: "public", Name: name}})
	}
	require.NoError(t, ledger.PlanTables(t.Context(), target, planned))
	holder := w.src.MasterConn(t)
	var snapshot string
	_, err = holder.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ")
	require.NoError(t, err)
	require.NoError(t, holder.QueryRow(t.Context(), "SELECT pg_export_snapshot()").Scan(&snapshot))
	var suite testsuite.WorkflowTestSuite
	w.env = suite.NewTestActivityEnvironment()
	w.env.SetTestTimeout(time.Minute)
	w.a = &activities.Activities{}
	w.env.RegisterActivity(w.a)
	require.NoError(t, w.a.RecordShapes(t.Context(), w.spec, target, snapshot))
	_, err = holder.Exec(t.Context(), "COMMIT")
	require.NoError(t, err)
	return w
}

func (w *watchWorld) watch(t *testing.T) contract.SchemaWatch {
	t.Helper()
	value, err := w.env.ExecuteActivity(w.a.WatchSchema, contract.SchemaWatchInput{Spec: w.spec})
	require.NoError(t, err)
	var seen contract.SchemaWatch
	require.NoError(t, value.Get(&seen))
	return seen
}

// What somebody does on the source is said with its remedy before the stream comes to it, and not any more once it is done.
func TestWatchSchema(t *testing.T) {
	for _, c := range []struct {
		name, ddl    string
		code, object string
		message      string
		remedy       string // up to the statement
		statement    string // for the target, unless the remedy says the source
		followed     bool   // no problem with follow
	}{
		{"column", "ALTER TABLE t ADD COLUMN c int DEFAULT 5", contract.CodeSchemaAhead, "public.t", `column "c" (integer) was added`, "run on the target now: ", `ALTER TABLE "public"."t" ADD COLUMN "c" integer DEFAULT 5`, true},
		{"dropped column", "ALTER TABLE t DROP COLUMN v", contract.CodeSchemaAhead, "public.t", `column "v" was dropped`, "when the stream stops at it", `ALTER TABLE "public"."t" DROP COLUMN "v"`, true},
		{"type", "ALTER TABLE t ALTER v TYPE text", contract.CodeSchemaAhead, "public.t", "to text", "run on the target now: ", `ALTER TABLE "public"."t" ALTER COLUMN "v" TYPE text`, true},
		{"not null", "ALTER TABLE t ALTER v SET NOT NULL", contract.CodeSchemaAhead, "public.t", "is NOT NULL", "when the stream stops at it", `ALTER TABLE "public"."t" ALTER COLUMN "v" SET NOT NULL`, false},
		{"label", "ALTER TYPE mood ADD VALUE 'fine'", contract.CodeEnumAhead, "fine", "has a new label 'fine'", "run on the target now: ", `ALTER TYPE "public"."mood" ADD VALUE IF NOT EXISTS 'fine' AFTER 'happy'`, true},
		{"dropped table", "DROP TABLE gone", contract.CodeTableDropped, "public.gone", "dropped on the source", "once the applied position is past", `DROP TABLE "public"."gone"`, false},
		{"renamed table", "ALTER TABLE gone RENAME TO kept", contract.CodeTableRenamed, "public.gone", "renamed to public.kept", "when the stream stops at it", "", false},
		{"detached partition", "ALTER TABLE p DETACH PARTITION p1", contract.CodePartitionGone, "public.p1", "detached or dropped", "once the applied position", `ALTER TABLE "public"."p" DETACH PARTITION "public"."p1"`, false},
		{"dropped partition", "DROP TABLE p2", contract.CodePartitionGone, "public.p2", "detached or dropped", "once the applied position", `ALTER TABLE "public"."p" DETACH PARTITION "public"."p2"`, false},
		{"key", "ALTER TABLE t DROP CONSTRAINT t_pkey", contract.CodeIdentityLost, "public.t", "refuses the application's", `run on the source: ALTER TABLE "public"."t" REPLICA IDENTITY FULL`, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWatchWorld(t, "t", "u", "gone", "p")
			require.Empty(t, w.watch(t), "nothing has changed")
			_, err := w.src.MasterConn(t).Exec(t.Context(), c.ddl)
			require.NoError(t, err)
			seen := w.watch(t)
			require.Len(t, seen.Problems, 1)
			p := seen.Problems[0]
			require.Equal(t, c.code, p.Code)
			require.Equal(t, c.object, p.Object)
			require.Contains(t, p.Message, c.message)
			require.Contains(t, p.Remedy, c.remedy)
			if c.name != "detached partition" {
				require.Empty(t, seen.NewTables, "a new name is no new table")
			}
			w.spec.Replication.DDL = contract.DDLFollow
			require.Equal(t, c.followed, len(w.watch(t).Problems) == 0)
			w.spec.Replication.DDL = contract.DDLStop
			if c.statement == "" {
				return
			}
			require.True(t, strings.HasSuffix(p.Remedy, c.statement), p.Remedy)
			_, err = w.dst.MasterConn(t).Exec(t.Context(), c.statement)
			require.NoError(t, err)
			require.Empty(t, w.watch(t).Problems)
		})
	}
}

// A table that is gone on both sides leaves the plan, so that nobody compares it at the cutover.
func TestADroppedTableLeavesThePlan(t *testing.T) {
	w := newWatchWorld(t, "t", "gone")
	w.src.Exec(t, "DROP TABLE gone")
	require.Len(t, w.watch(t).Problems, 1)
	w.dst.Exec(t, "DROP TABLE gone")
	require.Empty(t, w.watch(t).Problems)
	require.Equal(t, []string{"public|t"}, w.dst.Dump(t, "SELECT schema_name, table_name FROM timeferry.tables"))
}

// A table that has its new name on both sides has it in the plan.
func TestARenamedTableIsFollowedInThePlan(t *testing.T) {
	w := newWatchWorld(t, "t", "gone")
	w.src.Exec(t, "ALTER TABLE gone RENAME TO kept")
	require.NoError(t, w.a.FollowNames(t.Context(), w.src.Conn(t), w.dst.Conn(t)))
	require.Equal(t, "gone", w.dst.QueryValue(t, "SELECT table_name FROM timeferry.tables WHERE table_name <> 't'"), "the target has the old name still")
	w.dst.Exec(t, "ALTER TABLE gone RENAME TO kept")
	for range 2 {
		require.NoError(t, w.a.FollowNames(t.Context(), w.src.Conn(t), w.dst.Conn(t)))
	}
	require.Equal(t, "kept", w.dst.QueryValue(t, "SELECT table_name FROM timeferry.tables WHERE table_name <> 't'"))
	require.Equal(t, "kept", w.dst.QueryValue(t, "SELECT definition -> 'table' ->> 'name' FROM timeferry.shapes WHERE table_name <> 't'"))
	require.Empty(t, w.watch(t).Problems)
}
