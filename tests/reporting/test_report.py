"""A report prints its findings completely, in order, and identically each time."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from markdown_it import MarkdownIt
from support.example_findings import (
    HOSTILE,
    clip_pictures,
    damaged,
    findings,
    hostile,
    minimized,
    twelve,
    with_predictions,
)
from support.text_report import render

from study.analysis.described import Choice, Cost, Interval, TrialCurve
from study.analysis.findings import ClaimFinding, Difference, Findings, Limit, LimitCode
from study.records import PartCost
from study.reporting.document import Bullets, Figure, Note, Table, Text, plain_text
from study.reporting.figure_specs import FORMATS, NAMES, figure_specs
from study.reporting.figures.draw import draw
from study.reporting.figures.panels import joined_lines, looks
from study.reporting.figures.style import MARKERS
from study.reporting.sections.report import document
from study.reporting.sections.warnings import GROUPS
from study.reporting.write import machine_readable, write
from study.reporting.writers.html import SCRIPT
from study.reporting.writers.pdf import pdf
from study.statistics.verdicts import Verdict

COUNTED_MACS = "MACs per clip (fvcore)"
COUNTED_FLOPS = "FLOPs per clip (torch)"
ACTIVATIONS = "Activations per clip (MiB)"
SHAPES: dict[str, Callable[[], Findings]] = {
    "full": findings,
    "damaged": damaged,
    "hostile": hostile,
    "minimized": minimized,
    "single": lambda: findings(["only"], repetitions=1, epochs=1, trials=1),
    "profiled": lambda: profiled(),
}

OF_BENCHMARKS = ("profiles", "published")
"""Figures that a study on one data set without published results has not."""


def with_round_figures() -> Findings:
    """Findings whose figures are round numbers, so that a reader can check the report by hand."""
    base = findings()
    reference, other = base.variants
    difference = Difference(
        interval=Interval(1.2, -0.3, 2.7),
        corrected=Interval(1.2, -0.9, 3.3),
        n=5,
        wins=4.5,
        p=0.02,
        p_holm=0.04,
        effect=1.25,
        correlation=-0.5,
        p_worse=0.001,
        p_equivalent=0.2,
        p_better=0.799,
        verdict="inconclusive",
        sentence="issm and even-odd do not differ significantly yet.",
        other=Interval(1.2, 0.5, 1.9),
        effect_interval=Interval(1.25, 0.1, 2.4),
        correlation_interval=Interval(-0.5, -0.95, 0.7),
    )
    other = dataclasses.replace(
        other,
        score=Interval(71.24, 69.8, 72.6),
        difference=difference,
        parameters=37577123,
        macs=48_020_000_000,
        train_seconds=725.0,
        secondary={
            **other.secondary,
            "uar": Interval(65.0, 64.0, 66.0),
        },
        breakdowns={"class": {**other.breakdowns["class"], "sad": Interval(50.0, 47.5, 52.5)}},
        chosen=(Choice({"train.lr": 0.000312457, "train.epochs": 12}),),
    )
    return dataclasses.replace(base, variants=(reference, other))


def profiled(*names: str) -> Findings:
    """Findings with profiles; the second variant's splitter is another one than the reference's."""
    base = findings(list(names or ("even-odd", "issm", "random")))
    own = (PartCost("backbone", 37_000, 40_000_000), PartCost("splitter", 0, 0), PartCost("(rest)", 64, 12))
    other = (own[0], PartCost("splitter", 577, 8_020_000), own[2])
    costs = (
        Cost((1, 3, 16, 112, 96), 512, 96_400_000, 100.44, 3 * 2**19, own),
        Cost((1, 3, 16, 112, 96), 0, 106_400_000, 110.8, 2**20, other),
        Cost((1, 3, 16, 112, 96), 0, None, None, None, own),
    )
    return dataclasses.replace(
        base,
        variants=tuple(
            dataclasses.replace(variant, macs=48_020_000, parameters=37_641, train_seconds=725.0, cost=cost)
            for variant, cost in zip(base.variants, costs, strict=True)
        ),
    )


def captions(markdown: str, start: str) -> list[str]:
    """Return the labels, such as ``Table 5.``, of the captions whose text begins with `start`."""
    return re.findall(rf"^\*\*(Table \d+\.)\*\* {re.escape(start)}", markdown, flags=re.MULTILINE)


def rows(markdown: str, caption: str) -> list[list[str]]:
    """Return the cells of the table under the caption that begins with `caption`, parsed as Markdown."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    captions = [at for at, token in enumerate(tokens) if token.content.startswith(f"**{caption}**")]
    start = next(at for at in range(captions[0], len(tokens)) if tokens[at].type == "table_open")
    table: list[list[str]] = []
    for token in tokens[start:]:
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            table.append([])
        if token.type == "inline":
            table[-1].append("".join(child.content for child in token.children or []))
    return table


def row(markdown: str, caption: str, name: str) -> dict[str, str]:
    head, *body = rows(markdown, caption)
    return dict(zip(head, next(cells for cells in body if cells[0] == name), strict=True))


def text_of(markdown: str) -> str:
    """Return what a reader of the rendered Markdown sees, on one line."""
    tokens = MarkdownIt("commonmark", {"html": False}).enable("table").parse(markdown)
    leaves = [child.content for token in tokens for child in token.children or []]
    return " ".join("".join(leaves).split())


def test_the_question_and_its_answer_come_first() -> None:
    report = dataclasses.replace(findings(), title="The title", question="Why?", answer="Hence.")
    lines = [line for line in render(report).splitlines() if line]
    assert lines[:3] == ["# The title", "**Question.** Why?", "**Answer.** Hence."]


def test_every_warning_stands_before_the_details() -> None:
    report = findings(limits=("First limit.", "Second limit."))
    before, _, _ = render(report).partition("\n## ")
    for limit in report.limits:
        assert limit.sentence in before


def test_table_of_variants_prints_the_findings_numbers() -> None:
    cells = row(render(with_round_figures()), "Table 1.", "issm")
    assert cells == {
        "Variant": "issm",
        "WAR (%)": "71.2 [69.8, 72.6]",
        "n": "5",
        "Difference (points)": "+1.2 [−0.3, 2.7]",
        "Verdict": "inconclusive",
        "Parameters": "37\u202f577\u202f123",
        "MACs per clip (fvcore)": "48.02 G",
        "Training": "12 min 05 s",
    }


def test_table_of_comparisons_prints_the_findings_numbers() -> None:
    cells = row(render(with_round_figures()), "Table 2.", "issm")
    assert list(cells.values())[1:] == [
        "[−0.9, 3.3]",
        "[0.5, 1.9]",
        "4.5 of 5",
        "1.25 [0.10, 2.40]",
        "−0.50 [−0.95, 0.70]",
        "0.040",
        "< 0.01",
        "0.20",
        "0.80",
    ]


def test_secondary_metrics_and_recalls_are_in_tables() -> None:
    markdown = render(with_round_figures())
    assert row(markdown, "Table 3.", "issm")["UAR (%)"] == "65.0 [64.0, 66.0]"
    assert row(markdown, "Table 4.", "issm")["sad"] == "50.0 ± 2.5"


def test_more_classes_than_fit_a_page_are_rows_of_their_table() -> None:
    classes = tuple(f"class-{number}" for number in range(11))
    table = rows(render(findings(classes=classes)), "Table 4.")
    assert table[0] == ["Class", "even-odd", "issm"]
    assert [cells[0] for cells in table[1:]] == list(classes)


def test_chosen_hyperparameters_keep_the_digits_that_were_used() -> None:
    markdown = render(with_round_figures())
    (table,) = captions(markdown, "The hyperparameters that each search chose")
    cells = row(markdown, table, "issm")
    assert cells["train.lr"] == "0.000312457"
    assert cells["train.epochs"] == "12"
    assert row(markdown, table, "even-odd")["train.epochs"] == "–"


def test_few_hyperparameters_of_a_search_in_each_repetition_stand_beside_its_score() -> None:
    base = findings()
    variants = tuple(
        dataclasses.replace(
            variant,
            chosen=tuple(
                Choice({"train.lr": run.repetition / 1024}, run.repetition, run.fold)
                for run in variant.repetitions
            ),
        )
        for variant in base.variants
    )
    markdown = render(dataclasses.replace(base, variants=variants))
    (repetitions,) = captions(markdown, "Every repetition")
    head, *body = rows(markdown, repetitions)
    assert [float(cells[head.index("train.lr")]) * 1024 for cells in body] == pytest.approx(
        [int(cells[head.index("Repetition")]) for cells in body], rel=1e-3
    )
    assert captions(markdown, "The hyperparameters that each search chose") == []


def test_every_repetition_and_every_trial_is_listed_in_one_table_each() -> None:
    report = with_round_figures()
    markdown = render(report)
    (repetitions,), (trials,) = captions(markdown, "Every repetition"), captions(markdown, "Trials of")
    assert [(cells[0], int(cells[1]), cells[-1]) for cells in rows(markdown, repetitions)[1:]] == [
        (variant.name, run.repetition, run.run) for variant in report.variants for run in variant.repetitions
    ]
    assert [(cells[0], int(cells[1]), cells[2]) for cells in rows(markdown, trials)[1:]] == [
        (variant.name, trial.number, trial.status) for variant in report.variants for trial in variant.trials
    ]


def test_many_hyperparameters_share_a_column() -> None:
    base = findings(["only"], repetitions=1, trials=2)
    names = [f"train.p{number}" for number in range(5)]
    trials = tuple(replace_parameters(trial, names) for trial in base.variants[0].trials)
    markdown = render(
        dataclasses.replace(base, variants=(dataclasses.replace(base.variants[0], trials=trials),))
    )
    (table,) = captions(markdown, "Trials of")
    assert row(markdown, table, "only")["Hyperparameters"] == ", ".join(f"{name} = 1" for name in names)


def replace_parameters(trial: TrialCurve, names: list[str]) -> TrialCurve:
    return dataclasses.replace(trial, parameters=dict.fromkeys(names, 1))


def test_several_factors_have_columns_in_the_main_table() -> None:
    base = findings(["a", "b", "c"])
    levels = (
        {"splitter": "x", "depth": "1"},
        {"splitter": "y", "depth": "2"},
        {"splitter": "z", "depth": "3"},
    )
    variants = tuple(dataclasses.replace(v, levels=own) for v, own in zip(base.variants, levels, strict=True))
    cells = row(render(dataclasses.replace(base, variants=variants)), "Table 1.", "b")
    assert (cells["splitter"], cells["depth"]) == ("y", "2")


def test_what_decides_stands_before_the_appendix() -> None:
    report = dataclasses.replace(findings(), facts={"study file": "ablations/issm.toml", "commit": "abc"})
    markdown = render(report)
    body, _, appendix = markdown.partition("\n## Appendix\n")
    assert re.findall(r"^## (.*)", body, flags=re.MULTILINE) == ["Claims", "Results", "How to reproduce"]
    assert re.findall(r"figures/(\w+)\.svg", body) == ["differences", "tradeoff"]
    assert "`study run ablations/issm.toml`" in body
    assert "abc" in body
    assert "Every repetition" in appendix


def test_the_command_to_reproduce_has_the_preset_and_the_changes_of_the_study() -> None:
    base = findings()
    facts = {
        **base.facts,
        "study file": "ablations/issm.toml",
        "options": "--preset small --set search.trials=2",
    }
    body = render(dataclasses.replace(base, name="issm@small-1a2b3c", facts=facts))
    assert "`study run ablations/issm.toml --preset small --set search.trials=2`" in body
    assert "`study reproduce issm@small-1a2b3c`" in body


def nine(**changes: Any) -> Findings:
    """Return nine variants as the statistics describe them: sentences that the answer and a claim repeat."""
    base = findings([f"variant {number}" for number in range(1, 10)])
    first = base.variants[1].difference
    assert first is not None
    claim = ClaimFinding("variant 2 beats variant 1", "supported", first.sentence)
    limits = (
        Limit(LimitCode.DATA, "Faces are drawn by a program."),
        Limit(LimitCode.UNDERTRAINED, "Training may be too short."),
        Limit(LimitCode.DATA, "Labels are noisy."),
        Limit(LimitCode.DATA, "Labels are noisy."),
    )
    return dataclasses.replace(
        base, answer=f"Yes: {first.sentence}", claims=(claim,), limits=limits, **changes
    )


def test_no_sentence_is_printed_twice() -> None:
    lines: list[str] = []
    for block in document(with_predictions(nine())).blocks:
        if isinstance(block, Text):
            lines.append(plain_text(block.line))
        elif isinstance(block, Bullets | Note):
            lines += map(plain_text, block.items)
        elif isinstance(block, Table | Figure):
            lines.append(plain_text(block.caption))
    sentences = [part for line in lines for part in re.split(r"(?<=[.!?:]) ", line) if len(part) > 30]
    assert len(sentences) > 30
    assert [part for part in sentences if sentences.count(part) > 1] == []


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        (("For new clips: unknown.",) * 2, ["c loses.", "For new clips: unknown."]),
        (("New: 1 to 2.", "New: 3 to 4."), ["b: New: 1 to 2.", "c loses. New: 3 to 4."]),
    ],
)
def test_a_comparison_names_its_variant_and_repeats_nothing(
    others: tuple[str, str], expected: list[str]
) -> None:
    base = findings(["a", "b", "c"])
    variants = [base.variants[0]]
    for variant, sentence, other in zip(base.variants[1:], ("b wins.", "c loses."), others, strict=True):
        assert variant.difference is not None
        own = dataclasses.replace(variant.difference, sentence=sentence, other_sentence=other)
        variants.append(dataclasses.replace(variant, difference=own))
    report = dataclasses.replace(base, variants=tuple(variants), answer="Yes: b wins.", claims=())
    (shown,) = [
        block
        for block in document(report).blocks
        if isinstance(block, Bullets) and any("c loses" in plain_text(item) for item in block.items)
    ]
    assert [plain_text(item) for item in shown.items] == expected


def test_warnings_of_a_kind_are_one_item() -> None:
    (note,) = [block for block in document(nine()).blocks if isinstance(block, Note)]
    assert [plain_text(item) for item in note.items] == [
        "Data. Faces are drawn by a program. Labels are noisy.",
        "Runs. Training may be too short.",
    ]


def test_every_kind_of_warning_belongs_to_one_group() -> None:
    grouped = [code for codes in GROUPS.values() for code in codes]
    assert sorted(grouped) == sorted(LimitCode)


@pytest.mark.skipif(shutil.which("pdfinfo") is None, reason="needs pdfinfo of poppler")
def test_nine_variants_take_at_most_eight_pages(tmp_path: Path) -> None:
    report = with_predictions(nine(facts={"study file": "ablations/issm.toml", **findings().facts}))
    pictures = clip_pictures(report)
    path = tmp_path / "report.pdf"
    path.write_bytes(pdf(document(report, pictures), draw(report, pictures)))
    shown = subprocess.run(["pdfinfo", str(path)], capture_output=True, text=True, check=True).stdout
    (pages,) = re.findall(r"^Pages: +(\d+)$", shown, flags=re.MULTILINE)
    assert int(pages) <= 8


def test_facts_and_configuration_are_printed() -> None:
    report = findings()
    markdown = render(report)
    for name, value in report.facts.items():
        assert f"| {name} | {value} |" in markdown
    assert 'dataset.name = "faces"' in markdown
    assert "train.betas = [0.9, 0.999]" in markdown


def test_missing_runs_are_named_and_counted() -> None:
    markdown = render(damaged())
    assert row(markdown, "Table 1.", "issm")["n"] == "1 of 5"
    assert row(markdown, "Table 1.", "random")["Verdict"] not in get_args(Verdict)
    assert row(markdown, "Table 1.", "random")["WAR (%)"] == "–"
    for variant in damaged().variants:
        for failure in variant.failures:
            assert f"- {variant.name}: {failure}" in markdown


def test_one_repetition_has_a_mean_and_no_interval() -> None:
    report = damaged()
    cells = row(render(report), "Table 1.", "issm")
    assert re.fullmatch(r"\d\d\.\d", cells["WAR (%)"])
    assert re.fullmatch(r"[+−]\d\.\d", cells["Difference (points)"])


def test_a_study_without_a_posterior_or_effect_is_still_with_round_figures() -> None:
    report = with_round_figures()
    reference, other = report.variants
    assert other.difference is not None
    bare = dataclasses.replace(
        other.difference,
        p_worse=None,
        p_equivalent=None,
        p_better=None,
        effect=None,
        correlation=None,
        p_holm=None,
    )
    report = dataclasses.replace(report, variants=(reference, dataclasses.replace(other, difference=bare)))
    assert list(row(render(report), "Table 2.", "issm").values())[4:] == ["–"] * 6


def test_table_of_costs_prints_the_findings_numbers() -> None:
    markdown = render(profiled())
    (label,) = captions(markdown, "The cost")
    (caption,) = re.findall(rf"^\*\*{label}\*\* (.*)", markdown, flags=re.MULTILINE)
    assert " 3 × 16 × 112 × 96" in caption
    assert row(markdown, label, "even-odd") == {
        "Variant": "even-odd",
        "Parameters": "37\u202f641",
        "Without gradient": "512",
        COUNTED_MACS: "48.02 M",
        COUNTED_FLOPS: "96.40 M",
        "FLOPs / (2 × MACs) (%)": "100.4",
        ACTIVATIONS: "1.50",
        "Training": "12 min 05 s",
    }
    assert list(row(markdown, label, "issm").values())[4:7] == ["106.4 M", "110.8", "1.00"]
    assert list(row(markdown, label, "random").values())[4:7] == ["–", "–", "–"]
    assert "`study profile STUDY`" in markdown


def test_parts_are_listed_where_they_differ_from_the_references() -> None:
    markdown = render(profiled())
    (table,) = captions(markdown, "Parts:")
    assert rows(markdown, table)[1:] == [
        ["even-odd", "backbone", "37\u202f000", "40.00 M"],
        ["even-odd", "splitter", "0", "0"],
        ["even-odd", "(rest)", "64", "12"],
        ["issm", "backbone", "37\u202f000", "40.00 M"],
        ["issm", "splitter", "577", "8.020 M"],
        ["issm", "(rest)", "64", "12"],
    ]


def test_costs_stand_in_the_appendix() -> None:
    heads = re.findall(r"^##+ (.*)", render(profiled()), flags=re.MULTILINE)
    assert heads.index("Appendix") < heads.index("Cost") < heads.index("What was run")
    assert "# Cost" not in render(findings())


def test_costs_that_were_not_counted_have_no_column() -> None:
    base = profiled()
    bare = Cost((1, 1, 16, 32, 32))
    reference, other, third = (dataclasses.replace(variant, cost=bare) for variant in base.variants)
    report = dataclasses.replace(base, variants=(reference, other, dataclasses.replace(third, cost=None)))
    markdown = render(report)
    (label,) = captions(markdown, "The cost")
    assert rows(markdown, label)[0] == ["Variant", "Parameters", COUNTED_MACS, "Training"]
    assert "torch's counter" not in markdown
    assert not captions(markdown, "Parts")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a shape to its report's folder, each written once."""
    folders: dict[str, Path] = {}

    def folder(shape: str) -> Path:
        if shape not in folders:
            folders[shape] = tmp_path_factory.mktemp(shape)
            files = write(SHAPES[shape](), folders[shape])
            assert set(files) == {path for path in folders[shape].rglob("*") if path.is_file()}
        return folders[shape]

    return folder


@pytest.mark.parametrize("shape", SHAPES)
def test_figures_in_the_text_are_the_figures_in_the_folder(
    shape: str, written: Callable[[str], Path]
) -> None:
    folder = written(shape)
    referenced = re.findall(
        r"\]\((figures/[a-z]+\.svg)\)", (folder / "report.md").read_text(encoding="utf-8")
    )
    drawn = {path.name for path in (folder / "figures").iterdir()}
    assert {f"{Path(path).stem}.{form}" for path in referenced for form in FORMATS} == drawn
    for path in referenced:
        assert ElementTree.parse(folder / path).getroot().tag.endswith("svg")
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize("shape", ["full", "hostile", "profiled"])
def test_equal_findings_give_equal_bytes(shape: str, written: Callable[[str], Path], tmp_path: Path) -> None:
    for path in write(SHAPES[shape](), tmp_path / "else" / "where"):
        name = path.relative_to(tmp_path / "else" / "where")
        assert path.read_bytes() == (written(shape) / name).read_bytes(), name


def test_a_figure_without_data_is_not_drawn() -> None:
    without = ("profiles", "confusion", "examples", "published")
    assert list(figure_specs(findings())) == [name for name in NAMES if name not in without]
    predicted = with_predictions(findings())
    assert list(figure_specs(predicted, clip_pictures(predicted))) == [
        name for name in NAMES if name not in OF_BENCHMARKS
    ]
    assert "examples" not in figure_specs(predicted)
    assert "search" not in figure_specs(findings(trials=0))
    assert "differences" not in figure_specs(findings(["only"]))
    nothing = findings(
        ["even-odd", "issm"], trials=0, missing={"even-odd": tuple(range(5)), "issm": tuple(range(5))}
    )
    assert figure_specs(nothing) == {}


def test_a_study_without_results_still_has_a_report(tmp_path: Path) -> None:
    missing = tuple(range(5))
    write(findings(["even-odd", "issm"], trials=0, missing={"even-odd": missing, "issm": missing}), tmp_path)
    assert not (tmp_path / "figures").exists()
    assert "0 of 5" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_figure_without_data_is_removed(tmp_path: Path) -> None:
    write(findings(["only"], repetitions=2, epochs=2, trials=2), tmp_path)
    assert (tmp_path / "figures" / "search.svg").exists()
    write(findings(["only"], repetitions=2, epochs=2, trials=0), tmp_path)
    assert not (tmp_path / "figures" / "search.svg").exists()


def test_twelve_long_names_fit_their_figures(recwarn: pytest.WarningsRecorder) -> None:
    report = with_predictions(twelve(repetitions=4, trials=3, epochs=5))
    rendered = draw(report, clip_pictures(report))
    assert list(rendered) == [
        f"figures/{name}.{form}" for name in NAMES if name not in OF_BENCHMARKS for form in FORMATS
    ]
    assert not [warning for warning in recwarn if "layout" in str(warning.message)]


def test_hostile_names_are_shown_as_they_are() -> None:
    seen = text_of(render(hostile()))
    assert seen.startswith(HOSTILE)
    assert seen.count(HOSTILE) > 10
    tokens = MarkdownIt("commonmark", {"html": False}).enable("table").parse(render(hostile()))
    inline = [child for token in tokens for child in token.children or []]
    assert {child.attrGet("src") for child in inline if child.type == "image"} == {
        f"figures/{name}.svg" for name in figure_specs(hostile())
    }
    assert [child.attrGet("href") for child in inline if child.type == "link_open"] == ["findings.json"]
    assert [token.tag for token in tokens if token.type == "heading_open"].count("h1") == 1
    assert not [child for child in inline if child.type in ("em_open", "html_inline")]


@pytest.mark.parametrize(
    "name", ["- a", "+", "# a", "1. a", "1) a", "---", "> a", "* a", "```", "~~~", "a\n\n# b", "&lt;"]
)
def test_a_name_cannot_open_a_block(name: str) -> None:
    report = dataclasses.replace(findings(), notes=(name, name), answer=name)
    tokens = MarkdownIt("commonmark").enable("table").parse(render(report))
    contents = [token.content for token in tokens if token.type == "inline"]
    plain = MarkdownIt("commonmark").enable("table").parse(render(findings()))
    assert len(contents) == len([token for token in plain if token.type == "inline"])
    assert text_of(render(report)).count(" ".join(name.split())) >= 3


@pytest.mark.parametrize("shape", SHAPES)
def test_json_holds_the_same_findings(shape: str, written: Callable[[str], Path]) -> None:
    record = json.loads((written(shape) / "findings.json").read_text(encoding="utf-8"))
    assert record.pop("schema") == 1
    expected = json.loads(json.dumps(dataclasses.asdict(SHAPES[shape]())))
    for metric in expected["metrics"]:
        assert metric.pop("compute") is None
    assert record == expected


def test_json_has_null_for_numbers_that_are_not_finite() -> None:
    report = findings(repetitions=1, epochs=1, trials=0)
    reference, other = report.variants
    curve = dataclasses.replace(reference.curves[0], train_loss=(float("nan"),))
    report = dataclasses.replace(report, variants=(dataclasses.replace(reference, curves=(curve,)), other))
    record = json.loads(machine_readable(report))
    assert record["variants"][0]["curves"][0]["train_loss"] == [None]


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext of poppler")
@pytest.mark.parametrize("shape", ["full", "hostile"])
def test_pdf_has_the_text_of_the_markdown(shape: str, written: Callable[[str], Path]) -> None:
    report = SHAPES[shape]()
    command = ["pdftotext", "-enc", "UTF-8", str(written(shape) / "report.pdf"), "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seen = re.sub(r"\s", "", text)
    for sentence in (report.question, *(limit.sentence for limit in report.limits)):
        assert re.sub(r"\s", "", sentence) in seen
    for variant in report.variants:
        for run in variant.repetitions:
            assert run.run in text


def test_long_tables_are_cut_and_refer_to_the_rows() -> None:
    many = findings(repetitions=100, trials=100, epochs=3)
    text = render(many)
    tables = [*captions(text, "Every repetition"), *captions(text, "Trials of")]
    assert [len(rows(text, table)) for table in tables] == [1 + 120] * 2
    assert re.findall(r"^\*\*Table .*120 of 200.*tables/(\w+)\.csv", text, flags=re.MULTILINE) == [
        "runs",
        "trials",
    ]
    assert len(json.loads(machine_readable(many))["variants"][0]["repetitions"]) == 100


def test_no_two_variants_look_the_same_and_none_looks_like_the_reference() -> None:
    shown = looks(twelve(repetitions=1, trials=0, epochs=1).variants)
    assert len(set(shown.values())) == len(shown) == 12
    assert [look.marker for look in shown.values()].count("s") == 1
    references = [look for look in shown.values() if look.line == "--"]
    assert [look.marker for look in references] == ["s"]
    marks = re.findall(
        r'"?([^\s":{,]+)"?: \[', re.findall(r"^const MARKS = .*$", SCRIPT.read_text(), re.M)[0]
    )
    assert {*MARKERS, "s"} <= {*marks, "o"}


def test_references_of_strata_do_not_look_the_same() -> None:
    names = [f"stratum {number}" for number in range(3)]
    reference = next(variant for variant in findings().variants if variant.is_reference)
    shown = looks([dataclasses.replace(reference, name=name, reference=name) for name in names])
    assert {look.marker for look in shown.values()} == {"s"}
    assert len({look.colour for look in shown.values()}) == 3


def test_many_curves_are_one_line_with_a_gap_after_each() -> None:
    few = [[1.0, 2.0]] * 60
    assert len(list(joined_lines(few, few))) == 60
    ((across, values),) = joined_lines([[1.0, 2.0]] * 61, [[5.0, 6.0]] * 61)
    assert len(across) == len(values) == 3 * 61
    assert list(values[:2]) == [5.0, 6.0]
    assert math.isnan(values[2])


def test_the_table_of_times_is_what_the_trainings_measured_and_the_rest(tmp_path: Path) -> None:
    found = findings()
    assert "## Where the time went" not in render(found)
    shares = {"data": 12.0, "step": 60.5, "validation": 20.0}
    timed = [
        dataclasses.replace(variant, seconds_shares=shares if variant.is_reference else {"step": 90.0})
        for variant in found.variants
    ]
    section = render(dataclasses.replace(found, variants=tuple(timed))).partition("## Where the time went")[2]
    rows = [line for line in section.partition("\n### ")[0].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells[0] == ["Variant", "Data", "Whole step", "Validation", "Elsewhere"]
    by_name = {row[0]: row[1:] for row in cells[2:]}
    assert len(by_name) == len(timed)
    (reference,) = [variant.name for variant in timed if variant.is_reference]
    for name, row in by_name.items():
        expected = (
            ["12.0", "60.5", "20.0", "7.5"] if name.startswith(reference) else ["–", "90.0", "–", "10.0"]
        )
        assert row == expected
