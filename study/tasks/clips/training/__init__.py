"""Training and evaluation, as jobs."""
