"""Pages and their examples, held against the code."""
