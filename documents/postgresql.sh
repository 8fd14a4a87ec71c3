#!/bin/sh
# Lets PostgreSQL write a checkpoint, then freezes its file systems, around a snapshot; see docs/hooks-documents.md.
# The agent puts parameters into this text as they are, and root runs it: each allowedPattern therefore admits no quote,
# no line end, no $, no backslash, and each value stands in single quotes.
kind=postgresql
command='{{ command }}'
execution_id='{{ executionId }}'
volume_ids='{{ volumeIds }}'
volume_devices='{{ volumeDevices }}'
not_after='{{ notAfter }}'
timeout_seconds='{{ timeoutSeconds }}'
os_user='{{ osUser }}'
port='{{ port }}'
database='{{ database }}'
socket_directory='{{ socketDirectory }}'

database_paths=
one_volume_needs_no_freeze=no # nothing but the freeze keeps the data still
longest_hold_ms=1800000
open_session() { :; }
session_is_held() { :; }
end_session() { :; }

query() { # query SECONDS SQL
  timeout "$1" runuser -u "$os_user" -- "$psql" -X -A -t -q -w -v ON_ERROR_STOP=1 ${socket_directory:+-h "$socket_directory"} \
    -p "$port" -d "$database" -c "$2" </dev/null 2>"$state/message" || { cat "$state/message"; return 1; }
}

check_ready() {
  for tool in runuser timeout; do
    command -v "$tool" >/dev/null || { warn "$tool is missing"; return 1; }
  done
  psql=$(command -v psql) || for psql in /usr/pgsql-*/bin/psql /usr/lib/postgresql/*/bin/psql ''; do
    [ ! -x "$psql" ] || break
  done
  [ -n "$psql" ] || { warn 'psql is missing'; return 1; }
  PGCONNECT_TIMEOUT=5
  export PGCONNECT_TIMEOUT
  data=$(query 10 'SHOW data_directory') || { warn "the server cannot be reached: $data"; return 1; }
  [ -d "$data" ] || { warn "the server's data directory '$data' is not on this instance"; return 1; }
  may=$(query 10 "SELECT rolsuper OR EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'pg_checkpoint'
    AND pg_has_role(current_user, r.oid, 'member')) FROM pg_roles WHERE rolname = current_user") || may=
  [ "$may" = t ] || { warn "the role of $os_user may not CHECKPOINT: $may"; return 1; }
  spaces=$(query 10 'SELECT pg_tablespace_location(oid) FROM pg_tablespace') || { warn "$spaces"; return 1; }
  # Nothing is said of pg_wal by the server; where it lies elsewhere it is a link.
  database_paths=$({ printf '%s\n' "$data" "$data/pg_wal" "$spaces"; [ ! -e "$data/pg_xlog" ] || put "$data/pg_xlog"; } |
    sed '/^$/d' | sort -u)
}

# For a short recovery and little left to write; it blocks nobody and may take its time.
quiesce() {
  message=$(query "$timeout_seconds" CHECKPOINT) || { warn "no checkpoint: $message"; return 1; }
}

# include: freeze.sh
