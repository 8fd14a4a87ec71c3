"""The only package that knows botocore: clients, calls, rates and error codes."""
