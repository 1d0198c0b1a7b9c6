"""Evaluation of trained networks: test, verification of what was loaded, scores."""
