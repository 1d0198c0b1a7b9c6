"""Text on a terminal: tables, progress, plans and results."""
