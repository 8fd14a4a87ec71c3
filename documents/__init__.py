"""What the three SSM documents run on an instance, in Python 3.6; `make template` makes one script of each."""
