"""Planning, memory, cold start and AWS calls, measured against what was promised."""
