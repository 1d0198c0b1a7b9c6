"""Names never become Typst markup, and the typeset text is complete."""

from __future__ import annotations

import ast
import json
import re

import pytest
import typst
from support.example_findings import HOSTILE, findings, hostile

from study.reporting.document import (
    Bullets,
    Column,
    Document,
    Listing,
    Table,
    Text,
    code,
    emphasis,
    join,
    link,
)
from study.reporting.sections.report import document
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
    source = markup(document(hostile()))
    skeleton = re.sub(r'"(?:[^"\\]|\\.)*"', "", source)
    assert "panic" not in skeleton
    assert "page" not in skeleton
    assert "cite" not in skeleton
    assert HOSTILE in strings(source)


def test_every_warning_is_in_the_typeset_text() -> None:
    report = findings()
    text = "".join(strings(markup(document(report))))
    for limit in report.limits:
        assert limit.sentence in text


def test_captions_go_with_their_tables_and_figures() -> None:
    source = markup(document(findings()))
    assert (
        source.count("#table-caption[") == source.count("#booktabs(") - 1
    )  # "What was run" has a heading only
    assert (
        len(
            re.findall(
                r"#(?:report|floating)-figure\([^\n]*#strong\[#\"Figure",
                source,
            )
        )
        == 6
    )


def test_figures_of_the_appendix_float_and_those_of_the_body_stay() -> None:
    source = markup(document(findings()))
    body, appendix = source.split('[#"Appendix"]')
    assert "#report-figure(" in body
    assert "#floating-figure(" not in body
    assert "#floating-figure(" in appendix


def test_numbers_are_aligned_to_the_right_and_not_broken() -> None:
    columns = (Column("Name"), Column("WAR (%)", "right"))
    source = markup(Document("x", "x", (Table(columns, (("a-b", "71.2 [69.8, 72.6]"),)),)))
    assert "align: (left, right,)" in source
    assert '[#"71.2\u00a0[69.8,\u00a072.6]"]' in source
    assert '[#"a-"#box()#"b"]' in source


@pytest.mark.parametrize(("classes", "is_stacked"), [(4, False), (7, True)])
def test_intervals_stand_below_their_means_where_a_table_is_too_wide(classes: int, is_stacked: bool) -> None:
    columns = (Column("Variant"), *(Column(f"class {at}", "right") for at in range(classes)))
    row = ("ResNet-18 + Transformer", *["-13.5 [-15.7, -11.2]"] * classes)
    source = markup(Document("x", "x", (Table(columns, (row,)),)))
    assert source.count('#"-13.5"#linebreak()') == is_stacked * classes
    assert ("small: true" in source) == is_stacked


def test_lists_links_and_listings_are_kept() -> None:
    items = ("one", join(emphasis("two"), " ", code("three")))
    blocks = (Bullets(items), Text(link("four", "five.json")), Listing("six = 6"))
    source = markup(Document("x", "x", blocks))
    assert '#list([#"one"], [#emph[#"two"]#" "#raw("three")])' in source
    assert '#link("five.json")[#"four"]' in source
    assert "#raw" not in source.split("#listing")[1].split("raw(")[0]
    assert '#listing(raw("six = 6", block: true))' in source


def test_the_template_compiles() -> None:
    assert "#let paper(" in TEMPLATE.read_text(encoding="utf-8")
    assert compiled(
        TEMPLATE.read_text(encoding="utf-8") + '\n#show: paper.with(title: "t")\n#"text"'
    ).startswith(b"%PDF-")
