package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/fixture"
	"timeferry/internal/testkit/pgserver"
	"timeferry/internal/testkit/pgtest"
)

// TestEverySchemaArrives migrates the fixture, which has every kind of object, from a server of 13, the oldest that streams partitions (of every
// version, if TIMEFERRY_MATRIX asks for it), and compares both sides by our own means and by pg_dump.
func TestEverySchemaArrives(t *testing.T) {
	setup(t)
	for _, major := range fixture.Majors(13) {
		if major < 13 {
			continue // its partitions are refused in preflight; provision's test has the rest of 12
		}
		t.Run(fmt.Sprint(major), func(t *testing.T) { migrateFixture(t, major) })
	}
}

const onlyGenerated = "public.only_generated"

func migrateFixture(t *testing.T, major int) {
	src, newest := pgtest.SourceOf(t, major), 17
	if major > newest {
		newest = major
	}
	dst := pgtest.TargetOf(t, newest)
	fixture.Load(t, src)
	src.Exec(t, "ALTER ROLE "+pgtest.SourceMaster+" BYPASSRLS") // the fixture has a table whose policies bind its owner too
	fixture.ForgetRoles(t, dst)
	w := newWorld(t, withClients(t, major)...)
	m := w.newMigration(fmt.Sprintf("fixture-%d", major), src, dst, func(spec map[string]any) {
		spec["roles"] = "migrate"
		if major >= 18 { // which refuses to publish it: preflight says so
			spec["tables"] = map[string]any{"exclude": []string{onlyGenerated}}
		}
	})
	if major >= 18 {
		m.excluded = []string{onlyGenerated}
	}
	m.start()
	s := m.await(contract.PhaseInSync)
	for _, p := range s.Problems {
		if p.Code == "schema-differs" {
			out, _ := m.try(shared.starter, "verify", m.name, "--schema")
			require.Fail(t, "the schemas differ", out)
		}
	}
	asMaster(t, src, "CREATE TABLE public.latecomer (id int PRIMARY KEY)")
	out, code := m.try(shared.starter, "verify", m.name, "--schema")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "table public.latecomer: existence")
	asMaster(t, src, "DROP TABLE public.latecomer")
	require.Contains(t, m.run(shared.starter, "verify", m.name, "--schema"), " 0 differences")
	asMaster(t, src, "CREATE TABLE public.newcomer (id int)")
	m.excluded = append(m.excluded, "public.newcomer")
	r := m.finish()
	var newTables []string
	for _, p := range r.Problems {
		if p.Code == "new-table" {
			newTables = append(newTables, p.Object)
		}
	}
	require.Equal(t, []string{"public.newcomer"}, newTables)
	require.Greater(t, r.Schema.Objects, 300)
	require.Zero(t, r.Schema.Unexpected)

	reference := pgtest.TargetOf(t, newest)
	fixture.LoadSchema(t, reference, major)
	if major >= 18 {
		reference.Exec(t, "DROP TABLE "+onlyGenerated)
	}
	want := fixture.DumpSchema(t, reference, newest)
	require.Empty(t, strings.Join(fixture.Differences(want, fixture.DumpSchema(t, dst, newest)), "\n"))
}

// withClients puts client programs that are new enough for the source first on the worker's path.
func withClients(t *testing.T, major int) []string {
	t.Helper()
	dir, err := pgserver.ClientBin(context.Background(), major)
	if err != nil {
		require.NoError(t, pgserver.EnsureClients(context.Background(), io.Discard, major))
		dir, err = pgserver.ClientBin(context.Background(), major)
	}
	require.NoError(t, err)
	return []string{"PATH=" + dir + string(filepath.ListSeparator) + os.Getenv("PATH")}
}
