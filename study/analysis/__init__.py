"""Findings of a study from its results."""
