"""`python -m lambda_function policies`: policies kept as files."""
