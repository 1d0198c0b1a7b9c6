"""What runs next, and what became of it."""
