"""boto3 over HTTP: lists, writes, Run Command, the command line, broken connections."""
