package pgkit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/shape"
	"timeferry/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestAFailedConnectionSaysWhy(t *testing.T) {
	src := pgtest.Source(t)
	for name, c := range map[string]struct {
		change func(*pgkit.Endpoint)
		code   string
		class  fault.Class
	}{
		"wrong password":   {func(e *pgkit.Endpoint) { e.Password = "wrong-password" }, pgkit.CodeWrongCredentials, fault.Operator},
		"no such user":     {func(e *pgkit.Endpoint) { e.User = "nobody-here" }, pgkit.CodeWrongCredentials, fault.Operator},
		"no such database": {func(e *pgkit.Endpoint) { e.Database = "nowhere" }, pgkit.CodeNoDatabase, fault.Operator},
		"nobody listens":   {func(e *pgkit.Endpoint) { e.Port = 1 }, pgkit.CodeUnreachable, fault.Transient},
		"no such host":     {func(e *pgkit.Endpoint) { e.Host = "nowhere.invalid" }, pgkit.CodeUnreachable, fault.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			e := src.Master
			c.change(&e)
			_, err := pgkit.Dial(context.Background(), e, "test")
			var f *fault.Error
			require.True(t, errors.As(err, &f), "%v", err)
			require.Equal(t, c.code, f.Code)
			require.Equal(t, c.class, f.Class)
			require.NotEmpty(t, f.Hint)
			require.NotContains(t, err.Error(), e.Password)
			require.NotContains(t, fmt.Sprintf("%v %+v %#v", e, e, e), e.Password)
		})
	}
}

// TestTheEnvironmentChangesNothing sets what libpq would listen to.
func TestTheEnvironmentChangesNothing(t *testing.T) {
	src := pgtest.Source(t)
	for _, name := range []string{"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGOPTIONS", "PGTARGETSESSIONATTRS"} {
		t.Setenv(name, "nonsense")
	}
	conn, err := pgkit.Dial(context.Background(), src.Master, "test")
	require.NoError(t, err)
	var user, database, name string
	require.NoError(t, conn.QueryRow(context.Background(), "SELECT current_user, current_database(), current_setting('application_name')").Scan(&user, &database, &name))
	require.Equal(t, []string{src.Master.User, src.Master.Database, "timeferry test"}, []string{user, database, name})
	require.NoError(t, conn.Close(context.Background()))
}

func TestCatalogueBecomesShapes(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, `
		CREATE TYPE mood AS ENUM ('ok');
		CREATE SCHEMA "Odd";
		CREATE TABLE "Odd"."a.b" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, gone int, moods mood[], mood mood, twice int GENERATED ALWAYS AS (id * 2) STORED);
		ALTER TABLE "Odd"."a.b" DROP COLUMN gone;
		CREATE TABLE tree (k int NOT NULL, v int NOT NULL, PRIMARY KEY (k, v)) PARTITION BY RANGE (k);
		CREATE TABLE tree_1 PARTITION OF tree FOR VALUES FROM (0) TO (10) PARTITION BY LIST (v);
		CREATE TABLE tree_1_1 PARTITION OF tree_1 FOR VALUES IN (1);
		CREATE TABLE keyless (a int, b int REFERENCES "Odd"."a.b");
		CREATE UNIQUE INDEX keyless_a ON keyless (a) WHERE a > 0;
		CREATE UNLOGGED TABLE fast (a int);
		ALTER TABLE keyless REPLICA IDENTITY FULL;`)
	tables, err := pgkit.Tables(context.Background(), src.MasterConn(t), func(t ident.Table) bool { return t.Name != "fast" })
	require.NoError(t, err)
	byName := map[string]shape.Table{}
	for _, x := range tables {
		byName[x.Name] = x
	}
	require.Len(t, tables, 3)
	odd := byName["a.b"]
	require.Equal(t, []string{"id", "moods", "mood"}, odd.CopyColumns())
	require.True(t, odd.NeedsTextCopy(), "an array of a type with an OID of its own")
	require.Equal(t, []string{"id"}, odd.Key())
	require.Equal(t, byte('a'), odd.Columns[0].Identity)
	require.Len(t, odd.ForeignKeysIn, 1)
	tree := byName["tree"]
	require.True(t, tree.Partitioned)
	require.Equal(t, "RANGE (k)", tree.PartitionKey)
	require.Len(t, tree.Leaves, 2)
	require.True(t, tree.Leaves[0].Partitioned)
	require.False(t, tree.Leaves[1].Partitioned)
	keyless := byName["keyless"]
	require.Nil(t, keyless.Key())
	require.Equal(t, byte('f'), keyless.Identity.Kind)
	require.True(t, keyless.Indexes[0].Partial)
}
