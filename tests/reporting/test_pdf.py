"""Names never become Typst markup, and the typeset text is complete."""

from __future__ import annotations

import ast
import json
import re

import pytest
import typst
from support.example_findings import HOSTILE, findings, hostile

from study.reporting.sections.report import render
from study.reporting.writers.pdf import TEMPLATE, literal, markup


def compiled(source: str) -> bytes:
    pdf = typst.compile(source.encode(), format="pdf", timestamp=0)
    assert isinstance(pdf, bytes)
    return pdf


def strings(source: str) -> list[str]:
    """Return the string literals of Typst markup; what is written in them is a subset of Python's escapes."""
    return [ast.literal_eval(found) for found in re.findall(r'"(?:[^"\\]|\\.)*"', source)]


@pytest.mark.parametrize(
    "text", ["a", HOSTILE, '\\"', "\\", "\n", '"]#panic()["', "\\u{41}", "日本 é ±", "'"]
)
def test_any_text_survives_as_a_literal(text: str) -> None:
    source = f"#metadata({literal(text)}) <it>"
    found = typst.query(source.encode(), "<it>", field="value", one=True)
    assert json.loads(found) == text


def test_hostile_names_are_in_literals_only() -> None:
    source = markup(render(hostile()), HOSTILE)
    skeleton = re.sub(r'"(?:[^"\\]|\\.)*"', "", source)
    assert "panic" not in skeleton
    assert "page" not in skeleton
    assert "cite" not in skeleton
    assert HOSTILE in strings(source)


def test_every_warning_is_in_the_typeset_text() -> None:
    report = findings()
    text = "".join(strings(markup(render(report), report.name)))
    for limit in report.limits:
        assert limit.sentence in text


def test_captions_go_with_their_tables_and_figures() -> None:
    source = markup(render(findings()), "issm")
    assert (
        source.count("#table-caption[") == source.count("#booktabs(") - 1
    )  # "What was run" has a heading only
    assert (
        len(
            re.findall(
                r"#report-figure\(.*?\), \[#strong\[#\"Figure|#report-figure\([^\n]*#strong\[#\"Figure",
                source,
            )
        )
        == 5
    )


def test_numbers_are_aligned_to_the_right_and_not_broken() -> None:
    source = markup("| Name | WAR (%) |\n| :--- | ---: |\n| a-b | 71.2 [69.8, 72.6] |\n", "x")
    assert "align: (left, right,)" in source
    assert '[#"71.2\u00a0[69.8,\u00a072.6]"]' in source
    assert '[#"a-"#box()#"b"]' in source


def test_lists_links_and_listings_are_kept() -> None:
    source = markup("- one\n- *two* `three`\n\n[four](five.json)\n\n```text\nsix = 6\n```\n", "x")
    assert '#list([#"one"], [#emph[#"two"]#" "#raw("three")])' in source
    assert '#link("five.json")[#"four"]' in source
    assert "#raw" not in source.split("#listing")[1].split("raw(")[0]
    assert '#listing(raw("six = 6", block: true))' in source


def test_markdown_that_reports_do_not_use_is_refused() -> None:
    with pytest.raises(ValueError, match="hr"):
        markup("a\n\n---\n\nb", "x")


def test_the_template_compiles() -> None:
    assert "#let paper(" in TEMPLATE.read_text(encoding="utf-8")
    assert compiled(
        TEMPLATE.read_text(encoding="utf-8") + '\n#show: paper.with(title: "t")\n#"text"'
    ).startswith(b"%PDF-")
