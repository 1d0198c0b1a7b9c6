"""How a study decides: pure functions on arrays."""
