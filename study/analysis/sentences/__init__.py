"""What findings say in words: verdicts, limits, reading aids, numbers with their unit."""
