"""Values that every package uses: what EC2 holds, what a run was asked and what it did."""
