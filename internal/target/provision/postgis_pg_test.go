package provision_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/fixture"
	"timeferry/internal/testkit/pgtest"
)

// TestPostGISFixtureArrives: a schema and rows of PostGIS, from one version of it to a later one. The extension is there
// beforehand, as on every managed target, whose administrator may write to its table of coordinate systems.
func TestPostGISFixtureArrives(t *testing.T) {
	src, dst, reference := pgtest.Source(t), pgtest.Target(t), pgtest.Target(t)
	fixture.LoadPostGIS(t, src)
	fixture.CreatePostGIS(t, dst)
	fixture.LoadPostGISSchema(t, reference)
	dst.Exec(t, "GRANT INSERT ON spatial_ref_sys TO tsdbadmin")
	require.Equal(t, []string{"info extension-rows public.spatial_ref_sys"}, codes(migrate(t, src, dst, migration{from: src.Master, to: dst.Master})))
	reference.Exec(t, "GRANT INSERT ON spatial_ref_sys TO tsdbadmin")
	major := fixture.Major(t, dst)
	want := fixture.DumpSchema(t, reference, major)
	require.Greater(t, len(want), 20)
	require.Empty(t, strings.Join(fixture.Differences(want, fixture.DumpSchema(t, dst, major)), "\n"))

	for _, query := range []string{"SELECT * FROM places ORDER BY id", "SELECT * FROM tracks ORDER BY id", "SELECT * FROM as_text ORDER BY id", "SELECT * FROM boxed ORDER BY id", "SELECT n, ST_AsText(around, 3) FROM hull",
		"SELECT id, other, round(far::numeric, 6) FROM nearest ORDER BY 1, 2", "SELECT * FROM spatial_ref_sys WHERE srid = 990001",
		"SELECT id, ST_AsText(ST_Transform(own, 4326), 6) FROM places ORDER BY 1"} {
		rows := src.Dump(t, query)
		require.NotEmpty(t, rows, query)
		require.Equal(t, rows, dst.Dump(t, query), query)
	}
	requireBinary(t, src, dst)
}

// requireBinary: what is not said to need text is the same in binary, whatever versions the extension has; what has no
// binary form is said to need text, even where it is not copied.
func requireBinary(t *testing.T, src, dst *pgtest.Database) {
	t.Helper()
	ctx := context.Background()
	source, target := src.Conn(t), dst.Conn(t)
	tables, err := pgkit.Tables(ctx, source, func(name ident.Table) bool { return name.Schema == "public" })
	require.NoError(t, err)
	inText := map[string]bool{}
	for _, table := range tables {
		inText[table.Name] = table.NeedsTextCopy()
		if table.NeedsTextCopy() || table.Name == "spatial_ref_sys" {
			continue
		}
		columns := ident.Columns(table.CopyColumns())
		var rows bytes.Buffer
		_, err = source.PgConn().CopyTo(ctx, &rows, "COPY (SELECT "+columns+" FROM "+table.Quote()+") TO STDOUT (FORMAT binary)")
		require.NoError(t, err)
		_, err = target.Exec(ctx, "TRUNCATE "+table.Quote())
		require.NoError(t, err)
		_, err = target.PgConn().CopyFrom(ctx, &rows, "COPY "+table.Quote()+" ("+columns+") FROM STDIN (FORMAT binary)")
		require.NoError(t, err)
		query := "SELECT * FROM " + table.Quote() + " ORDER BY id"
		require.Equal(t, src.Dump(t, query), dst.Dump(t, query))
	}
	delete(inText, "spatial_ref_sys")
	require.Equal(t, map[string]bool{"places": false, "tracks": false, "as_text": true, "boxed": true}, inText)
}
