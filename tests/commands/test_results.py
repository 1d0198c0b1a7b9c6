"""The table of results: it fits the terminal, breaks no word, and holds each variant's figures."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console
from support import example_findings

from study.analysis.described import Interval
from study.analysis.findings import EffectFinding, Findings
from study.terminal.results import print_results
from study.terminal.tables import Column, print_table, print_text

SHAPES = {
    "two": example_findings.findings,
    "twelve": lambda: example_findings.twelve(3, 2, 3),
    "minimized": example_findings.minimized,
    "hostile": example_findings.hostile,
}


def printed(found: Findings, width: int) -> str:
    screen = io.StringIO()
    print_results(found, Console(file=screen, width=width))
    return screen.getvalue()


def table_of(found: Findings, width: int) -> list[str]:
    """Return the lines between the answer and what follows the table."""
    lines = printed(found, width).splitlines()
    start = next(number for number, line in enumerate(lines) if line == "" and number > 1)
    rest = lines[start + 1 :]
    return rest[: rest.index("")] if "" in rest else rest


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [80, 120])
def test_no_word_is_broken_and_no_line_is_too_long(shape: str, width: int) -> None:
    found = SHAPES[shape]()
    words = set(printed(found, width).split())
    for variant in found.variants:
        assert set(variant.name.split()) <= words
        assert variant.verdict_text in words
    if shape in ("two", "minimized"):
        assert max(map(cell_len, table_of(found, width))) <= width


def test_a_terminal_gets_lines_that_end_between_words_and_a_pipe_gets_whole_lines() -> None:
    words = ["an", "/a/folder/with/a/long/path/report.md", "and", "words", "that", "go", "on"]
    for is_terminal, lines in ((True, 3), (False, 1)):
        screen = io.StringIO()
        print_text(
            Console(file=screen, width=20, force_terminal=is_terminal, color_system=None), " ".join(words)
        )
        assert screen.getvalue().split() == words
        assert len(screen.getvalue().splitlines()) == lines


def test_each_variant_has_its_score_the_deciding_interval_and_its_verdict() -> None:
    found = example_findings.findings()
    (row,) = [line for line in table_of(found, 120) if line.startswith("issm ")]
    variant = next(variant for variant in found.variants if variant.name == "issm")
    assert variant.score
    assert variant.difference
    assert variant.difference.corrected.low is not None
    low = f"{variant.difference.corrected.low:.1f}".replace("-", "−")
    for shown in (f"{variant.score.mean:.1f}", f"{low} to ", variant.verdict_text, "5 of 5"):
        assert shown in row
    assert "reference" in next(line for line in table_of(found, 120) if line.startswith("even-odd "))


def test_effects_and_claims_follow_with_their_verdicts() -> None:
    bounds = Interval(2.0, 1.0, 3.0)
    effect = EffectFinding("width: trend", "trend", ("width",), bounds, bounds, 5, "helps", "", None)
    found = replace(example_findings.findings(), effects=(effect,))
    lines = printed(found, 80).splitlines()
    row = next(line for line in lines if line.startswith("width: trend"))
    assert row.split()[2:] == ["+2.0", "1.0", "to", "3.0", "helps"]
    for claim in found.claims:
        assert f"Claim: {claim.text}: {claim.verdict}" in lines


def test_a_narrow_terminal_leaves_out_optional_columns_then_lets_lines_be_long() -> None:
    columns = [
        Column("name", ["pneumonoultramicroscopic"], "left"),
        Column("a", ["12345"], is_optional=True),
        Column("b", ["1 to 2"]),
    ]
    for width, shown in ((60, ["name", "a", "b"]), (34, ["name", "b"]), (10, ["name", "b"])):
        screen = io.StringIO()
        print_table(Console(file=screen, width=width), columns)
        head, row = screen.getvalue().splitlines()
        assert head.split() == shown
        assert "pneumonoultramicroscopic" in row
        assert "1 to 2" in row
