"""Executors: where calls run."""
