"""Facts about the project that several files state agree."""

from __future__ import annotations

import re

from support.lowest import REPOSITORY, pyproject

import study
from study.reporting.sections import citation
from study.tasks.clips.task import IFDD_PAPER


def test_a_citation_names_the_version_and_the_licence_that_are_installed() -> None:
    cited = dict(re.findall(r"^(version|license): (.+)$", (REPOSITORY / "CITATION.cff").read_text(), re.M))
    assert cited == {"version": study.__version__, "license": pyproject()["project"]["license"]}


def test_reports_cite_what_the_citation_file_says() -> None:
    text = (REPOSITORY / "CITATION.cff").read_text()
    assert f"\ntitle: {citation.TITLE}\n" in text
    assert f"  - name: {citation.AUTHORS}\n" in text
    assert f"\nlicense: {citation.LICENSE}\n" in text
    assert all(fact in IFDD_PAPER for fact in re.findall(r"family-names: (\w+)", text))
    assert re.findall(r"^    title: (.+)$", text, re.M)[0] in IFDD_PAPER
    assert re.findall(r"value: (.+)$", text, re.M)[0] in IFDD_PAPER


def test_every_python_that_is_declared_is_tried_by_ci() -> None:
    prefix = "Programming Language :: Python :: "
    declared = [c.removeprefix(prefix) for c in pyproject()["project"]["classifiers"] if prefix in c]
    workflow = (REPOSITORY / ".github/workflows/tests.yml").read_text()
    [tried] = re.findall(r"^ +python: \[(.+)\]$", workflow, re.M)
    assert re.findall(r"[\d.]+", tried) == declared
