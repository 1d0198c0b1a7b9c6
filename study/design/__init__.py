"""Which cells a study trains."""
