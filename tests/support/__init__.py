"""One cloud, one Run Command, one endpoint, one clock: what tests and tools share."""
