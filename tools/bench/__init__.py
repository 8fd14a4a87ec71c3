"""Planning, memory, cold start, freezes and AWS calls, measured against their targets."""
