"""One run: create, join and delete snapshots as planned, and record every outcome."""
