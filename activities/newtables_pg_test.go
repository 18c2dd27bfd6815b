package activities_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/bulk"
	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/ledger"
)

// joinWorld is a watched world with a publication, whose migration follows DDL.
func newJoinWorld(t *testing.T) *watchWorld {
	t.Helper()
	w := newWatchWorld(t, "t", "u", "gone", "p")
	w.spec.Replication = contract.ReplicationOption{Plugin: "pgoutput", DDL: contract.DDLFollow}
	w.spec.Privileges, w.spec.Copy = "migrate", contract.Copy{Concurrency: 1, PartSize: "1GiB", IndexJobs: 1}
	require.NoError(t, prepare.CreatePublication(t.Context(), w.src.MasterConn(t), contract.PublicationName(w.spec.Name),
		plan.Publication{ViaRoot: true, All: []ident.Table{{Schema: "public", Name: "t"}}}))
	return w
}

func (w *watchWorld) source(t *testing.T, sql string) {
	t.Helper()
	_, err := w.src.MasterConn(t).Exec(t.Context(), sql)
	require.NoError(t, err)
}

func (w *watchWorld) run(activity any) error {
	_, err := w.env.ExecuteActivity(activity, w.spec)
	return err
}

func (w *watchWorld) join(t *testing.T) int {
	t.Helper()
	value, err := w.env.ExecuteActivity(w.a.JoinTables, w.spec)
	require.NoError(t, err)
	var joined contract.JoinResult
	require.NoError(t, value.Get(&joined))
	return joined.Tables
}

// epoch begins one with a snapshot of now, at a made up point of the stream.
func (w *watchWorld) epoch(t *testing.T, point change.LSN) {
	t.Helper()
	holder := w.src.MasterConn(t)
	var snapshot string
	_, err := holder.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ")
	require.NoError(t, err)
	require.NoError(t, holder.QueryRow(t.Context(), "SELECT pg_export_snapshot()").Scan(&snapshot))
	_, err = bulk.BeginEpoch(t.Context(), w.dst.MasterConn(t), point, snapshot)
	require.NoError(t, err)
}

func (w *watchWorld) starts(t *testing.T) map[ident.Table]change.LSN {
	t.Helper()
	starts, err := ledger.StartLSNs(t.Context(), w.dst.MasterConn(t))
	require.NoError(t, err)
	return starts
}

const freshSQL = `CREATE TYPE kind AS ENUM ('a', 'b'); CREATE TABLE fresh (id serial PRIMARY KEY, k kind, u int REFERENCES u); CREATE TABLE keyless (v text);
	INSERT INTO u VALUES (1); INSERT INTO fresh (k, u) SELECT 'a', 1 FROM generate_series(1, 10); INSERT INTO keyless VALUES ('x'), ('x')`

// Every step runs twice, and all of them once more after the first attempt died in the midst: what it had made is gone, and what the
// stream has of it counts for nothing until the tables have all their rows.
func TestNewTablesJoinAgain(t *testing.T) {
	w := newJoinWorld(t)
	fresh := ident.Table{Schema: "public", Name: "fresh"}
	w.dst.Exec(t, "UPDATE timeferry.tables SET completed_at = now(), epoch = 1, start_lsn = '0/1'")
	w.epoch(t, 1)
	w.source(t, freshSQL)
	require.Equal(t, []string{"public.fresh", "public.keyless"}, w.watch(t).Joining)

	for range 2 {
		require.Equal(t, 2, w.join(t))
	}
	require.Equal(t, []string{"fresh|d", "keyless|f", "t|d"}, w.src.Dump(t, `SELECT relname, relreplident FROM pg_publication_tables p JOIN pg_class c ON c.oid = format('%I.%I', p.schemaname, p.tablename)::regclass ORDER BY 1`))
	require.Empty(t, w.watch(t).Joining, "they are under way")
	w.epoch(t, 100)
	for range 2 {
		require.NoError(t, w.run(w.a.DumpJoining))
	}
	require.NoError(t, w.run(w.a.RestorePreData))
	require.NotContains(t, w.starts(t), fresh)
	require.Equal(t, "0", w.dst.QueryValue(t, "SELECT count(*) FROM fresh"))

	w.source(t, "ALTER TABLE fresh ADD COLUMN later int DEFAULT 7; DROP TABLE keyless; INSERT INTO fresh (u) VALUES (1)")
	require.Equal(t, 1, w.join(t))
	require.Equal(t, "-|-|-", w.dst.QueryValue(t, "SELECT coalesce(to_regclass('fresh')::text, '-'), coalesce(to_regclass('keyless')::text, '-'), coalesce(to_regtype('kind')::text, '-')"))
	forgone, err := ledger.Forgone(t.Context(), w.dst.MasterConn(t))
	require.NoError(t, err)
	require.Contains(t, forgone, ident.Table{Schema: "public", Name: "keyless"})

	w.epoch(t, 200)
	require.NoError(t, w.run(w.a.DumpJoining))
	require.NoError(t, w.run(w.a.RestorePreData))
	require.ErrorContains(t, w.run(w.a.SettleTables), "fresh", "its rows are not there")
	_, err = w.env.ExecuteActivity(w.a.CopyParts, contract.CopyInput{Spec: w.spec, Stream: 1, Streams: 1})
	require.NoError(t, err)
	require.NoError(t, w.run(w.a.RestorePostData))
	for range 2 {
		require.NoError(t, w.run(w.a.SettleTables))
	}
	require.Equal(t, change.LSN(200), w.starts(t)[fresh])
	require.Equal(t, "11|77|kind", w.dst.QueryValue(t, "SELECT count(*), sum(later), max(pg_typeof(k)::text) FROM fresh"))
	require.Equal(t, []string{"fresh_pkey|t", "fresh_u_fkey|f"}, w.dst.Dump(t, "SELECT conname, convalidated FROM pg_constraint WHERE conrelid = 'fresh'::regclass AND contype <> 'n' ORDER BY 1"),
		"what refers to others is validated once the stream has come past")
	changes, err := ledger.SchemaChanges(t.Context(), w.dst.MasterConn(t))
	require.NoError(t, err)
	require.Len(t, changes, 1)
	require.Equal(t, change.LSN(200), changes[0].LSN)
	require.Empty(t, w.watch(t).Joining)
}

// What was altered between the plan and the snapshot is taken anew, and so is what was copied under another snapshot than it was read.
func TestANewTableThatChangesJoinsAgain(t *testing.T) {
	for name, change := range map[string]func(w *watchWorld, t *testing.T) error{
		"altered before the snapshot": func(w *watchWorld, t *testing.T) error {
			w.source(t, "ALTER TABLE fresh DROP COLUMN k")
			w.epoch(t, 100)
			return w.run(w.a.DumpJoining)
		},
		"dropped before the snapshot": func(w *watchWorld, t *testing.T) error {
			w.source(t, "DROP TABLE fresh")
			w.epoch(t, 100)
			return w.run(w.a.DumpJoining)
		},
		"copied under another snapshot": func(w *watchWorld, t *testing.T) error {
			w.epoch(t, 100)
			require.NoError(t, w.run(w.a.DumpJoining))
			require.NoError(t, w.run(w.a.RestorePreData))
			w.epoch(t, 200)
			_, err := w.env.ExecuteActivity(w.a.CopyParts, contract.CopyInput{Spec: w.spec, Stream: 1, Streams: 1})
			require.NoError(t, err)
			return w.run(w.a.SettleTables)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newJoinWorld(t)
			w.dst.Exec(t, "UPDATE timeferry.tables SET completed_at = now(), epoch = 1, start_lsn = '0/1'")
			w.epoch(t, 1)
			w.source(t, freshSQL)
			require.Equal(t, 2, w.join(t))
			require.ErrorContains(t, change(w, t), contract.CodeJoinAgain)
			require.NotContains(t, w.starts(t), ident.Table{Schema: "public", Name: "fresh"})
		})
	}
}

// What cannot be carried over is named, with the reason, and no other table suffers from it.
func TestNewTablesThatDoNotJoin(t *testing.T) {
	for _, c := range []struct {
		name, sql, reason, remedy string
		change                    func(w *watchWorld, t *testing.T)
	}{
		{"taken on the target", "", "the target has something else", `drop or rename "public"."odd" on the target`, func(w *watchWorld, t *testing.T) { w.dst.Exec(t, "CREATE TABLE odd (v int)") }},
		{"no key", "", "no usable key", `ALTER TABLE "public"."odd" REPLICA IDENTITY FULL`, func(w *watchWorld, _ *testing.T) { w.spec.ReplicaIdentity.Fallback = "skip" }},
		{"no key may be", "", "", "", func(w *watchWorld, _ *testing.T) { w.spec.ReplicaIdentity.Fallback = "fail" }},
		{"of others", "", "not a member of the table's owner", "GRANT ", func(w *watchWorld, t *testing.T) { w.src.Exec(t, "ALTER TABLE odd OWNER TO CURRENT_USER") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newJoinWorld(t)
			w.source(t, "CREATE TABLE odd (v int); CREATE TABLE fine (id int PRIMARY KEY); ALTER TABLE gone RENAME TO renamed; CREATE UNLOGGED TABLE unlogged (v int)")
			c.change(w, t)
			seen := w.watch(t)
			require.Equal(t, []string{"public.fine"}, seen.Joining)
			require.Empty(t, seen.NewTables)
			byCode := map[string]contract.Problem{}
			for _, p := range seen.Problems {
				byCode[p.Code] = p
			}
			require.Equal(t, "public.odd", byCode[contract.CodeNewTable].Object)
			require.Contains(t, byCode[contract.CodeNewTable].Message, c.reason)
			require.Contains(t, byCode[contract.CodeNewTable].Remedy, c.remedy)
			require.Contains(t, byCode, contract.CodeTableRenamed, "its new name is no new table")
			require.Equal(t, 1, w.join(t))
			require.Empty(t, w.dst.Dump(t, "SELECT FROM timeferry.tables WHERE table_name IN ('odd', 'renamed')"))
		})
	}
}

// A switch must not leave a table behind that came into being after the last look.
func TestNoSwitchWithoutANewTable(t *testing.T) {
	w := newJoinWorld(t)
	refuse := func() error {
		return w.a.RefuseNewTables(t.Context(), w.spec, w.src.MasterConn(t), w.dst.MasterConn(t))
	}
	require.NoError(t, refuse())
	w.source(t, "CREATE TABLE odd (v int); CREATE TABLE fine (id int PRIMARY KEY)")
	w.dst.Exec(t, "CREATE TABLE odd (v int)")
	require.ErrorContains(t, refuse(), "public.fine")
	w.source(t, "DROP TABLE fine")
	require.NoError(t, refuse(), "what cannot be carried over was named before")
	w.spec.Replication.DDL = contract.DDLStop
	w.source(t, "CREATE TABLE fine (id int PRIMARY KEY)")
	require.NoError(t, refuse())
}

// A look at the stream ends when the source has tables that are not known, and only then.
func TestNewTablesEndALookAtTheStream(t *testing.T) {
	w := newJoinWorld(t)
	w.spec.Cutover.MaxLag = "1GiB"
	look := func(seconds int64, known string) (seen contract.LagWatch) {
		value, err := w.env.ExecuteActivity(w.a.WatchLag, contract.LagInput{Spec: w.spec, Seconds: seconds, NewTablesEvery: 1, NewTables: known})
		require.NoError(t, err)
		require.NoError(t, value.Get(&seen))
		return seen
	}
	require.False(t, look(2, "").NewTables)
	w.source(t, "CREATE TABLE fresh (id int PRIMARY KEY)")
	require.True(t, look(50, "").NewTables)
	known := w.watch(t).Fingerprint
	require.NotEmpty(t, known)
	require.False(t, look(2, known).NewTables, "it is known by now")
	w.source(t, "CREATE TABLE fresher (id int PRIMARY KEY)")
	require.True(t, look(50, known).NewTables)
}
