"""Programs of the repository itself; none of them is packaged into Lambda."""
