"""What is said of a run, and to whom: log, metrics, the function's answer."""
