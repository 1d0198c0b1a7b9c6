"""Conformance suites and the fake trainer, shipped with the package."""
