"""Values everything else speaks in: what EC2 holds, what a run was asked and what it did."""
