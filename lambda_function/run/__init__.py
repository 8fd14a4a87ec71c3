"""One run: creating, joining and deleting what the plan says, and the record of what became of it."""
