"""What is trained and evaluated: video clips, a Python function, a command."""
