"""Reports of findings: Markdown, PDF, figures, JSON."""
