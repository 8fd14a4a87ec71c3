# --- shared by the three documents: begin ---
set -u
umask 077
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin
LC_ALL=C
export PATH LC_ALL
case $0 in /*) script=$0 ;; *) script=$PWD/$0 ;; esac
cd / || exit 206 # whatever directory the agent has chosen, it must not be on what is frozen
# Recorded trees of other machines are put here by tests; the agent's environment is root's own.
sys=${AUTO_SNAPSHOTS_SYS:-/sys}
proc=${AUTO_SNAPSHOTS_PROC:-/proc}
dev=${AUTO_SNAPSHOTS_DEV:-/dev}
# In memory, so that it can be written whatever is frozen.
state=/run/auto-snapshots/$kind
program=$state/program.$execution_id

# Not echo: in dash that would turn the \040 of a name into a blank.
put() { printf '%s\n' "$*"; }
say() { printf 'auto-snapshots: %s\n' "$*"; }
warn() { printf 'auto-snapshots: %s\n' "$*" >&2; }

uptime_ms() {
  read -r up _ </proc/uptime
  put "${up%.*}${up#*.}0"
}

# --- which file systems: the kernel's tables only, since lsblk has no MOUNTPOINTS before util-linux 2.37 ---

# "major:minor type mount-point" per mount; the kernel writes blanks in names as \040, so that each is one word.
read_mounts() {
  awk '{ for (i = 7; i < NF && $i != "-"; i++); print $3, $(i + 1), $5 }' "$proc/self/mountinfo"
}

# Reads paths; prints "device-number path" with the mount that each lies on: the longest prefix, the latest mount.
devices_of_paths() {
  while IFS= read -r path; do
    real=$(readlink -f -- "$path" 2>/dev/null) || real=
    printf '%s\n' "${real:-$path}"
  done | sed -e 's/\\/\\134/g' -e 's/ /\\040/g' | { printf '%s\n\n' "$mounts"; cat; } | awk '
    BEGIN { n = 0 } # not "", under which the first mount would be lost
    !paths && $0 == "" { paths = 1; next }
    !paths { number[n] = $1; point[n++] = $3; next }
    { best = "-"; longest = 0
      for (i = 0; i < n; i++) {
        p = point[i]
        if ((p == "/" || p == $0 || index($0, p "/") == 1) && length(p) >= longest) { longest = length(p); best = number[i] }
      }
      print best, $0 }'
}

# "vol-id kernel-name" of each disk whose volume is known.
known_volumes() {
  for disk in "$sys"/block/*; do
    if [ ! -r "$disk/device/serial" ] || [ ! -r "$disk/dev" ]; then continue; fi
    read -r serial _ <"$disk/device/serial"
    case $serial in
      vol-*) put "$serial ${disk##*/}" ;;
      vol*) echo "vol-${serial#vol} ${disk##*/}" ;;
    esac
  done
  for link in "$dev"/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol*; do
    id=${link##*_vol}
    case $id in *[!0-9a-f]*) continue ;; esac # of a partition or a namespace
    target=$(readlink -f -- "$link")
    [ ! -e "$sys/block/${target##*/}" ] || echo "vol-$id ${target##*/}"
  done
  # Xen's disks do not know their volume. The attachment's device name tells it, where the kernel has kept the letters;
  # some kernels shifted them (sda became xvde), and there a name would point to another volume.
  if [ -e "$sys/block/xvda" ] || [ -e "$sys/block/xvda1" ]; then
    for pair in $(put "$volume_devices" | tr ',' ' '); do
      name=${pair#*=/dev/}
      case $name in sd*) name=xvd${name#sd} ;; esac
      [ -e "$sys/block/$name" ] || name=$(put "$name" | sed 's/[0-9]*$//')
      [ -e "$sys/block/$name" ] && put "${pair%%=*} $name"
    done
  fi
  # Without ids (as Data Lifecycle Manager calls) a disk need not be named to be frozen.
  [ -n "$volume_ids" ] || for disk in "$sys"/block/xvd*; do
    [ ! -e "$disk" ] || echo "-${disk##*/} ${disk##*/}"
  done
}

# "device-number leaf|inner name" of a device and of all that is built on it: partitions, LVM, RAID, encryption.
nodes_under() (
  node=$1
  rest=leaf
  for part in "$node"/*/partition; do
    [ -e "$part" ] || continue
    rest=inner
    nodes_under "${part%/partition}"
  done
  for holder in "$node"/holders/*; do
    [ -e "$holder" ] || [ -L "$holder" ] || continue
    rest=inner
    nodes_under "$sys/block/${holder##*/}"
  done
  read -r number <"$node/dev" && put "$number $rest ${node##*/}"
)

# Sets: freeze (device numbers), claims (volumes all of whose parts are frozen), single (the one volume that holds the
# whole database), faults (why nothing may be frozen). A leaf that is not mounted cannot be told from raw use, so its
# volume is not claimed.
make_plan() {
  mounts=$(read_mounts)
  # What agent, log and thaw need. The script's own directory is where the agent keeps its records.
  protected=$(printf '%s\n' / /bin /boot /dev /etc /lib /lib64 /proc /run /sbin /snap /sys /tmp /usr /var/lib/amazon \
    /var/log /var/snap /var/tmp "${script%/*}" | devices_of_paths)
  case $protected in
    [0-9]*:[0-9]*' /'*) ;;
    *) warn 'the mount of / is not to be found, so nothing is safe to freeze'; return 1 ;;
  esac
  layout=$(known_volumes | sort -u | while read -r id name; do
    nodes_under "$sys/block/$name" | sed "s/^/$id /"
  done | sort -u)
  plan=$({
    put "$protected" | sed 's/^/P /'
    put "$mounts" | sed 's/^/M /'
    put "$layout" | sed 's/^/L /'
    [ -z "$database_paths" ] || put "$database_paths" | devices_of_paths | sed 's/^/D /'
    put "$volume_ids" | tr ',' '\n' | sed 's/^/W /'
  } | awk '
    function note(v, text) { if (!(v in bad)) { bad[v] = text; print "note volume " v " is not claimed: " text } }
    function good(d) { return (d in type) && (type[d] == "xfs" || type[d] == "ext4") && !(d in kept) }
    function why(d) { return (d in kept) ? "is never frozen (" kept[d] " lies on it)" : "is " type[d] ", neither XFS nor ext4" }
    $1 == "P" && !($2 in kept) { kept[$2] = $3 }
    $1 == "M" { if (!($2 in type)) order[++m] = $2; type[$2] = $3; point[$2] = $4 }
    $1 == "L" && NF == 5 { id[++n] = $2; number[n] = $3; leaf[n] = $4; name[n] = $5; here[$2] = 1 }
    $1 == "D" { need[$2] = $3 }
    $1 == "W" && NF == 2 { wanted[$2] = 1; asked = 1 }
    END {
      if (!asked) for (v in here) wanted[v] = 1
      for (v in wanted) if (!(v in here))
        print "fault volume " v " is not to be found on this instance (NVMe serial, /dev/disk/by-id, volumeDevices)"
      for (i = 1; i <= n; i++) {
        if (number[i] in need) { holds[id[i]] = 1; found[number[i]] = 1 }
        if (!(id[i] in wanted)) continue
        if (number[i] in type) {
          if (good(number[i])) { take[number[i]] = 1; some[id[i]] = 1 }
          else note(id[i], point[number[i]] " " why(number[i]))
        } else if (leaf[i] == "leaf") note(id[i], name[i] " is not mounted, and might be in use without a file system")
      }
      for (v in holds) { holders++; only = v }
      for (d in need) {
        if (good(d)) take[d] = 1; else print "unfrozen " need[d] ": " ((d in type) ? point[d] " " why(d) : "no mount")
        if (!(d in found)) holders++
        if (asked && !(d in found)) print "fault the database needs " need[d] ", which is on no EBS volume known here"
      }
      if (asked) for (v in holds) if (!(v in wanted))
        print "fault volume " v " holds a part of the database and is not in this set of snapshots"
      if (holders == 1) print "single " only
      for (i = 1; i <= m; i++) if (order[i] in take) print "freeze " order[i]
      for (v in some) if (!(v in bad) && v !~ /^-/) print "claim " v
    }')
  freeze=$(planned freeze)
  claims=$(planned claim | sort)
  single=$(planned single)
  unfrozen=$(planned unfrozen)
  faults=$(planned fault)
  planned note | while IFS= read -r text; do warn "$text"; done
  if [ -n "$unfrozen" ]; then
    if [ "$one_volume_needs_no_freeze" = yes ] && [ -n "$single" ]; then
      claims=$(printf '%s\n%s\n' "$claims" "$single" | sed '/^$/d; /^-/d' | sort -u)
    else
      faults=$(printf '%s\n%s\n' "$faults" "$unfrozen" | sed '/^$/d')
    fi
  fi
  if [ -z "$faults$freeze" ] && [ -z "$unfrozen" ]; then
    faults='nothing to freeze: no XFS or ext4 file system but those that are never frozen'
  elif [ -z "$faults$claims" ] && [ -n "$volume_ids" ]; then
    faults='nothing to prove: no volume of this set could be claimed (see above)'
  fi
  [ -z "$faults" ] && return
  put "$faults" | while IFS= read -r text; do warn "$text"; done
  return 1
}
planned() { put "$plan" | sed -n "s/^$1 //p"; }

# The mount point under which a device is seen now; another mount may lie over one of them.
visible_point() {
  while read -r seen _ word; do
    [ "$seen" = "$1" ] || continue
    point=$(printf '%b' "$(put "$word" | sed 's/\\/\\0/g')") # \040 for the kernel, \0040 for printf
    [ "$(mountpoint -d -- "$point" 2>/dev/null)" != "$1" ] || return 0
  done <<MOUNTS
$(read_mounts)
MOUNTS
  return 1
}

# --- freeze and thaw ---

holder() { cat "$state/holder" 2>/dev/null; }
cancelled() { [ -e "$state/posted/$execution_id" ] || [ -e "$state/expired/$execution_id" ]; }

# Most of the writing is done before anything stands still.
flush_all() {
  for number in $freeze; do
    visible_point "$number" || { warn "device $number cannot be reached by any mount point"; return 1; }
    sync -f -- "$point" 2>/dev/null || sync # sync knows no -f before coreutils 8.24
  done
}

freeze_all() {
  for number in $freeze; do
    ! cancelled || { warn 'its post-script or its time limit came first'; return 1; }
    visible_point "$number" || { warn "device $number was unmounted"; return 1; }
    put "$number" >>"$state/frozen" # before the freeze: what may be frozen is thawed
    if ! message=$(fsfreeze -f "$point" 2>&1); then
      warn "$message"
      # Frozen by somebody else: theirs to thaw.
      case $message in
        *busy*)
          sed '$d' "$state/frozen" >"$state/frozen.new"
          mv "$state/frozen.new" "$state/frozen"
          ;;
      esac
      return 1
    fi
  done
}

# All of them, in reverse, past errors. Counts what was not frozen any more (lost) and what could not be thawed (stuck).
thaw_all() {
  lost=0
  stuck=0
  numbers=$(sed '1!G;h;$!d' "$state/frozen" 2>/dev/null)
  for number in $numbers; do
    if ! visible_point "$number"; then
      warn "device $number was unmounted while frozen"
      lost=$((lost + 1))
    elif ! message=$(fsfreeze -u "$point" 2>&1); then
      warn "$message"
      case $message in *'Invalid argument'*) lost=$((lost + 1)) ;; *) stuck=$((stuck + 1)) ;; esac
    fi
  done
  [ "$stuck" = 0 ]
}

# Nothing is held any more. The keeper sees the holder gone and ends.
forget() {
  rm -f "$state/frozen" "$state/answer" "$state/since" "$state/deadline" "$state/ready" "$state/holder"
}

lock() {
  exec 9>>"$state/lock"
  if [ "$1" = 0 ]; then flock -n 9; else flock -w "$1" 9; fi
}

# --- the keeper: holds the database's session and thaws by itself, whoever has died ---

arm() {
  cp -- "$script" "$program" || return 1
  limit=$((timeout_seconds * 2000 - 1200)) # looked at every second, so that twice the time-out is kept
  [ "$limit" -le "$longest_hold_ms" ] || limit=$longest_hold_ms
  put "$(($(uptime_ms) + limit))" >"$state/deadline"
  put "$execution_id" >"$state/holder"
  # A unit of its own is outside the agent's control group; a session of its own outlives the agent's process group.
  # Neither keeps the agent's pipe open, for the agent would wait for it.
  if ! [ -d /run/systemd/system ] || ! systemd-run --unit="auto-snapshots-$kind-$execution_id" \
    /bin/sh "$program" keeper </dev/null >/dev/null 2>&1 9>&-; then
    setsid /bin/sh "$program" keeper </dev/null >/dev/null 2>&1 9>&- &
  fi
  tries=0
  until [ -e "$state/ready" ]; do
    [ "$tries" -lt 50 ] || { warn 'the automatic thaw did not start'; return 1; }
    tries=$((tries + 1))
    sleep 0.1
  done
}

keeper() {
  trap '' HUP INT PIPE
  trap expire TERM # a shutdown
  exec </dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
  { echo -1000 >/proc/self/oom_score_adj; } 2>/dev/null
  if [ "$(holder)" = "$execution_id" ]; then # otherwise it was given up meanwhile
    read -r deadline <"$state/deadline"
    open_session
  fi
  : >"$state/ready"
  while [ "$(holder)" = "$execution_id" ]; do
    if [ "$(uptime_ms)" -ge "$deadline" ]; then
      expire
    elif [ ! -e "$state/since" ] && lock 0; then
      # Whoever was freezing is dead if the lock is free before the freeze was complete.
      [ -e "$state/since" ] || expire
      exec 9>&-
    else
      exec 9>&-
      sleep 1 &
      wait $!
    fi
  done
  exec 9>&-
  end_session "$execution_id"
  rm -f "$program"
  exit 0
}

# Waits for nobody: a pre-script that is still freezing reads the mark and gives up, and is thawed again after that.
expire() {
  while [ "$(holder)" = "$execution_id" ]; do
    : >"$state/expired/$execution_id"
    if ! lock 1; then
      thaw_all
    elif [ "$(holder)" = "$execution_id" ]; then
      if thaw_all; then
        end_session "$execution_id"
        forget
      else
        sleep 1
      fi
    fi
    exec 9>&-
  done
}

# --- the stages ---

# The answer is kept for a repeated post, and tells a late pre that it is too late.
answer_post() {
  code=$1
  shift
  { put "$code"; printf '%s\n' "$@"; } >"$state/posted/$execution_id.new"
  mv "$state/posted/$execution_id.new" "$state/posted/$execution_id"
  for line in "$@"; do say "$line"; done
  exit "$code"
}

give_up() {
  warn "$1"
  if thaw_all; then
    end_session "$execution_id"
    forget
  else
    warn 'not everything could be thawed; the automatic thaw goes on'
  fi
  exit 201
}

refuse_pre() {
  warn "$2"
  exit "$1"
}

pre_script() {
  [ "$execution_id" != None ] || refuse_pre 201 'an executionId is needed: it says whose the freeze is'
  [ "$not_after" = 0 ] || [ "$(date +%s)" -le "$not_after" ] || refuse_pre 201 'this comes later than notAfter'
  lock 5 || refuse_pre 201 'another stage is running'
  ! cancelled || refuse_pre 201 'the post-script of this executionId, or its time limit, has already been'
  current=$(holder)
  if [ "$current" = "$execution_id" ] && [ -e "$state/since" ]; then
    cat "$state/answer" # sent twice
    exit 0
  fi
  if [ -n "$current" ]; then
    read -r deadline <"$state/deadline" || deadline=0
    if [ "$current" != "$execution_id" ] && [ "$(uptime_ms)" -lt "$((deadline + 5000))" ]; then
      refuse_pre 204 "the freeze of execution $current is held; its post-script is expected"
    fi
    # Its keeper was killed, too: nobody else is left to thaw.
    warn "the freeze of execution $current was left behind"
    : >"$state/expired/$current"
    thaw_all || refuse_pre 201 'what was left behind cannot be thawed'
    (end_session "$current") # in a shell of its own: it forgets whose session is ours
    forget
    [ "$current" != "$execution_id" ] || refuse_pre 201 'what an earlier pre-script of this executionId had begun is undone'
  fi
  if ! is_ready || ! flush_all; then exit 201; fi
  began=$(uptime_ms)
  arm || give_up 'not frozen'
  quiesce || give_up 'the database was not made ready'
  freezing=$(uptime_ms)
  freeze_all || give_up 'thawed what was frozen'
  since=$(uptime_ms)
  {
    # shellcheck disable=SC2086 # one word per volume
    say frozen $claims
    say "freeze-ms $((since - freezing))"
    say "prepare-ms $((freezing - began))"
  } >"$state/answer"
  put "$since" >"$state/since"
  ! cancelled || give_up 'its post-script or its time limit came first'
  cat "$state/answer"
}

post_script() {
  [ "$execution_id" != None ] || { warn 'an executionId is needed: it says whose the freeze is'; exit 202; }
  # Before the lock: a pre-script that is still at work reads it.
  [ -e "$state/posted/$execution_id" ] || : >"$state/posted/$execution_id"
  find "$state/posted" "$state/expired" -type f -mmin +1440 -exec rm -f {} +
  if ! lock 10; then
    [ "$(holder)" != "$execution_id" ] || thaw_all
    warn 'another stage is running; the automatic thaw goes on'
    exit 202
  fi
  if [ "$(holder)" != "$execution_id" ]; then
    if [ -s "$state/posted/$execution_id" ]; then
      { read -r code && cat; } <"$state/posted/$execution_id" >"$state/again"
      while IFS= read -r line; do say "$line"; done <"$state/again"
      exit "$code"
    fi
    [ ! -e "$state/expired/$execution_id" ] || answer_post 203 'held no'
    warn "nothing is frozen for this executionId; held by: $(holder)"
    answer_post 205 'held no'
  fi
  thawing=$(uptime_ms)
  thaw_all
  session_is_held || lost=$((lost + 1)) # asked after the thaw: a server may have to write to answer
  end_session "$execution_id"
  if [ "$stuck" != 0 ]; then
    say 'held no'
    warn 'not everything could be thawed; the automatic thaw goes on'
    exit 202
  fi
  since=$(cat "$state/since" 2>/dev/null)
  forget
  [ -n "$since" ] || answer_post 0 'held no' # the pre-script never came to its end; what it had done is undone
  if [ "$lost" != 0 ] || [ -e "$state/expired/$execution_id" ]; then
    answer_post 203 "held-ms $((thawing - since))" 'held no'
  fi
  answer_post 0 "held-ms $((thawing - since))" 'held yes'
}

is_ready() {
  for tool in awk cp date find flock fsfreeze mountpoint readlink sed setsid sort sync tr; do
    command -v "$tool" >/dev/null || { warn "$tool is missing"; return 1; }
  done
  check_ready && make_plan
}

dry_run() {
  is_ready || exit 206
  for number in $freeze; do
    say "would freeze $(put "$mounts" | awk -v number="$number" '$1 == number { print $3; exit }')"
  done
  # shellcheck disable=SC2086 # one word per volume
  say ready $claims
}

[ "$(id -u)" = 0 ] || { warn 'this runs as root'; exit 206; }
mkdir -p "$state/posted" "$state/expired" || exit 206
[ "${1-}" != keeper ] || keeper
case $command in
  pre-script) pre_script ;;
  post-script) post_script ;;
  dry-run) dry_run ;;
  *) warn "no such command: $command"; exit 1 ;;
esac
# --- shared by the three documents: end ---
