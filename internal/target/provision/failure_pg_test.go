package provision_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/source/extract"
	"timeferry/internal/target/provision"
	"timeferry/internal/testkit/pgtest"
)

// TestRestoreStopsWithTheReason: whatever fails, a person reads one line with the object, the server's words and code, and
// what to do; and nothing of the batch is left behind.
func TestRestoreStopsWithTheReason(t *testing.T) {
	const filler = "CREATE TABLE filler (a int, b text, c numeric, d timestamptz);"
	for name, c := range map[string]struct {
		superuser, source, target string
		want, hint                string
	}{
		"an extension that the target does not have": {
			// its name is all that the dump has of it
			superuser: "CREATE EXTENSION hstore; UPDATE pg_extension SET extname = 'not_packaged' WHERE extname = 'hstore'",
			want:      "restore EXTENSION not_packaged: ERROR: extension \"not_packaged\" is not available (SQLSTATE 0A000), in: CREATE EXTENSION IF NOT EXISTS \"not_packaged\"",
			hint:      "install this extension on the target",
		},
		"a function whose body fails": {
			source: "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT pg_stat_get_buf_written_backend(); END", // gone in 17
			want:   "restore FUNCTION public.f(): ERROR: function pg_stat_get_buf_written_backend() does not exist (SQLSTATE 42883), in: SELECT",
			hint:   "correct it on the source or the target, then resume; the server says: No function matches",
		},
		"a name that is taken": {
			source: "CREATE TYPE state AS ENUM ('a'); CREATE TABLE t (s state)", target: "CREATE TYPE state AS (x int)",
			want: "restore TYPE public.state: ERROR: type \"state\" already exists (SQLSTATE 42710), in: CREATE TYPE",
			hint: "something of this name is on the target already",
		},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := pgtest.Source(t), pgtest.Target(t)
			ctx := context.Background()
			mustMasterExec(t, src, filler+c.source)
			if c.superuser != "" {
				src.Exec(t, c.superuser)
			}
			if c.target != "" {
				mustMasterExec(t, dst, c.target)
			}
			mustDump(t, src, dst, extract.DumpOptions{Tables: everything})
			_, err := provision.PreData(ctx, dst.MasterConn(t))
			require.Equal(t, fault.Operator, fault.Classify(err))
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "\n")
			require.Less(t, len(err.Error()), 400)
			require.NotContains(t, err.Error(), "filler")
			require.Contains(t, fault.HintOf(err), c.hint)
			require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM pg_class WHERE relname = 'filler'"), "all or nothing")
		})
	}
}

// TestWhatBelongsToTheServiceStays: a comment on what the target's admin does not own is no reason to stop.
func TestWhatBelongsToTheServiceStays(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	ctx := context.Background()
	dst.Exec(t, "ALTER SCHEMA public OWNER TO postgres; GRANT ALL ON SCHEMA public TO tsdbadmin")
	mustMasterExec(t, src, "COMMENT ON SCHEMA public IS 'ours'; CREATE TABLE t (id int); COMMENT ON TABLE t IS 'ours'")
	require.Empty(t, mustDump(t, src, dst, extract.DumpOptions{Tables: everything}))
	pre, err := provision.PreData(ctx, dst.MasterConn(t))
	require.NoError(t, err)
	require.Equal(t, []string{`info belongs-to-the-service COMMENT SCHEMA "public"`}, codes(pre.Problems))
	require.Equal(t, []string{"standard public schema|ours"}, dst.Dump(t, "SELECT obj_description('public'::regnamespace), obj_description('t'::regclass)"))
}
