-- Runs once, as the superuser, when the source's data directory is made. MASTER_PASSWORD is the master user's.
--
-- The roles follow RDS: the master user is no superuser but a member of rds_superuser. RDS has it NOREPLICATION and lets
-- members of rds_replication replicate; plain PostgreSQL cannot do that, so it has REPLICATION itself.
\getenv master_password MASTER_PASSWORD

CREATE ROLE rds_replication NOLOGIN;
CREATE ROLE rds_password NOLOGIN;
CREATE ROLE rds_iam NOLOGIN;
CREATE ROLE rds_superuser NOLOGIN;
GRANT rds_replication, rds_password TO rds_superuser WITH ADMIN OPTION;
GRANT pg_monitor, pg_signal_backend, pg_read_all_stats, pg_read_all_settings, pg_stat_scan_tables TO rds_superuser WITH ADMIN OPTION;
GRANT SET ON PARAMETER session_replication_role TO rds_superuser;

CREATE ROLE shopadmin LOGIN NOSUPERUSER CREATEDB CREATEROLE REPLICATION PASSWORD :'master_password';
GRANT rds_superuser TO shopadmin;

CREATE DATABASE shop OWNER shopadmin;
