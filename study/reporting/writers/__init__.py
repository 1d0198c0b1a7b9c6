"""Reports in their file formats."""
