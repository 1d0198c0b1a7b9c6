"""Simulated studies: whether verdicts are right as often as they promise."""
