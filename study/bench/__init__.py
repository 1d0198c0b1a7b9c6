"""Benchmarks of the data loaders and of large ledgers."""
