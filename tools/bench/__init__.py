"""Planning, memory, cold start, freezes and AWS calls, measured against what was promised."""
