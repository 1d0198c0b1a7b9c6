"""How to cite what wrote the report, and the networks that the study uses."""

from __future__ import annotations

import study
from study.analysis.findings import Findings
from study.reporting.sections.blocks import Blocks, sentence

TITLE, AUTHORS, LICENSE = "study", "The study authors", "MIT"
"""As in CITATION.cff, which an installed package does not have."""
CITED = "cite"
"""The fact that names publications of what the study trains."""


def add_citation(report: Blocks, findings: Findings) -> None:
    """Add the software's citation as BibTeX, and the publications that the task names."""
    report.heading("Citation", level=3)
    cited = findings.facts.get(CITED, "")
    report.text(
        f"Written by {TITLE} {study.__version__} ({LICENSE} licence).",
        f" The study trains networks of others; cite {sentence(cited)}" if cited else "",
    )
    report.listing(
        f"@software{{study, title = {{{TITLE}}}, author = {{{{{AUTHORS}}}}}, version = {{{study.__version__}}}, "
        f"license = {{{LICENSE}}}}}"
    )
