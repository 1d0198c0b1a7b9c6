"""Findings as reports: Markdown, PDF, figures, JSON."""
