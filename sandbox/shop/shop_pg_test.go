package shop_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/testkit/pgtest"
	"timeferry/sandbox/shop"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestCreateFillsEveryTable(t *testing.T) {
	ctx := context.Background()
	src := pgtest.Source(t)
	require.NoError(t, shop.CreateRoles(ctx, src.Conn(t), "first"))
	require.NoError(t, shop.CreateRoles(ctx, src.Conn(t), "it's the second"), "roles may be there already")
	require.NoError(t, shop.Create(ctx, src.Master, 0.01))

	empty := src.Dump(t, `SELECT oid::regclass FROM pg_class WHERE relkind IN ('r', 'm') AND relnamespace IN ('public'::regnamespace, 'iot'::regnamespace)
		AND (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', oid::regclass), false, true, '')))[1]::text = '0' ORDER BY 1`)
	require.Subset(t, []string{"iot.sensor_events_" + src.QueryValue(t, "SELECT to_char(now() + interval '1 month', 'YYYY_MM')"),
		"iot.sensor_events_" + src.QueryValue(t, "SELECT to_char(now() + interval '2 month', 'YYYY_MM')"),
		"iot.sensor_events_" + src.QueryValue(t, "SELECT to_char(now() - interval '4 month', 'YYYY_MM')"), "load_journal"}, empty)

	require.Equal(t, "20000", src.QueryValue(t, "SELECT count(*) FROM metrics"))
	require.Equal(t, "0", src.QueryValue(t, `SELECT count(*) FROM pg_class WHERE relnamespace IN ('public'::regnamespace, 'iot'::regnamespace) AND relkind = 'r' AND pg_get_userbyid(relowner) <> '`+src.Master.User+`'`))
	require.NotEqual(t, "0", src.QueryValue(t, "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = 'products'"), "some values are too big for their page")
	require.Equal(t, "metrics", src.QueryValue(t, `SELECT string_agg(relname, ',') FROM pg_class WHERE relname = 'metrics' AND relreplident = 'd'`))
}

// The data is loaded with foreign key checks switched off, so they are checked here once.
func TestForeignKeysHold(t *testing.T) {
	ctx := context.Background()
	src := pgtest.Source(t)
	require.NoError(t, shop.CreateRoles(ctx, src.Conn(t), "first"))
	require.NoError(t, shop.Create(ctx, src.Master, 0.02))
	src.Exec(t, `DO $$
		DECLARE k record;
		BEGIN
			FOR k IN SELECT conrelid::regclass AS t, conname, pg_get_constraintdef(oid) AS def FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 LOOP
				EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s', k.t, k.conname, k.conname, k.def);
			END LOOP;
		END $$`)
	require.Equal(t, "15", src.QueryValue(t, "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 AND convalidated"))
}
