-- Fills the shop's own tables on the server's side. The setting shop.scale says how much:
-- 1 is 2 million rows in metrics. Times are relative to now, everything else is the same in every run. The caller has
-- switched triggers and foreign key checks off for the session, since every row here is right by construction.

CREATE FUNCTION pg_temp.scaled(at_scale_one integer, at_least integer) RETURNS integer LANGUAGE sql STABLE AS
    $$SELECT greatest(at_least, round(at_scale_one * current_setting('shop.scale')::float8)::integer)$$;

SELECT setseed(0.4711);

INSERT INTO customers (email, name, tier, birthday, preferences, created_at, updated_at)
SELECT 'customer' || i || '@example.com', 'Customer ' || i, (ARRAY['basic', 'basic', 'silver', 'gold'])[1 + i % 4]::customer_tier,
    CASE WHEN i % 500 = 0 THEN 'infinity' WHEN i % 7 = 0 THEN NULL ELSE date '1950-01-01' + (random() * 20000)::integer END,
    jsonb_build_object('newsletter', i % 3 = 0, 'language', (ARRAY['en', 'de', 'fr', 'ja'])[1 + i % 4]),
    now() - random() * interval '900 days', now() - random() * interval '30 days'
FROM generate_series(1, pg_temp.scaled(20000, 20)) i;

INSERT INTO addresses (customer_id, label, street, city, country)
SELECT 1 + i % (SELECT count(*) FROM customers), CASE WHEN i % 3 = 0 THEN 'billing' ELSE 'home' END,
    (1 + i % 190) || ' ' || (ARRAY['Elm Street', 'Bahnhofstraße', 'Rue de l''Église', '桜通り'])[1 + i % 4],
    (ARRAY['Springfield', 'Köln', 'Lyon', '京都'])[1 + i % 4], (ARRAY['US', 'DE', 'FR', 'JP'])[1 + i % 4]
FROM generate_series(1, pg_temp.scaled(30000, 30)) i;

INSERT INTO categories (id, parent_id, name)
SELECT i, CASE WHEN i > 8 THEN 1 + i % 8 END, 'Category ' || i FROM generate_series(1, 40) i;
SELECT setval(pg_get_serial_sequence('categories', 'id'), 40);

-- Every tenth description and image is too big for its page and too random to be compressed.
INSERT INTO products (category_id, sku, name, status, price, weight_kg, size, tags, attributes, description, image, updated_at)
SELECT 1 + i % 40, 'SKU-' || lpad(i::text, 7, '0'), 'Product ' || i, (ARRAY['active', 'active', 'active', 'draft', 'retired'])[1 + i % 5]::product_status,
    round((1 + random() * 500)::numeric, 2), CASE WHEN i % 9 = 0 THEN 'NaN' ELSE random() * 40 END,
    CASE WHEN i % 4 = 0 THEN NULL ELSE ROW(1 + i % 90, 2 + i % 60, 3 + i % 30)::dimensions END,
    CASE WHEN i % 6 = 0 THEN '{}' ELSE ARRAY['tag' || i % 17, 'with "quotes", commas', NULL] END,
    jsonb_build_object('colour', (ARRAY['red', 'green', 'blue'])[1 + i % 3], 'ratings', jsonb_build_array(i % 5, i % 3)),
    CASE WHEN i % 10 = 0 THEN (SELECT string_agg(md5(i::text || '.' || n), '') FROM generate_series(1, 250) n) ELSE 'A fine product, number ' || i END,
    CASE WHEN i % 10 = 0 THEN (SELECT decode(string_agg(md5(n || '/' || i::text), ''), 'hex') FROM generate_series(1, 200) n) END,
    now() - random() * interval '30 days'
FROM generate_series(1, pg_temp.scaled(2000, 30)) i;

INSERT INTO orders (customer_id, status, history, total, placed_at)
SELECT 1 + (random() * ((SELECT count(*) FROM customers) - 1))::bigint, (ARRAY['placed', 'paid', 'packed', 'shipped', 'returned'])[1 + i % 5]::order_status,
    (ARRAY['placed', 'paid', 'packed', 'shipped', 'returned']::order_status[])[1 : 1 + i % 5], round((random() * 900)::numeric, 2),
    now() - (pg_temp.scaled(50000, 50) - i) * interval '90 days' / pg_temp.scaled(50000, 50)
FROM generate_series(1, pg_temp.scaled(50000, 50)) i;

INSERT INTO order_items (order_id, line_no, product_id, quantity, unit_price)
SELECT o.id, n, 1 + (o.id * 7 + n * 13) % (SELECT count(*) FROM products), 1 + (o.id + n) % 4, 5 + (o.id + n) % 200
FROM orders o CROSS JOIN LATERAL generate_series(1, 1 + o.id % 5) n;

INSERT INTO payments (id, order_id, amount, method, paid_at)
SELECT md5('payment ' || id)::uuid, id, total, (ARRAY['card', 'invoice', 'transfer'])[1 + id % 3], placed_at + interval '10 minutes'
FROM orders WHERE status <> 'placed';

INSERT INTO "Order Notes" ("Order Id", "Note No", "Text")
SELECT id, n, 'Note ' || n || ' says: "leave it at the door" \ 100%' FROM orders CROSS JOIN generate_series(1, 2) n WHERE id % 10 = 0;

INSERT INTO inventory (warehouse, product_id, quantity, reserved, counted_at)
SELECT w, p.id, (random() * 1000)::integer, (random() * 10)::integer, CASE WHEN p.id % 3 = 0 THEN NULL ELSE now() AT TIME ZONE 'UTC' - random() * interval '20 days' END
FROM products p CROSS JOIN unnest(ARRAY['north', 'south', 'harbour']) w;

INSERT INTO audit_log (at, actor, action, relation, row_key, detail)
SELECT now() - (i / 2) * interval '1 minute', 'import', 'INSERT', 'orders', (i / 2)::text, '{"source": "import",  "batch": 1}'
FROM generate_series(1, pg_temp.scaled(5000, 40)) i; -- in pairs of equal rows

INSERT INTO shipments (region, order_id, carrier, state, shipped_at)
SELECT (ARRAY['eu', 'us', 'asia', 'moon'])[1 + id / 2 % 4], id, (ARRAY['Pigeon', 'Rocket', 'Barge'])[1 + id % 3], 'delivered', placed_at + interval '1 day'
FROM orders WHERE id % 2 = 0;

INSERT INTO sessions (token, customer_id, client, valid, flags)
SELECT md5('session ' || i)::uuid, 1 + i % (SELECT count(*) FROM customers), ('10.0.' || i % 250 || '.' || i % 199)::inet,
    tstzrange(now() - interval '1 day', CASE WHEN i % 5 > 0 THEN now() + interval '1 day' END), (i % 256)::bit(8)
FROM generate_series(1, pg_temp.scaled(5000, 25)) i;

INSERT INTO carts (id, customer_id, contents)
SELECT md5('cart ' || i)::uuid, CASE WHEN i % 4 > 0 THEN 1 + i % (SELECT count(*) FROM customers) END, jsonb_build_array(jsonb_build_object('product', i, 'n', i % 3))
FROM generate_series(1, pg_temp.scaled(3000, 25)) i;

INSERT INTO reviews (product_id, customer_id, stars, body)
SELECT 1 + i % (SELECT count(*) FROM products), 1 + i % (SELECT count(*) FROM customers), 1 + i % 5,
    'I have used this ' || (ARRAY['wonderful', 'terrible', 'ordinary'])[1 + i % 3] || ' thing for ' || i % 30 || ' days'
FROM generate_series(1, pg_temp.scaled(20000, 30)) i;

INSERT INTO scratch (id, line) SELECT i, 'line ' || i FROM generate_series(1, 20) i;

REFRESH MATERIALIZED VIEW daily_sales;
