#!/usr/bin/env bash
# Runs a PostgreSQL server in the foreground and restarts it when the RDS simulator asks for that.
#
#   server-loop.sh docker-entrypoint.sh postgres
#   server-loop.sh postgres -D /var/lib/postgresql/data
#
# A new token in $CONTROL_DIR/restart asks for a restart. If the server does not start then, the token goes to
# $CONTROL_DIR/failed and the loop waits for the next one. SIGTERM and SIGINT stop the server and end the loop.
set -u
control=${CONTROL_DIR:-/control}

token() { cat "$control/restart" 2>/dev/null; }

# Fast shutdown; after ten seconds the immediate one, since a fast shutdown waits for silent replication clients.
stop() {
  kill -INT "$server" 2>/dev/null
  for _ in $(seq 100); do
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  kill -QUIT "$server" 2>/dev/null
  wait "$server" 2>/dev/null
}

trap 'stop; exit 0' TERM INT

seen=$(token)
asked=
"$@" &
server=$!
while :; do
  now=$(token)
  if [ "$now" != "$seen" ]; then
    seen=$now
    asked=yes
    echo "server-loop: restarting the server"
    stop
    "$@" &
    server=$!
  elif ! kill -0 "$server" 2>/dev/null; then
    wait "$server"
    status=$?
    # A server that nobody restarted has failed on its own account.
    [ -n "$asked" ] || exit "$status"
    if [ "$(cat "$control/failed" 2>/dev/null)" != "$seen" ]; then
      echo "server-loop: the server ended with status $status; waiting for the next restart"
      echo "$seen" > "$control/failed"
    fi
  fi
  sleep 0.2
done
