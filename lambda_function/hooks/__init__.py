"""The sequence around a snapshot: which commands run, in which order, and what their output proves."""
