"""Facts about the project that several files state agree."""

from __future__ import annotations

import re

from support.lowest import REPOSITORY, pyproject

import study


def test_a_citation_names_the_version_and_the_licence_that_are_installed() -> None:
    cited = dict(re.findall(r"^(version|license): (.+)$", (REPOSITORY / "CITATION.cff").read_text(), re.M))
    assert cited == {"version": study.__version__, "license": pyproject()["project"]["license"]}


def test_every_python_that_is_declared_is_tried_by_ci() -> None:
    prefix = "Programming Language :: Python :: "
    declared = [c.removeprefix(prefix) for c in pyproject()["project"]["classifiers"] if prefix in c]
    workflow = (REPOSITORY / ".github/workflows/tests.yml").read_text()
    [tried] = re.findall(r"^ +python: \[(.+)\]$", workflow, re.M)
    assert re.findall(r"[\d.]+", tried) == declared
