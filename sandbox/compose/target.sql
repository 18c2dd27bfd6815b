-- Runs once, as the superuser, when the target's data directory is made. MASTER_PASSWORD is the administrator's.
--
-- The roles follow the service: its administrator is no superuser, and the extension is there already.
\getenv master_password MASTER_PASSWORD

CREATE ROLE tsdbadmin LOGIN NOSUPERUSER CREATEDB CREATEROLE REPLICATION PASSWORD :'master_password';
GRANT pg_monitor, pg_signal_backend, pg_read_all_stats, pg_read_all_settings TO tsdbadmin;
GRANT SET ON PARAMETER session_replication_role TO tsdbadmin;

CREATE DATABASE tsdb OWNER tsdbadmin;

\connect tsdb
CREATE EXTENSION IF NOT EXISTS timescaledb;
