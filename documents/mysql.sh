#!/bin/sh
# Locks MySQL or MariaDB in one session, then freezes its file systems, around a snapshot; see docs/hooks-documents.md.
# The agent puts parameters into this text as they are, and root runs it: each allowedPattern therefore admits no quote,
# no line end, no $, no backslash, and each value stands in single quotes.
kind=mysql
command='{{ command }}'
execution_id='{{ executionId }}'
volume_ids='{{ volumeIds }}'
volume_devices='{{ volumeDevices }}'
not_after='{{ notAfter }}'
timeout_seconds='{{ timeoutSeconds }}'
option_file='{{ optionFile }}'
secret_id='{{ secretId }}'
lock_method='{{ lockMethod }}'
lock_wait='{{ lockWaitSeconds }}'

database_paths=
one_volume_needs_no_freeze=yes # the lock keeps the data still, and a snapshot of one volume is of one instant
longest_hold_ms=480000         # InnoDB ends its server when a write has waited for 600 s
session=/run/auto-snapshots/mysql/session.$execution_id
credentials=/run/auto-snapshots/mysql/credentials.$execution_id
HOME=${HOME:-/root}
MYSQL_HISTFILE=/dev/null
export HOME MYSQL_HISTFILE

find_client() {
  client=$(command -v mariadb || command -v mysql) || { warn 'no mariadb or mysql client'; return 1; }
  defaults=
  [ -z "$option_file" ] || defaults=--defaults-file=$option_file
  [ -z "$secret_id" ] || defaults=--defaults-extra-file=$credentials
}

# Root's client does what its options say, and they may name a plugin to load or a file to write.
is_roots_own() {
  case $(stat -Lc '%u %A' -- "$1") in
    '0 -'????-??-?) ;;
    *) warn "the option file $1 must be root's, and writable by nobody else"; return 1 ;;
  esac
}

# The secret is JSON with username and password, as Secrets Manager's own database secrets are.
fetch_secret() {
  AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-${AWS_SSM_REGION_NAME-}}
  export AWS_DEFAULT_REGION
  secret=$(timeout 20 aws secretsmanager get-secret-value --secret-id "$secret_id" --query SecretString --output text 2>&1) ||
    { warn "the secret cannot be read: $secret"; return 1; }
  if ! user=$(secret_part username) || ! password=$(secret_part password); then
    warn 'the secret is not JSON with username and password (read by jq or python3)'
    return 1
  fi
  printf '[client]\nuser="%s"\npassword="%s"\n' "$user" "$password" >"$credentials"
}
secret_part() { # with \ and " escaped for an option file
  if command -v jq >/dev/null; then
    printf '%s' "$secret" | jq -er ".$1"
  else
    printf '%s' "$secret" | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
  fi 2>/dev/null >"$credentials.part" || return 1
  sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' "$credentials.part"
  rm -f "$credentials.part"
}

sql() {
  timeout 10 "$client" ${defaults:+"$defaults"} --connect-timeout=5 --batch --skip-column-names --raw -e "$1" \
    </dev/null 2>"$state/message" || { cat "$state/message"; return 1; }
}

check_ready() {
  for tool in grep mkfifo stat timeout; do
    command -v "$tool" >/dev/null || { warn "$tool is missing"; return 1; }
  done
  [ -z "$option_file" ] || [ -z "$secret_id" ] || { warn 'optionFile and secretId exclude each other'; return 1; }
  [ -z "$option_file" ] || [ -r "$option_file" ] || { warn "there is no option file $option_file"; return 1; }
  [ -z "$option_file" ] || is_roots_own "$option_file" || return 1
  find_client || return 1
  [ -z "$secret_id" ] || fetch_secret || return 1
  version=$(sql 'SELECT VERSION()') || { warn "the server cannot be reached: $version"; return 1; }
  sql 'SHOW GRANTS' | grep -Eq 'RELOAD|ALL PRIVILEGES' || { warn 'the user lacks RELOAD, which the lock needs'; return 1; }
  if [ "$lock_method" = auto ]; then
    lock_method=flush
    case $version in
      10.[0-3].*) ;;
      [1-9][0-9].*MariaDB*) lock_method=backup-stage ;; # since 10.4; waits for no SELECT
    esac
  fi
  database_paths=$(paths_of_server) && [ -n "$database_paths" ]
}

# Whatever the server needs to start from: directories, then single tables and databases that lie elsewhere.
paths_of_server() {
  settings=$(sql "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('datadir', 'innodb_data_home_dir',
    'innodb_log_group_home_dir', 'innodb_undo_directory', 'innodb_data_file_path', 'log_bin_basename',
    'relay_log_basename', 'aria_log_dir_path', 'rocksdb_datadir')") || { warn "$settings"; return 1; }
  datadir=$(put "$settings" | sed -n 's/^datadir	//p')
  [ -d "$datadir" ] || { warn "the server's datadir '$datadir' is not on this instance"; return 1; }
  files=
  case $version in
    *MariaDB*) ;;
    *) files=$(sql "SELECT FILE_NAME FROM information_schema.FILES WHERE FILE_TYPE <> 'TEMPORARY'") ||
      { warn "$files"; return 1; } ;;
  esac
  {
    put "$settings" | sed -e 's/^[a-z_]*	//' | tr ';' '\n' | sed 's/:[0-9].*//'
    put "$files" | sed 's,/[^/]*$,,'
    find "$datadir" -maxdepth 2 -name '*.isl' -exec sh -c 'cat "$1"; echo' _ {} \;
    find "$datadir" -maxdepth 2 -type l
  } | sed -e '/^$/d' -e "s,^[^/],${datadir%/}/&," | sort -u
}

# One client for both stages, fed through a pipe that it holds open itself, so that no end of file ever comes.
open_session() {
  find_client
  rm -f "$session".*
  mkfifo "$session.in"
  (
    "$client" ${defaults:+"$defaults"} --connect-timeout=5 --batch --skip-column-names --unbuffered --skip-reconnect \
      <>"$session.in" >"$session.out" 2>"$session.err" &
    put "$! $(started_at $!)" >"$session.pid"
    wait
    : >"$session.gone"
  ) &
}
started_at() { awk '{ sub(/.*\) /, ""); print $20 }' "/proc/$1/stat" 2>/dev/null; }
tell() { printf '%s\n' "$1" 1<>"$session.in"; }

# Until a line has come from the session, or the session has ended, or so many tenths of a second have passed.
heard() {
  tries=$2
  until grep -q "^$1" "$session.out" 2>/dev/null; do
    [ ! -e "$session.gone" ] && [ "$tries" -gt 0 ] || return 1
    tries=$((tries - 1))
    sleep 0.1
  done
}

# The client ends at the first error, so the last line proves all before it. wait_timeout lets the server itself end a
# session of which everybody has died.
quiesce() {
  tell "SET SESSION lock_wait_timeout = $lock_wait; SET SESSION wait_timeout = $((limit / 1000 + 2));"
  tell "SELECT 'connection', CONNECTION_ID();"
  case $lock_method in
    backup-stage) tell 'BACKUP STAGE START; BACKUP STAGE FLUSH; BACKUP STAGE BLOCK_DDL; BACKUP STAGE BLOCK_COMMIT;' ;;
    *) tell 'FLUSH TABLES WITH READ LOCK;' ;;
  esac
  tell "SELECT 'locked';"
  if ! heard locked "$((lock_wait * 10 + 10))"; then
    warn "no lock within $lock_wait s: $(head -c 300 "$session.err" 2>/dev/null)"
    return 1
  fi
  # What cannot be frozen must at least be on the disk: MyISAM and the binary log are not written through.
  [ -z "$unfrozen" ] || sync
}

session_is_held() {
  [ -e "$session.in" ] || return 1
  tell "SELECT 'still here';"
  heard 'still here' 50
}

end_session() { # end_session EXECUTION-ID
  session=/run/auto-snapshots/mysql/session.$1
  credentials=/run/auto-snapshots/mysql/credentials.$1
  [ -e "$session.in" ] || { rm -f "$credentials" "$credentials.part"; return 0; }
  tell quit
  tries=20
  until [ -e "$session.gone" ]; do
    if [ "$tries" = 0 ]; then
      # Waiting for its lock. Killing the client alone would leave the server waiting, and others behind it.
      connection=$(sed -n 's/^connection	//p' "$session.out")
      find_client
      [ -z "$connection" ] || sql "KILL $connection" >/dev/null
      read -r pid start <"$session.pid"
      [ "$(started_at "$pid")" != "$start" ] || kill -9 "$pid"
      break
    fi
    tries=$((tries - 1))
    sleep 0.1
  done
  rm -f "$session".* "$credentials" "$credentials.part"
}

# include: freeze.sh
