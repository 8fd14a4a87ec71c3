#!/bin/sh
# sh reads up to exec and finds a Python for the rest; for Python all of that is a string. The project's documents/ has
# the comments of what follows.
''':'
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin
export PATH
for python in python3 /usr/libexec/platform-python; do
  if "$python" -I -S -c 'import sys; sys.exit(sys.version_info < (3, 6))' 2>/dev/null; then
    exec "$python" -I -S "$0" "$@"
  fi
done
echo 'auto-snapshots: no Python 3.6 or newer as python3 or /usr/libexec/platform-python: install python3' >&2
exit 206
# '''
