"""What is trained and judged: video clips, a Python function, a command."""
