"""The sequence around a snapshot: what documents are sent, in which order, and what their answers prove."""
