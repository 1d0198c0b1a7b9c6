"""IFDD and its parts."""
