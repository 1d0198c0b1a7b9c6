"""The report as Markdown, a module for each group of sections."""
