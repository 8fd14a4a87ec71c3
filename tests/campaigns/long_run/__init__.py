"""Two years of an account in memory: a fleet and its life, EventBridge and Lambda, faults, and an oracle beside it."""
