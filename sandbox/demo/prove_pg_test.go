package demo

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgtest"
	"timeferry/sandbox/shop"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// newPair is a shop and its exact copy, and a demo that compares them.
func newPair(t *testing.T) (*demo, *pgtest.Database, *bytes.Buffer) {
	t.Helper()
	ctx := context.Background()
	src := pgtest.Source(t)
	admin, err := pgkit.Dial(ctx, src.Server.Superuser("postgres"), "test") // a template must have no sessions
	require.NoError(t, err)
	require.NoError(t, shop.CreateRoles(ctx, admin, "application"))
	require.NoError(t, shop.Create(ctx, src.Master, 0.01))
	copied := src.Endpoint
	copied.Database += "_copy"
	_, err = admin.Exec(ctx, "CREATE DATABASE "+ident.Quote(copied.Database)+" TEMPLATE "+ident.Quote(src.Endpoint.Database))
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := admin.Exec(ctx, "DROP DATABASE "+ident.Quote(copied.Database)+" WITH (FORCE)")
		require.NoError(t, err)
		require.NoError(t, admin.Close(ctx))
	})
	target, err := pgkit.Dial(ctx, copied, "test")
	require.NoError(t, err)
	t.Cleanup(func() { closeConn(target) })
	out := &bytes.Buffer{}
	d := &demo{source: src.Conn(t), target: target, verdict: verdict{out: out}}
	d.before, err = lines(ctx, d.source, footprintSQL)
	require.NoError(t, err)
	return d, src, out
}

func TestEqualDatabasesAreProvedEqual(t *testing.T) {
	ctx := context.Background()
	d, _, out := newPair(t)
	rows, err := d.bothTables(ctx)
	require.NoError(t, err)
	d.proveTables(ctx, rows)
	d.proveSequences(ctx)
	d.proveObjects(ctx)
	d.proveSourceAsBefore(ctx)
	require.NoError(t, d.verdict.err(), out.String())
	require.Contains(t, out.String(), "all 19 tables are equal")
}

func TestEveryDifferenceIsFound(t *testing.T) {
	ctx := context.Background()
	d, _, _ := newPair(t)
	for what, c := range map[string]struct{ change, find string }{
		"a missing row":          {"DELETE FROM metrics WHERE ctid = (SELECT min(ctid) FROM metrics)", "public.metrics has 20000 rows on the source and 19999 on the target"},
		"another value":          {"UPDATE inventory SET quantity = quantity + 1 WHERE product_id = 1 AND warehouse = 'north'", "public.inventory has 90 rows on both sides, but not the same"},
		"a row twice":            {"INSERT INTO audit_log SELECT * FROM audit_log LIMIT 1", "public.audit_log has"},
		"null for empty":         {"UPDATE products SET tags = '{NULL}' WHERE id = 6", "public.products has 30 rows on both sides"},
		"a missing table":        {`DROP TABLE "Order Notes"`, `public."Order Notes": on the target`},
		"a sequence behind":      {"SELECT setval('invoice_number', 1)", "public.invoice_number by 3 at"},
		"a missing index":        {"DROP INDEX products_tags", "index public.products_tags on public.products"},
		"an unchecked key":       {"ALTER TABLE addresses DROP CONSTRAINT addresses_customer_id_fkey, ADD CONSTRAINT addresses_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customers ON DELETE CASCADE NOT VALID", "constraint addresses_customer_id_fkey on public.addresses"},
		"a missing default":      {"ALTER TABLE payments ALTER invoice DROP DEFAULT", "column public.payments.invoice bigint not null default nextval"},
		"a missing trigger":      {"DROP TRIGGER orders_audit ON orders", "trigger orders_audit on public.orders"},
		"a missing view":         {"DROP VIEW order_overview", "view public.order_overview"},
		"a missing function":     {"DROP FUNCTION customer_total", "function customer_total(bigint)"},
		"a missing grant":        {"REVOKE DELETE ON carts FROM shop_app", "grant DELETE on public.carts to shop_app"},
		"a missing column right": {"REVOKE SELECT (name) ON customers FROM shop_readonly", "grant SELECT on public.customers.name to shop_readonly"},
		"another owner":          {"ALTER TABLE carts OWNER TO postgres", "table public.carts of shopmaster"},
		"a missing comment":      {"COMMENT ON TABLE customers IS NULL", "comment on public.customers"},
		"an empty matview":       {"REFRESH MATERIALIZED VIEW daily_sales WITH NO DATA", "materialized view public.daily_sales of shopmaster"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := d.target.Exec(ctx, "BEGIN; "+c.change)
			require.NoError(t, err)
			defer func() {
				_, err := d.target.Exec(ctx, "ROLLBACK")
				require.NoError(t, err)
			}()
			out := &bytes.Buffer{}
			d.verdict = verdict{out: out}
			tables, err := d.bothTables(ctx)
			require.NoError(t, err)
			// A missing table spoils the transaction, so what follows it is not looked at then.
			d.proveTables(ctx, tables)
			if what != "a missing table" {
				d.proveSequences(ctx)
				d.proveObjects(ctx)
			}
			require.Error(t, d.verdict.err())
			require.Contains(t, out.String(), c.find)
		})
	}
}

func TestWhatIsLeftOnTheSourceIsFound(t *testing.T) {
	ctx := context.Background()
	d, src, _ := newPair(t)
	for left, c := range map[string]struct{ change, undo string }{
		"slot timeferry_prove":           {"SELECT pg_create_logical_replication_slot('timeferry_prove', 'pgoutput')", "SELECT pg_drop_replication_slot('timeferry_prove')"},
		"publication timeferry_prove":    {"CREATE PUBLICATION timeferry_prove FOR TABLE carts", "DROP PUBLICATION timeferry_prove"},
		"relation audit_log identity f":  {"ALTER TABLE audit_log REPLICA IDENTITY FULL", "ALTER TABLE audit_log REPLICA IDENTITY DEFAULT"},
		"relation inventory identity i":  {"ALTER TABLE inventory REPLICA IDENTITY USING INDEX inventory_place", "ALTER TABLE inventory REPLICA IDENTITY DEFAULT"},
		"relation shipments_us identity": {"ALTER TABLE shipments_us REPLICA IDENTITY FULL", "ALTER TABLE shipments_us REPLICA IDENTITY DEFAULT"},
		"schema timeferry":               {"CREATE SCHEMA timeferry", "DROP SCHEMA timeferry"},
		"role prove_left":                {"CREATE ROLE prove_left", "DROP ROLE prove_left"},
	} {
		t.Run(left, func(t *testing.T) {
			src.Exec(t, c.change)
			out := &bytes.Buffer{}
			d.verdict = verdict{out: out}
			d.proveSourceAsBefore(ctx)
			src.Exec(t, c.undo)
			require.Error(t, d.verdict.err())
			require.Contains(t, out.String(), "new: "+left)
		})
	}
	out := &bytes.Buffer{}
	d.verdict = verdict{out: out}
	d.proveSourceAsBefore(ctx)
	require.NoError(t, d.verdict.err(), out.String())
}
