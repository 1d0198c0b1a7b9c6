"""Trainings of the user, functions and commands: what both tasks are made of."""
