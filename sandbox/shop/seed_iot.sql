-- Fills the sensors' tables on the server's side, beside seed_shop.sql. The setting shop.scale says how much:
-- 1 is 2 million rows in metrics. Times are relative to now, everything else is the same in every run. The caller has
-- switched triggers and foreign key checks off for the session, since every row here is right by construction.

CREATE FUNCTION pg_temp.scaled(at_scale_one integer, at_least integer) RETURNS integer LANGUAGE sql STABLE AS
    $$SELECT greatest(at_least, round(at_scale_one * current_setting('shop.scale')::float8)::integer)$$;

SELECT setseed(0.1147);

INSERT INTO iot.devices (id, name, kind, place, address, mac, installed, report_every, settings)
SELECT i, 'Sensor ' || i, (ARRAY['temperature', 'door', 'belt'])[1 + i % 3], point(i % 20, i / 20.0), ('192.168.' || i / 200 || '.' || 1 + i % 200)::inet,
    ('08:00:2b:00:' || lpad(to_hex(i / 256), 2, '0') || ':' || lpad(to_hex(i % 256), 2, '0'))::macaddr, date '2021-03-01' + i, make_interval(secs => 60 + i % 600),
    jsonb_build_object('firmware', '2.' || i % 9)
FROM generate_series(1, pg_temp.scaled(200, 20)) i;

INSERT INTO iot.sensor_events (ts, device_id, kind, payload)
SELECT now() - (pg_temp.scaled(200000, 200) - i) * interval '100 days' / pg_temp.scaled(200000, 200), 1 + i % (SELECT count(*) FROM iot.devices),
    (ARRAY['opened', 'closed', 'moved', 'alarm'])[1 + i % 4], CASE WHEN i % 5 > 0 THEN jsonb_build_object('n', i, 'load', round(random()::numeric, 4)) END
FROM generate_series(1, pg_temp.scaled(200000, 200)) i;

-- Each device reports evenly over 30 days.
INSERT INTO metrics (device_id, ts, temperature, humidity, battery)
SELECT d.id, date_trunc('hour', now()) - interval '30 days' + n * (interval '30 days' / (pg_temp.scaled(2000000, 2000) / d.devices)),
    CASE WHEN n % 1000 = 7 THEN 'NaN' ELSE 15 + 10 * sin(n / 50.0) + random() END, CASE WHEN n % 11 > 0 THEN 40 + random() * 20 END, 100 - n % 100
FROM (SELECT id, count(*) OVER ()::integer AS devices FROM iot.devices) d
CROSS JOIN LATERAL generate_series(1, pg_temp.scaled(2000000, 2000) / d.devices) n;

-- Made after the rows: keeping it while they come in takes longer.
CREATE INDEX metrics_ts ON metrics (ts DESC);
