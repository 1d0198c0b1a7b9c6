"""Planning and execution of a study."""
