#!/bin/sh
# Freezes the XFS and ext4 file systems of the volumes around a snapshot; see docs/hooks-documents.md.
# The agent puts parameters into this text as they are, and root runs it: each allowedPattern therefore admits no quote,
# no line end, no $, no backslash, and each value stands in single quotes.
kind=filesystem
command='{{ command }}'
execution_id='{{ executionId }}'
volume_ids='{{ volumeIds }}'
volume_devices='{{ volumeDevices }}'
not_after='{{ notAfter }}'
timeout_seconds='{{ timeoutSeconds }}'

database_paths=
one_volume_needs_no_freeze=no
longest_hold_ms=1800000
check_ready() { :; }
open_session() { :; }
quiesce() { :; }
session_is_held() { :; }
end_session() { :; }

# include: freeze.sh
