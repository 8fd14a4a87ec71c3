"""Freezes the XFS and ext4 file systems of the volumes around a snapshot; see docs/hooks-documents.md."""

import sys

from documents.stages import Document, main

# The agent puts parameters into this text as they are, and root runs it: each allowedPattern therefore admits no quote,
# no line end and no backslash.
PARAMETERS = {
    "command": "{{ command }}",
    "executionId": "{{ executionId }}",
    "volumeIds": "{{ volumeIds }}",
    "volumeDevices": "{{ volumeDevices }}",
    "notAfter": "{{ notAfter }}",
    "timeoutSeconds": "{{ timeoutSeconds }}",
}

if __name__ == "__main__":
    main(Document(PARAMETERS), sys.argv[1:])
