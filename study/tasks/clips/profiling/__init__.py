"""Counts and times of networks."""
