"""Measures of what the parts of a network do."""
