"""What to do with each volume and snapshot, and why: pure functions of plain values and the time."""
