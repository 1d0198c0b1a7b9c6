"""The record of all studies and runs on disk."""
