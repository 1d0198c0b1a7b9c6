"""Data sets of video clips."""
