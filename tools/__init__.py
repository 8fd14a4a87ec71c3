"""The repository's own programs; none is packaged into Lambda."""
