"""Benchmarks that stay in the repository."""
