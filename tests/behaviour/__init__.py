"""Whole runs in memory, by promise."""
