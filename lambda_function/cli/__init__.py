"""What only the shell command needs: arguments and tables. Not packaged into Lambda."""
