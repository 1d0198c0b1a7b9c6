"""Published rows agree with their sources and appear in tables of their own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from support.evidence import two
from support.text_report import render
from support.world import study as small_record

from study.analysis.analyse import findings
from study.analysis.described import MeasuredProtocol
from study.analysis.findings import Findings
from study.analysis.sentences.published import measured, protocols, what_differs
from study.config.comparable import with_own_data
from study.records import DataInfo, PublishedTable, SplitSizes
from study.reporting.figure_specs import figure_specs
from study.reporting.figures.draw import draw
from study.reporting.figures.published import published as plot_published
from study.reporting.sections.report import document
from study.reporting.text import OPTIMISTIC
from study.reporting.writers.pdf import markup
from study.tasks.clips.published import FILE, LABELS, RESULTS, published

CLASSES = {"dfew": 7, "ferv39k": 7, "mafw": 11}


def data(name: str, **fields: object) -> DataInfo:
    record = DataInfo(name, "digest", sizes=(SplitSizes(8420, 936, 2341),), noun="clip")
    return replace(record, **fields)  # type: ignore[arg-type]


def table_of(name: str) -> PublishedTable:
    result = published(data(name), {}, CLASSES[name], False)
    assert result is not None
    return result


@pytest.mark.parametrize(("name", "rows"), [("dfew", 26), ("ferv39k", 23), ("mafw", 14)])
def test_a_benchmark_has_its_rows(name: str, rows: int) -> None:
    # counted in the tables of the sources; IFDD's row, without accuracies, is in each
    assert len(table_of(name).results) == rows


@pytest.mark.parametrize(
    ("name", "method", "uar", "war"),
    [
        ("dfew", "Former-DFER", 53.69, 65.70),
        ("dfew", "MAE-DFER", 63.41, 74.43),
        ("dfew", "UniLearn", None, 76.68),
        ("ferv39k", "M3DFEL", 35.94, 47.67),
        ("mafw", "C3D", 31.17, 42.25),
        ("mafw", "MMA-DFER", 44.11, 58.52),
        ("mafw", "IFDD", None, None),
    ],
)
def test_figures_are_those_of_the_sources(
    name: str, method: str, uar: float | None, war: float | None
) -> None:
    (row,) = [row for row in table_of(name).results if row.method == method]
    assert (row.figures.get(LABELS["uar"]), row.figures.get(LABELS["war"])) == (uar, war)


def test_every_row_names_sources_that_exist_and_figures_that_can_be() -> None:
    table = tomllib.loads(FILE.read_text(encoding="utf-8"))
    for row in table["rows"]:
        assert row["sources"]
        assert set(row["sources"]) <= set(table["sources"])
        for benchmark in RESULTS:
            for share in row.get(benchmark, {}).values():
                assert 15 < share < 90
            if len(row.get(benchmark, {})) == 2:
                assert row[benchmark]["uar"] < row[benchmark]["war"]
    assert len({row["method"] for row in table["rows"]}) == len(table["rows"])


def test_folds_average_to_the_row_of_their_method() -> None:
    for name in ("dfew", "mafw"):
        of = {row.method: row.figures.get(LABELS["war"]) for row in table_of(name).results}
        for band in table_of(name).folds:
            assert sum(band.figures) / 5 == pytest.approx(of[band.method], abs=0.75)


@pytest.mark.parametrize(
    ("name", "classes", "is_synthetic"),
    [("faces", 7, False), ("clips", 7, False), ("mafw", 43, False), ("dfew", 7, True)],
)
def test_other_data_have_no_published_rows(name: str, classes: int, is_synthetic: bool) -> None:
    assert published(data(name), {}, classes, is_synthetic) is None


def test_clips_chosen_on_test_are_counted_once() -> None:
    sizes = (SplitSizes(9356, 2341, 2341),)
    table = published(data("dfew", is_optimistic=True, sizes=sizes), {}, 7, False)
    assert table is not None
    assert table.examples_here == table.examples == 11697


def test_published_rows_are_in_tables_of_their_own_and_nowhere_else() -> None:
    study = two([61.0, 62.5, 59.5, 61.5, 60.5])
    without, with_rows = findings(study), findings(replace(study, published=(table_of("dfew"),)))
    assert replace(with_rows, published=()) == without
    before, _, after = render(with_rows).partition("## Published results, not measured here")
    rows, _, rest = after.partition("\n### ")
    assert "Former-DFER" in rows
    assert "VoxCeleb2" in rows
    assert "66.21" in rows
    assert "audio + video" in rows
    assert "Former-DFER" not in before + rest
    assert "| Published method |" in rows
    assert "Published results" not in render(without)


def test_optimistic_marks_are_for_what_was_measured() -> None:
    study = replace(two([61.0] * 5), published=(table_of("dfew"),), is_optimistic=True)
    _, _, after = render(findings(study)).partition("## Published results, not measured here")
    rows, _, _ = after.partition("\n### ")
    assert "| Published method |" in rows
    assert OPTIMISTIC not in rows
    assert OPTIMISTIC in render(findings(study)), "what was measured is marked"


def test_published_rows_are_typeset() -> None:
    study = replace(two([61.0, 62.5, 59.5, 61.5, 60.5]), published=(table_of("mafw"),))
    assert '#"MMA-"#box()#"DFER"' in markup(document(findings(study)))


def test_lists_without_a_class_are_another_task_than_the_published_one() -> None:
    assert published(data("mafw"), {"captions": "no"}, 11, False) is not None
    assert published(data("mafw"), {"captions": "with"}, 11, False) is None


def on_dfew(protocols: Mapping[str, MeasuredProtocol]) -> Findings:
    study = two([61.0, 62.5, 59.5, 61.5, 60.5])
    return findings(replace(study, published=(table_of("dfew"),), protocols=protocols))


OWN = MeasuredProtocol(
    "DFEW", "2 folds (1, 2)", "best on validation", "16 frames of 112 x 112 pixels", "1 x 1"
)


def test_measured_rows_stand_beside_published_ones_in_a_table_of_their_own() -> None:
    found = on_dfew({"even-odd": OWN, "issm": replace(OWN, splits="5 folds (1, 2, 3, 4, 5)")})
    _, _, after = render(found).partition("## Published results, not measured here")
    section, _, _ = after.partition("\n### ")
    own, _, others = section.partition("| Published method |")
    assert "| Measured variant |" in own
    assert "2 folds (1, 2)" in own
    assert "5 folds (1, 2, 3, 4, 5)" in own
    assert "Former-DFER" not in own
    assert "issm" not in others
    assert [variant.name for variant in measured(found, table_of("dfew"))] == [v.name for v in found.variants]


def test_what_differs_names_each_side_and_is_silent_where_nothing_was_measured() -> None:
    found = on_dfew({"even-odd": OWN})
    sentence = what_differs(found, table_of("dfew"))
    assert "here 2 folds (1, 2); published 5 folds" in sentence
    assert "here best on validation; published mostly the best on the test split" in sentence
    assert "here 16 frames of 112 x 112 pixels" in sentence
    assert what_differs(found, table_of("mafw")) == ""
    assert what_differs(on_dfew({}), table_of("dfew")) == ""
    assert "| Measured variant |" not in render(on_dfew({}))


def test_accuracy_against_cost_is_drawn_where_both_sides_are_known() -> None:
    found = on_dfew({"even-odd": OWN, "issm": OWN})
    assert "published" in figure_specs(found)
    drawn = draw(found)["figures/published.svg"]
    assert b"<svg" in drawn
    assert drawn == draw(found)["figures/published.svg"]
    assert "published" not in figure_specs(on_dfew({}))
    assert "published" not in figure_specs(replace(found, published=()))


def test_published_points_are_hollow_and_measured_ones_filled() -> None:
    axes = plot_published(on_dfew({"even-odd": OWN, "issm": OWN})).axes[0]
    points = [line for line in axes.lines if line.get_marker() in ("o", "s")]
    hollow = [line for line in points if line.get_markerfacecolor() == "none"]
    known = [row for row in table_of("dfew").results if row.gmacs and LABELS["war"] in row.figures]
    assert sorted(float(np.asarray(line.get_ydata())[0]) for line in hollow) == sorted(
        row.figures[LABELS["war"]] for row in known
    )
    assert len(points) - len(hollow) == 2


def test_a_variant_on_a_benchmark_has_the_protocol_of_its_own_data() -> None:
    record = small_record(variants=3, folds=(None,))
    infos = (
        data(
            "dfew", published=table_of("dfew"), folds=(1, 2), digests={"1": "a", "2": "b"}, description="d1"
        ),
        data("mine", description="d2", is_optimistic=True),
        data("ferv39k", published=table_of("ferv39k"), description="d3", is_optimistic=True),
    )
    own = tuple(replace(variant, reference=variant.name) for variant in record.variants)
    record = replace(record, variants=tuple(with_own_data(own, infos)))
    assert protocols(record) == {
        "v0": MeasuredProtocol("DFEW", "2 folds (1, 2)", "best on validation", "d1"),
        "v2": MeasuredProtocol("FERV39k", "official split", "best on test", "d3"),
    }
