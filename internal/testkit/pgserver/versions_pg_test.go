package pgserver_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
)

// contrib are the extensions that tests of the copy and of the stream use.
var contrib = []string{"hstore", "citext", "ltree", "pg_trgm", "btree_gin", "uuid-ossp"}

func TestEveryVersionIsASource(t *testing.T) {
	for _, major := range pgserver.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			s := mustStart(t, pgserver.StartSource, pgserver.Options{Major: major, Settings: map[string]string{"wal_level": "replica"}})
			require.Equal(t, fmt.Sprint(major), queryText(t, s, "SELECT (current_setting('server_version_num')::int / 10000)::text"))
			port := s.Port()
			require.NoError(t, s.Restart(ctx, map[string]string{"wal_level": "logical", "rds.logical_replication": "on"}))
			require.Equal(t, port, s.Port())
			require.Equal(t, "logical on", queryText(t, s, "SELECT current_setting('wal_level') || ' ' || current_setting('rds.logical_replication')"))
			require.Equal(t, "UTF8 C.UTF-8", queryText(t, s, "SELECT pg_encoding_to_char(encoding) || ' ' || datcollate FROM pg_database WHERE datname = 'postgres'"))

			conn := mustConnect(t, s)
			for _, extension := range contrib {
				_, err := conn.Exec(ctx, `CREATE EXTENSION "`+extension+`"`)
				require.NoError(t, err, extension)
			}
			_, err := conn.Exec(ctx, "CREATE TABLE a (id uuid PRIMARY KEY, word citext, tags hstore); CREATE PUBLICATION p FOR TABLE a")
			require.NoError(t, err)
			_, err = conn.Exec(ctx, "SELECT pg_create_logical_replication_slot('versions', 'pgoutput')")
			require.NoError(t, err)
			_, err = conn.Exec(ctx, "INSERT INTO a VALUES (uuid_generate_v4(), 'Word', 'a=>1')")
			require.NoError(t, err)
			require.Equal(t, "BYYRIC", queryText(t, s, `SELECT string_agg(chr(get_byte(data, 0)), '') FROM pg_logical_slot_peek_binary_changes('versions', NULL, NULL,
				'proto_version', '1', 'publication_names', 'p')`), "begin, two types of extensions, the relation, an insert, commit")
		})
	}
}

func TestOldestAndNewestVersionSpeakTLS(t *testing.T) {
	majors := pgserver.Majors()
	for _, major := range []int{majors[0], majors[len(majors)-1]} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			s := mustStart(t, pgserver.StartSource, pgserver.Options{Major: major, TLS: &pgserver.TLS{Only: true}})
			require.Equal(t, "on", queryText(t, s, "SHOW ssl"))
			e := s.Superuser("postgres")
			e.SSLMode, e.SSLRootCert = "disable", ""
			_, err := pgkit.Dial(context.Background(), e, "test")
			require.ErrorContains(t, err, "not encrypted")
		})
	}
}

func TestVersionsThatNobodyHasAreNoReasonToSkip(t *testing.T) {
	_, err := pgserver.StartSource(context.Background(), pgserver.Options{Major: 11})
	require.ErrorContains(t, err, "12 to 18")
	require.NotErrorIs(t, err, pgserver.ErrUnavailable)
}

// PostgreSQL 18 with TimescaleDB, and its client programs, are not among what tests require: they need a Debian tree of
// their own.
func TestTimescaleOnVersion18(t *testing.T) {
	s, err := pgserver.StartTarget(context.Background(), pgserver.Options{Major: 18})
	if errors.Is(err, pgserver.ErrUnavailable) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	require.Equal(t, "18", queryText(t, s, "SELECT (current_setting('server_version_num')::int / 10000)::text"))
	_, err = mustConnect(t, s).Exec(context.Background(), `CREATE EXTENSION timescaledb; CREATE TABLE m (ts timestamptz NOT NULL); SELECT create_hypertable('m', 'ts')`)
	require.NoError(t, err)
}

func TestClientProgramsDumpANewerVersionThanTheMachines(t *testing.T) {
	ctx := context.Background()
	for _, major := range []int{16, 17, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			bin, err := pgserver.ClientBin(ctx, major)
			if errors.Is(err, pgserver.ErrUnavailable) {
				t.Skip(err)
			}
			require.NoError(t, err)
			s := mustStart(t, pgserver.StartSource, pgserver.Options{Major: major})
			_, err = mustConnect(t, s).Exec(ctx, "CREATE TABLE kept (id int)")
			require.NoError(t, err)

			e := s.Superuser("postgres")
			archive := filepath.Join(t.TempDir(), "archive")
			for _, program := range [][]string{
				{"pg_dump", "--format=custom", "--file=" + archive},
				{"pg_restore", "--list", archive},
				{"psql", "--no-psqlrc", "-c", `\d kept`},
			} {
				cmd := exec.Command(filepath.Join(bin, program[0]), program[1:]...)
				cmd.Env = append(os.Environ(), "PGHOST="+e.Host, fmt.Sprint("PGPORT=", e.Port), "PGUSER="+e.User, "PGPASSWORD="+e.Password, "PGDATABASE=postgres")
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, "%s: %s", program[0], out)
				if program[0] != "pg_dump" {
					require.Contains(t, string(out), "kept")
				}
			}
		})
	}
}
