"""Procedural faces."""
