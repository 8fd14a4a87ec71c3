"""Automatic EBS snapshots: create, share and prune them as policies in Parameter Store say."""
