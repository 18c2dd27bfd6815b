#!/usr/bin/env bash
# For /docker-entrypoint-initdb.d of the official PostgreSQL image: lets the server read what the RDS simulator sets.
set -eu
echo "include_if_exists = '${CONTROL_DIR:-/control}/settings.conf'" >> "$PGDATA/postgresql.conf"
