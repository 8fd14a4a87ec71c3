"""Arguments and tables, which only the shell command needs. Not packaged into Lambda."""
