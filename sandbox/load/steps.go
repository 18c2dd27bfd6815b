package load

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
)

// step is one kind of business transaction.
type step struct {
	name   string
	weight int
	moves  bool // updates a row so that it moves to another chunk of a hypertable
	run    func(ctx context.Context, w *writer, tx pgx.Tx) error
}

// steps are chosen by weight. Between them they insert into, update and delete from every table of the shop.
var steps = []step{
	{name: "order", weight: 18, run: placeOrder},
	{name: "advance order", weight: 8, run: advanceOrder},
	{name: "delete order", weight: 3, run: deleteOrder},
	{name: "new customer", weight: 4, run: newCustomer},
	{name: "update customer", weight: 6, run: updateCustomer},
	{name: "delete customer", weight: 1, run: deleteCustomer},
	{name: "price", weight: 6, run: changePrice},
	{name: "description", weight: 2, run: rewriteDescription},
	{name: "new product", weight: 1, run: newProduct},
	{name: "category", weight: 1, run: reshapeCategory},
	{name: "count stock", weight: 5, run: countStock},
	{name: "move stock", weight: 2, run: moveStock},
	{name: "ship", weight: 4, run: ship},
	{name: "reroute", weight: 2, run: reroute},
	{name: "session", weight: 6, run: session},
	{name: "cart", weight: 5, run: cart},
	{name: "review", weight: 3, run: review},
	{name: "audit", weight: 2, run: keepAudit},
	{name: "device", weight: 2, run: serveDevice},
	{name: "metrics", weight: 6, run: copyMetrics},
	{name: "correct metrics", weight: 3, run: correctMetrics},
	{name: "move metrics", weight: 1, moves: true, run: moveMetrics},
	{name: "event", weight: 6, run: recordEvent},
	{name: "correct event", weight: 2, run: correctEvent},
	{name: "move event", weight: 1, moves: true, run: moveEvent},
	{name: "import", weight: 2, run: importScratch},
}

func (w *writer) choose() step {
	total := 0
	for _, s := range steps {
		total += s.weight
	}
	for {
		n := w.rand.IntN(total)
		for _, s := range steps {
			if n -= s.weight; n >= 0 {
				continue
			}
			if s.moves && w.g.options.Hypertables {
				break // choose another
			}
			return s
		}
	}
}

// bounds are the highest keys when the connection was opened: rows are picked below them.
type bounds struct {
	customers, products, orders, reviews, devices, events int64
}

func (b *bounds) read(ctx context.Context, q pgkit.Querier) error {
	return q.QueryRow(ctx, `SELECT (SELECT coalesce(max(id), 1) FROM customers), (SELECT coalesce(max(id), 1) FROM products),
		(SELECT coalesce(max(id), 1) FROM orders), (SELECT coalesce(max(id), 1) FROM reviews),
		(SELECT coalesce(max(id), 1) FROM iot.devices WHERE id < 1000000), (SELECT coalesce(max(id), 1) FROM iot.sensor_events)`).
		Scan(&b.customers, &b.products, &b.orders, &b.reviews, &b.devices, &b.events)
}

func (w *writer) upTo(n int64) int64 { return 1 + w.rand.Int64N(n) }

// big is a text that neither fits into a page nor can be compressed.
func (w *writer) big() string {
	var b strings.Builder
	for b.Len() < 6000 {
		fmt.Fprintf(&b, "%016x", w.rand.Uint64())
	}
	return b.String()
}

// uuid is made here, so that what is written follows from the seed.
func (w *writer) uuid() string {
	a, b := w.rand.Uint64(), w.rand.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>52, b&0xffffffffffff)
}

func placeOrder(ctx context.Context, w *writer, tx pgx.Tx) error {
	var order int64
	err := tx.QueryRow(ctx, `INSERT INTO orders (customer_id, total)
		SELECT id, 0 FROM customers WHERE id >= $1 ORDER BY id LIMIT 1 RETURNING id`, w.upTo(w.known.customers)).Scan(&order)
	if err != nil {
		return notThere(err)
	}
	w.count("orders", insert, 1)
	for line := range 1 + w.rand.IntN(4) {
		if _, err := w.exec(ctx, tx, "order_items", insert, `INSERT INTO order_items (order_id, line_no, product_id, quantity, unit_price)
			SELECT $1, $2, id, $3, price FROM products WHERE id >= $4 ORDER BY id LIMIT 1`, order, line+1, 1+w.rand.IntN(5), w.upTo(w.known.products)); err != nil {
			return err
		}
	}
	if _, err := w.exec(ctx, tx, "orders", update, `UPDATE orders SET total = (SELECT sum(line_total) FROM order_items WHERE order_id = $1) WHERE id = $1`, order); err != nil {
		return err
	}
	if w.rand.IntN(3) > 0 {
		if _, err := w.exec(ctx, tx, "payments", insert, `INSERT INTO payments (order_id, amount, method) SELECT id, total, 'card' FROM orders WHERE id = $1`, order); err != nil {
			return err
		}
	}
	if w.rand.IntN(4) == 0 {
		_, err = w.exec(ctx, tx, "Order Notes", insert, `INSERT INTO "Order Notes" ("Order Id", "Note No", "Text") VALUES ($1, 1, $2)`, order, "ring \"twice\", it's loud\there\\")
	}
	return err
}

func advanceOrder(ctx context.Context, w *writer, tx pgx.Tx) error {
	order := w.upTo(w.known.orders)
	if _, err := w.exec(ctx, tx, "orders", update, `UPDATE orders SET status = 'packed', history = history || 'packed'::order_status WHERE id = $1 AND cardinality(history) < 20`, order); err != nil {
		return err
	}
	if _, err := w.exec(ctx, tx, "order_items", update, `UPDATE order_items SET quantity = quantity + 1 WHERE order_id = $1 AND line_no = 1`, order); err != nil {
		return err
	}
	if _, err := w.exec(ctx, tx, "Order Notes", update, `UPDATE "Order Notes" SET "Note No" = "Note No" + 100, "Text" = "Text" || '.' WHERE "Order Id" = $1 AND "Note No" = 1`, order); err != nil {
		return err
	}
	_, err := w.exec(ctx, tx, "payments", update, `UPDATE payments SET method = 'transfer' WHERE order_id = $1`, order)
	return err
}

// deleteOrder takes items, payments and notes with it by foreign key, and leaves shipments without their order.
func deleteOrder(ctx context.Context, w *writer, tx pgx.Tx) error {
	_, err := w.exec(ctx, tx, "orders", remove, `DELETE FROM orders WHERE id = $1`, w.upTo(w.known.orders))
	return err
}

func newCustomer(ctx context.Context, w *writer, tx pgx.Tx) error {
	var id int64
	if err := tx.QueryRow(ctx, `INSERT INTO customers (email, name, tier) VALUES ($1, $2, 'basic') RETURNING id`,
		w.uuid()+"@example.org", "Zoë O'Neill").Scan(&id); err != nil {
		return err
	}
	w.count("customers", insert, 1)
	_, err := w.exec(ctx, tx, "addresses", insert, `INSERT INTO addresses (customer_id, label, street, city, country)
		VALUES ($1, 'home', '1 Main Street', 'Town', 'US'), ($1, 'work', '2 Main Street', 'Town', 'US')`, id)
	return err
}

func updateCustomer(ctx context.Context, w *writer, tx pgx.Tx) error {
	id := w.upTo(w.known.customers)
	if _, err := w.exec(ctx, tx, "customers", update, `UPDATE customers SET tier = 'gold', preferences = preferences || jsonb_build_object('n', $2::bigint) WHERE id = $1`, id, w.seq); err != nil {
		return err
	}
	if _, err := w.exec(ctx, tx, "addresses", update, `UPDATE addresses SET city = city || '' WHERE customer_id = $1`, id); err != nil {
		return err
	}
	_, err := w.exec(ctx, tx, "addresses", remove, `DELETE FROM addresses WHERE customer_id = $1 AND label = 'work'`, id)
	return err
}

func deleteCustomer(ctx context.Context, w *writer, tx pgx.Tx) error {
	_, err := w.exec(ctx, tx, "customers", remove, `DELETE FROM customers WHERE id = $1`, w.upTo(w.known.customers))
	return err
}

// changePrice leaves a description that is stored out of line alone: the change stream does not carry it.
func changePrice(ctx context.Context, w *writer, tx pgx.Tx) error {
	_, err := w.exec(ctx, tx, "products", update, `UPDATE products SET price = price + 0.01, attributes = attributes || '{"sale": true}', tags = (tags || ARRAY['sale'])[1:8] WHERE id = $1`, w.upTo(w.known.products))
	return err
}

func rewriteDescription(ctx context.Context, w *writer, tx pgx.Tx) error {
	_, err := w.exec(ctx, tx, "products", update, `UPDATE products SET description = $2, image = CASE WHEN image IS NULL THEN $3::bytea ELSE image END WHERE id = $1`,
		w.upTo(w.known.products), w.big(), []byte(w.big()))
	return err
}

// newProduct makes one, gives it another number, and deletes the one made before it.
func newProduct(ctx context.Context, w *writer, tx pgx.Tx) error {
	sku := w.uuid()
	if _, err := w.exec(ctx, tx, "products", insert, `INSERT INTO products (category_id, sku, name, price, size, description)
		VALUES (1, $1, 'Novelty', 9.99, ROW(1, 2.5, NULL)::dimensions, $2)`, sku, w.big()); err != nil {
		return err
	}
	if _, err := w.exec(ctx, tx, "products", update, `UPDATE products SET id = nextval('products_id_seq'), sku = 'N-' || sku WHERE sku = $1`, sku); err != nil {
		return err
	}
	_, err := w.exec(ctx, tx, "products", remove, `DELETE FROM products p WHERE id = (SELECT max(id) FROM products WHERE sku LIKE 'N-%' AND sku <> 'N-' || $1)
		AND NOT EXISTS (SELECT 1 FROM order_items i WHERE i.product_id = p.id)
		AND NOT EXISTS (SELECT 1 FROM reviews r WHERE r.product_id = p.id) AND NOT EXISTS (SELECT 1 FROM inventory s WHERE s.product_id = p.id)`, sku)
	return err
}

func reshapeCategory(ctx context.Context, w *writer, tx pgx.Tx) error {
	if _, err := w.exec(ctx, tx, "categories", insert, `INSERT INTO categories (parent_id, name) VALUES (1 + $1::bigint % 8, 'Season')`, w.seq); err != nil {
		return err
	}
	if _, err := w.exec(ctx, tx, "categories", update, `UPDATE categories SET name = 'Category ' || $1::bigint WHERE id = 1 + $1::bigint % 40`, w.seq); err != nil {
		return err
	}
	_, err := w.exec(ctx, tx, "categories", remove, `DELETE FROM categories WHERE name = 'Season' AND id < (SELECT max(id) FROM categories) - 5`)
	return err
}

func countStock(ctx context.Context, w *writer, tx pgx.Tx) error {
	_, err := w.exec(ctx, tx, "inventory", update, `UPDATE inventory SET quantity = quantity + $2, counted_at = localtimestamp WHERE product_id = $1 AND warehouse IN ('north', 'south')`,
		w.upTo(w.known.products), w.rand.IntN(100))
	return err
}

// moveStock changes a row's key, deletes one row and makes another.
func moveStock(ctx context.Context, w *writer, tx pgx.Tx) error {
	product := w.upTo(w.known.products)
	if _, err := w.exec(ctx, tx, "inventory", update, `UPDATE inventory SET warehouse = 'harbour ' || $2::bigint WHERE product_id = $1 AND warehouse LIKE 'harbour%'`, product, w.rand.Int64()); err != nil {
		return err
	}
	if _, err := w.exec(ctx, tx, "inventory", remove, `DELETE FROM inventory WHERE product_id = $1 AND warehouse LIKE 'dock%'`, product); err != nil {
		return err
	}
	_, err := w.exec(ctx, tx, "inventory", insert, `INSERT INTO inventory (warehouse, product_id, quantity) SELECT 'dock ' || $2::bigint, id, 5 FROM products WHERE id = $1`, product, w.rand.Int64())
	return err
}

var regions = []string{"eu", "us", "asia", "moon"}

func (w *writer) region() string { return regions[w.rand.IntN(len(regions))] }

func ship(ctx context.Context, w *writer, tx pgx.Tx) error {
	order := w.upTo(w.known.orders)
	if _, err := w.exec(ctx, tx, "shipments", insert, `INSERT INTO shipments (region, order_id, carrier) SELECT $2, id, 'Pigeon' FROM orders WHERE id = $1`, order, w.region()); err != nil {
		return err
	}
	_, err := w.exec(ctx, tx, "shipments", update, `UPDATE shipments SET state = 'under way', shipped_at = now() WHERE order_id = $1`, order)
	return err
}

// reroute moves shipments from one partition to another.
func reroute(ctx context.Context, w *writer, tx pgx.Tx) error {
	order := w.upTo(w.known.orders)
	if _, err := w.exec(ctx, tx, "shipments", update, `UPDATE shipments SET region = $2 WHERE order_id = $1 AND region <> $2`, order, w.region()); err != nil {
		return err
	}
	_, err := w.exec(ctx, tx, "shipments", remove, `DELETE FROM shipments WHERE order_id = $1`, order+1)
	return err
}

func session(ctx context.Context, w *writer, tx pgx.Tx) error {
	token := w.uuid()
	if _, err := w.exec(ctx, tx, "sessions", insert, `INSERT INTO sessions (token, customer_id, client, valid) SELECT $1, id, '2001:db8::1', tstzrange(now(), NULL) FROM customers WHERE id >= $2 ORDER BY id LIMIT 1`,
		token, w.upTo(w.known.customers)); err != nil {
		return err
	}
	if _, err := w.exec(ctx, tx, "sessions", update, `UPDATE sessions SET flags = flags | B'00000001', valid = tstzrange(lower(valid), now()) WHERE token = $1`, token); err != nil {
		return err
	}
	_, err := w.exec(ctx, tx, "sessions", remove, `DELETE FROM sessions WHERE token = (SELECT token FROM sessions WHERE token > $1::uuid ORDER BY token LIMIT 1)`, w.uuid())
	return err
}

// cart changes a primary key: the old one must be found on the other side.
func cart(ctx context.Context, w *writer, tx pgx.Tx) error {
	id := w.uuid()
	if _, err := w.exec(ctx, tx, "carts", insert, `INSERT INTO carts (id, contents) VALUES ($1, '[{"product": 1}]')`, id); err != nil {
		return err
	}
	if _, err := w.exec(ctx, tx, "carts", update, `UPDATE carts SET id = $2, contents = contents || '[{"product": 2}]' WHERE id = (SELECT id FROM carts WHERE id >= $1::uuid ORDER BY id LIMIT 1)`, w.uuid(), w.uuid()); err != nil {
		return err
	}
	_, err := w.exec(ctx, tx, "carts", remove, `DELETE FROM carts WHERE id = (SELECT id FROM carts WHERE id >= $1::uuid ORDER BY id LIMIT 1)`, w.uuid())
	return err
}

func review(ctx context.Context, w *writer, tx pgx.Tx) error {
	if _, err := w.exec(ctx, tx, "reviews", insert, `INSERT INTO reviews (product_id, stars, body) SELECT id, 4, 'Nearly perfect' FROM products WHERE id >= $1 ORDER BY id LIMIT 1`, w.upTo(w.known.products)); err != nil {
		return err
	}
	if _, err := w.exec(ctx, tx, "reviews", update, `UPDATE reviews SET body = body || ', after all' WHERE id = $1 AND length(body) < 500`, w.upTo(w.known.reviews)); err != nil {
		return err
	}
	_, err := w.exec(ctx, tx, "reviews", remove, `DELETE FROM reviews WHERE id = $1`, w.upTo(w.known.reviews))
	return err
}

// keepAudit works on the table without a key: two equal rows are made, and one of two equal rows is changed or deleted.
func keepAudit(ctx context.Context, w *writer, tx pgx.Tx) error {
	key := fmt.Sprintf("%d/%d", w.number, w.seq)
	if _, err := w.exec(ctx, tx, "audit_log", insert, `INSERT INTO audit_log (actor, action, relation, row_key, detail)
		SELECT 'load', 'CHECK', 'nothing', CASE WHEN $1 LIKE '%7' THEN NULL ELSE $1 END, '{"a" : 1}' FROM generate_series(1, 2)`, key); err != nil {
		return err
	}
	const oneOf = `(SELECT ctid FROM audit_log WHERE at >= now() - interval '1 minute' AND actor = 'load' LIMIT 1)`
	if w.rand.IntN(2) == 0 {
		_, err := w.exec(ctx, tx, "audit_log", update, `UPDATE audit_log SET action = 'CHECKED' WHERE ctid = `+oneOf)
		return err
	}
	_, err := w.exec(ctx, tx, "audit_log", remove, `DELETE FROM audit_log WHERE ctid = `+oneOf)
	return err
}

// firstVisitor and above are numbers of devices that come and go; the shop's own are below.
const firstVisitor = 1_000_000

func serveDevice(ctx context.Context, w *writer, tx pgx.Tx) error {
	if _, err := w.exec(ctx, tx, "iot.devices", update, `UPDATE iot.devices SET settings = settings || jsonb_build_object('served', $2::bigint), place = point(place[0] + 0.1, place[1]) WHERE id = $1`,
		w.upTo(w.known.devices), w.seq); err != nil {
		return err
	}
	// A visitor's device, which comes and goes.
	visitor := firstVisitor + w.number
	if _, err := w.exec(ctx, tx, "iot.devices", remove, `DELETE FROM iot.devices WHERE id = $1`, visitor); err != nil {
		return err
	}
	_, err := w.exec(ctx, tx, "iot.devices", insert, `INSERT INTO iot.devices (id, name, kind, installed) VALUES ($1, 'Visitor', 'badge', current_date)`, visitor)
	return err
}

// now never gives the same time twice: device and time are the key of metrics, and the device belongs to the connection.
func (w *writer) now() time.Time {
	now := time.Now().UTC().Truncate(time.Microsecond)
	if !now.After(w.lastTS) {
		now = w.lastTS.Add(time.Microsecond)
	}
	w.lastTS = now
	return now
}

// device is one that no other connection writes metrics for.
func (w *writer) device() int64 {
	connections := int64(w.g.options.Connections)
	own := w.rand.Int64N(max(1, w.known.devices/connections))
	return 1 + own*connections + int64(w.number)
}

func copyMetrics(ctx context.Context, w *writer, tx pgx.Tx) error {
	device := w.device()
	rows := make([][]any, 20+w.rand.IntN(80))
	for i := range rows {
		rows[i] = []any{int32(device), w.now(), 20 + w.rand.Float64(), float32(50), int16(99)}
	}
	n, err := tx.CopyFrom(ctx, pgx.Identifier{"metrics"}, []string{"device_id", "ts", "temperature", "humidity", "battery"}, pgx.CopyFromRows(rows))
	w.count("metrics", insert, n)
	return err
}

// past is a moment in the last 25 days, where there are metrics and events.
func (w *writer) past() time.Time {
	return time.Now().UTC().Add(-time.Duration(w.rand.Int64N(int64(25 * 24 * time.Hour))))
}

const pickMetric = ` WHERE device_id = $1 AND ts = (SELECT ts FROM metrics WHERE device_id = $1 AND ts >= $2 ORDER BY ts LIMIT 1)`

func correctMetrics(ctx context.Context, w *writer, tx pgx.Tx) error {
	if _, err := w.exec(ctx, tx, "metrics", update, `UPDATE metrics SET temperature = temperature + 1, humidity = NULL`+pickMetric, w.device(), w.past()); err != nil {
		return err
	}
	_, err := w.exec(ctx, tx, "metrics", remove, `DELETE FROM metrics`+pickMetric, w.device(), w.past())
	return err
}

// moveMetrics changes part of the key, so that the row belongs to another chunk of the target's hypertable.
func moveMetrics(ctx context.Context, w *writer, tx pgx.Tx) error {
	_, err := w.exec(ctx, tx, "metrics", update, `UPDATE metrics SET ts = ts - interval '3 days 00:00:00.000007'`+pickMetric, w.device(), w.past())
	return err
}

func recordEvent(ctx context.Context, w *writer, tx pgx.Tx) error {
	_, err := w.exec(ctx, tx, "iot.sensor_events", insert, `INSERT INTO iot.sensor_events (ts, device_id, kind, payload)
		SELECT now(), id, 'opened', jsonb_build_object('by', name) FROM iot.devices WHERE id = $1`, w.upTo(w.known.devices))
	return err
}

func correctEvent(ctx context.Context, w *writer, tx pgx.Tx) error {
	id := w.upTo(w.known.events)
	if _, err := w.exec(ctx, tx, "iot.sensor_events", update, `UPDATE iot.sensor_events SET kind = 'corrected', payload = NULL WHERE id = $1`, id); err != nil {
		return err
	}
	_, err := w.exec(ctx, tx, "iot.sensor_events", remove, `DELETE FROM iot.sensor_events WHERE id = $1`, id+1)
	return err
}

// moveEvent moves an event to another partition, where the target has a chunk.
func moveEvent(ctx context.Context, w *writer, tx pgx.Tx) error {
	_, err := w.exec(ctx, tx, "iot.sensor_events", update, `UPDATE iot.sensor_events SET ts = now() - (now() - ts) / 2 WHERE id = $1`, w.upTo(w.known.events))
	return err
}

func importScratch(ctx context.Context, w *writer, tx pgx.Tx) error {
	if w.rand.IntN(4) == 0 {
		if _, err := w.exec(ctx, tx, "scratch", truncate, `TRUNCATE scratch`); err != nil {
			return err
		}
	}
	_, err := w.exec(ctx, tx, "scratch", insert, `INSERT INTO scratch (id, line) SELECT coalesce(max(id), 0) + 1, 'import' FROM scratch`)
	return err
}

// notThere makes a rollback of a pick that found nothing.
func notThere(err error) error {
	if err == pgx.ErrNoRows {
		return errGiveUp
	}
	return err
}
