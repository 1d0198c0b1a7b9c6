"""The report as Markdown: findings in, text out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Literal

from study.analysis.findings import (
    BreakdownFinding,
    Cost,
    Difference,
    Findings,
    Interval,
    MeasureFinding,
    TrialCurve,
    VariantFinding,
)
from study.analysis.units import amount, difference, heading, in_brackets, lower
from study.metrics import Metric
from study.records import PublishedResult
from study.reporting import text as formats
from study.reporting.figure_specs import FigureSpec, corrected_level, figure_specs
from study.reporting.text import MISSING

COLUMNS_PER_TABLE = 7
MOST_COLUMNS, LONGEST_COLUMN = 7, 14
"""A breakdown of more or longer rows has them as rows of its table, variants as columns."""
MOST_METRICS = 4
"""In the tables of every seed; the others are in findings.json."""
MOST_ROWS = 60
"""Seeds or trials of one variant that are listed; the others are in findings.json."""
"""A wider table is printed in parts, so that it fits the page."""
WITHOUT_SEED = "no paired seed"
WITHOUT_VERDICT = "none, optimistic"
OPTIMISTIC = "Optimistic, chosen on the test split."
"""Before the caption of every table of measured figures."""

Side = Literal["left", "right"]

COSTS: Mapping[str, tuple[str, Callable[[VariantFinding, Cost], str]]] = {
    "Parameters": ("trainable values", lambda variant, _: formats.count(variant.parameters)),
    "Without gradient": (
        "those of them that get no gradient in a training step with the study's loss",
        lambda _, cost: formats.count(cost.unused),
    ),
    "MACs per {noun} (fvcore)": (
        "multiply-accumulates of one forward pass, by fvcore, which adds 1 to 5 for each value of norms, pools and "
        "resizes",
        lambda variant, _: formats.operations(variant.macs),
    ),
    "FLOPs per {noun} (torch)": (
        "floating-point operations of one forward pass, by torch's counter, products alone, 2 a MAC",
        lambda _, cost: formats.operations(cost.flops),
    ),
    "FLOPs / (2 × MACs) (%)": (
        "100 where the two counters agree",
        lambda _, cost: formats.value(cost.flops_share),
    ),
    "Activations per {noun} (MiB)": (
        "what autograd keeps for the backward pass, as one more {noun} in a training batch adds it; weights, and "
        "memory while an operator works, are not in it",
        lambda _, cost: formats.mebibytes(cost.activation_bytes),
    ),
    "Latency (ms)": (
        "median time of one forward pass, measured by the training beside whatever else the machine did",
        lambda _, cost: formats.decimals(cost.latency_ms),
    ),
    "Training": (
        "median wall time of one run, beside whatever else the machine did",
        lambda variant, _: formats.duration(variant.train_seconds),
    ),
}
"""Columns of the table of costs: how each is counted, and its cell; ``{noun}`` is what one example is called."""

LATENCY = (
    " Latency is measured by `study profile STUDY` on an idle machine, never during a study: a machine busy with "
    "other runs gives false times."
)


def render(findings: Findings) -> str:
    """Return the report: question and answer first, what limits them next, details after."""
    report = _Report(figure_specs(findings), f"*{OPTIMISTIC}* " if findings.is_optimistic else "")
    _answer(report, findings)
    _claims(report, findings)
    _results(report, findings)
    _secondary(report, findings)
    _breakdowns(report, findings)
    _parts(report, findings)
    _costs(report, findings)
    _published(report, findings)
    _reading(report, findings)
    _training(report, findings)
    _appendix(report, findings)
    return "\n\n".join(report.blocks) + "\n"


class _Report:
    """Blocks of Markdown, with tables and figures numbered as they come."""

    def __init__(self, drawn: Mapping[str, FigureSpec], mark: str) -> None:
        self.blocks: list[str] = []
        self._drawn = drawn
        self._mark = mark
        self._tables = count(1)
        self._figures = count(1)

    def add(self, *blocks: str) -> None:
        self.blocks += blocks

    def table(self, caption: str, columns: Mapping[str, Side], rows: Iterable[Sequence[str]]) -> None:
        """Add a numbered table of what this study found; cells are Markdown."""
        self.borrowed_table(self._mark + caption, columns, rows)

    def borrowed_table(
        self, caption: str, columns: Mapping[str, Side], rows: Iterable[Sequence[str]]
    ) -> None:
        """Add a numbered table of what others found."""
        self.add(f"**Table {next(self._tables)}.** {caption}", _table(columns, rows))

    def wide_table(
        self, caption: str, first: str, columns: Mapping[str, Side], rows: Sequence[Sequence[str]]
    ) -> None:
        """Add a table in as few parts as fit the page, each with the rows' first cells."""
        names = list(columns)
        parts = -(-len(names) // COLUMNS_PER_TABLE)
        size = -(-len(names) // parts)
        for part, start in enumerate(range(0, len(names), size), start=1):
            shown = {name: columns[name] for name in names[start : start + size]}
            body = [[head, *cells[start : start + size]] for head, *cells in rows]
            suffix = f" (Part {part} of {parts}.)" if parts > 1 else ""
            self.table(caption + suffix, {first: "left", **shown}, body)

    def figure(self, name: str) -> None:
        """Add a numbered figure where there is data for it."""
        if name in self._drawn:
            plate = self._drawn[name]
            self.add(
                f"![{plain(plate.short)}]({plate.path})",
                f"**Figure {next(self._figures)}.** {plain(plate.caption)}",
            )


def plain(text: str) -> str:
    """Return `text` on one line, escaped so that Markdown shows it as it is."""
    escaped = re.sub(r"([\\`*\[\]<>|$~&]|(?<!\w)_|_(?!\w))", r"\\\1", formats.one_line(text))
    escaped = re.sub(r"^([-+#])(?=[-+#\s]|$)", r"\\\1", escaped)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", escaped)


def code(text: str) -> str:
    """Return `text` on one line as a code span that may stand in a table."""
    line = formats.one_line(text)
    if not line:
        return MISSING
    ticks = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}".replace("|", r"\|")


def _answer(report: _Report, findings: Findings) -> None:
    report.add(
        f"# {plain(findings.title)}",
        f"**Question.** {plain(findings.question)}",
        f"**Answer.** {plain(findings.answer)}",
    )
    if findings.warnings:
        limits = "\n".join(f"> - {plain(warning)}" for warning in findings.warnings)
        report.add(f"> **Warnings: what limits this conclusion**\n>\n{limits}")


def _claims(report: _Report, findings: Findings) -> None:
    if findings.claims:
        report.add(
            "## Claims",
            "Stated in the study; figures chosen on the test split judge none of them."
            if findings.is_optimistic
            else "Stated in the study, judged by the verdicts below.",
            _list(
                f"**{claim.verdict.capitalize()}:** {_sentence(claim.text)} {_sentence(claim.reason)}"
                for claim in findings.claims
            ),
        )


def _results(report: _Report, findings: Findings) -> None:
    metric = findings.primary
    level = corrected_level(findings)
    report.add("## Results")
    compared = _compared(findings)
    unit = f", in {metric.points}" if metric.unit else ""
    against = (
        f"Difference: from the reference, paired by seed{unit} [95 % t interval]. "
        f"Verdict: by the {level} interval in Table 2 and the least difference of interest, "
        f"{_rope(findings)}. "
    )
    costs: dict[str, Callable[[VariantFinding], str]] = {
        "Training": lambda v: formats.duration(v.train_seconds)
    }
    macs = ""
    if any(variant.macs is not None for variant in findings.variants):
        macs = "MACs: multiply-accumulates of one forward pass. "
        costs = {f"MACs per {findings.noun} (fvcore)": lambda v: formats.operations(v.macs), **costs}
    if any(variant.parameters is not None for variant in findings.variants):
        costs = {"Parameters": lambda v: formats.count(v.parameters), **costs}
    report.table(
        f"{_described(metric)}: mean over n confirmation runs "
        f"[95 % t interval], without an interval where n < 2. {against if compared else ''}"
        f"{macs}Training: median wall time of one run.",
        {
            "Variant": "left",
            plain(heading(metric)): "right",
            "n": "right",
            plain(in_brackets("Difference", metric.points)): "right",
            "Verdict": "left",
            **dict.fromkeys(map(plain, costs), "right"),
        },
        [
            [
                *_result(variant, WITHOUT_VERDICT if findings.is_optimistic else WITHOUT_SEED, metric.unit),
                *(cell(variant) for cell in costs.values()),
            ]
            for variant in findings.variants
        ],
    )
    if compared:
        report.add(_list(plain(difference.sentence) for _, difference in compared))
    failures = [
        f"{plain(variant.name)}: {plain(failure)}"
        for variant in findings.variants
        for failure in variant.failures
    ]
    if failures:
        report.add("Confirmation runs without a result:", _list(failures))
    if compared:
        _comparisons(report, findings, compared, level)
    report.figure("seeds")
    report.figure("differences")


def _result(variant: VariantFinding, without_verdict: str, unit: str) -> list[str]:
    difference = variant.difference
    if variant.is_reference:
        delta, verdict = MISSING, "reference"
    elif difference is None:
        delta, verdict = MISSING, without_verdict
    else:
        delta, verdict = formats.difference(difference.interval, unit), f"**{difference.verdict}**"
    n = len(variant.seeds)
    return [
        plain(variant.name),
        formats.score(variant.score, unit),
        str(n) if n == variant.planned else f"{n} of {variant.planned}",
        delta,
        verdict,
    ]


def _name(variant: VariantFinding) -> str:
    """Return a variant's name, with its number of runs where a mean beside it lacks some."""
    return plain(variant.name) + _mark(variant)


def _mark(variant: VariantFinding) -> str:
    return formats.mark(len(variant.seeds), variant.planned) if variant.seeds else ""


def _mark_of(variant: VariantFinding, figure: str) -> str:
    """Mark a mean of other runs than the variant's name tells."""
    runs = variant.runs.get(figure, len(variant.seeds))
    return formats.mark(runs, variant.planned) if runs not in (0, len(variant.seeds)) else ""


def _compared(findings: Findings) -> list[tuple[VariantFinding, Difference]]:
    return [(variant, variant.difference) for variant in findings.variants if variant.difference is not None]


def _comparisons(
    report: _Report, findings: Findings, compared: list[tuple[VariantFinding, Difference]], level: str
) -> None:
    unit = findings.primary.unit
    near, rope = difference(findings.rope, unit), _rope(findings)
    is_lower = findings.primary.direction == "minimize"
    better = (
        f"lies above {near}, within ±{near} or below −{rope}"
        if is_lower
        else (f"lies below −{near}, within ±{near} or above {rope}")
    )
    family = "1 comparison" if findings.comparisons == 1 else f"{findings.comparisons} comparisons"
    report.table(
        f"The comparisons in detail. The {level} interval (α = {findings.alpha:g} over a family of {family}) decides "
        "the verdict; everything to its right is description. Won: seeds on which the variant was better, ties "
        "counted half. g: Hedges' effect size of the paired differences. r: correlation of the two arms over seeds. "
        "p: paired t test, after Holm. Worse, same, better: posterior probability that the mean difference "
        f"{better}. Seeds: about how many would resolve what is inconclusive.",
        {
            "Variant": "left",
            plain(in_brackets(f"{level} interval", findings.primary.points)): "right",
            "Won": "right",
            "g": "right",
            "r": "right",
            "p": "right",
            "Worse": "right",
            "Same": "right",
            "Better": "right",
            "Seeds": "right",
        },
        [_comparison(variant, found, unit) for variant, found in compared],
    )


def _comparison(variant: VariantFinding, difference: Difference, unit: str) -> list[str]:
    return [
        plain(variant.name),
        formats.bounds(difference.corrected, unit),
        f"{difference.wins:g} of {difference.n}",
        formats.decimals(difference.effect),
        formats.decimals(difference.correlation),
        formats.p_value(difference.p_holm),
        formats.probability(difference.p_worse),
        formats.probability(difference.p_equivalent),
        formats.probability(difference.p_better),
        MISSING if difference.seeds_needed is None else f"≈ {difference.seeds_needed}",
    ]


def _secondary(report: _Report, findings: Findings) -> None:
    scored = [variant for variant in findings.variants if variant.secondary]
    if not scored:
        return
    tested = "" if findings.is_optimistic else ": the verdicts rest on the primary metric alone"
    report.add("## Secondary metrics", f"Described, not tested{tested}.")
    for metric in findings.metrics:
        if any(metric.name in variant.secondary for variant in scored):
            report.table(
                f"{_described(metric)}: mean over seeds [95 % t interval].",
                {"Variant": "left", plain(heading(metric)): "right"},
                [
                    [
                        _name(variant),
                        formats.score(variant.secondary.get(metric.name), metric.unit)
                        + _mark_of(variant, metric.name),
                    ]
                    for variant in scored
                ],
            )


def _described(metric: Metric) -> str:
    """Return a metric with what it is, its unit and its direction, as captions begin."""
    about = f" ({plain(metric.about)})" if metric.about else ""
    unit = f" in {plain(metric.unit)}" if metric.unit else ""
    return f"{plain(metric.title)}{about} on the test split{unit}{lower(metric, ', ')}"


def _rope(findings: Findings) -> str:
    unit = findings.primary.unit
    return plain(amount(difference(findings.rope, unit), unit))


def _breakdowns(report: _Report, findings: Findings) -> None:
    """Figures of parts of the test split, a table each, and the drawing of the first short one."""
    if not findings.breakdowns:
        return
    report.add("## Breakdown", "Described, not tested: no verdict rests on these figures.")
    for part in findings.breakdowns:
        variants = [variant for variant in findings.variants if variant.breakdowns.get(part.name)]
        _breakdown(report, findings, part, variants)
    report.figure("breakdown")


def _breakdown(
    report: _Report, findings: Findings, part: BreakdownFinding, variants: Sequence[VariantFinding]
) -> None:
    unit = f" in {plain(part.unit)}" if part.unit else ""
    caption = f"{plain(part.title)} on the test split{unit}: mean over seeds ± half of the 95 % t interval."
    cells = {
        row: [
            formats.half_width(variant.breakdowns[part.name].get(row), part.unit)
            + _mark_of(variant, f"{part.name}/{row}")
            for variant in variants
        ]
        for row in part.rows
    }
    names = [_name(variant) for variant in variants]
    is_short = len(part.rows) <= MOST_COLUMNS and all(len(row) <= LONGEST_COLUMN for row in part.rows)
    if is_short and not part.counts:
        across = [[name, *(cells[row][place] for row in part.rows)] for place, name in enumerate(names)]
        report.wide_table(caption, "Variant", {plain(row): "right" for row in part.rows}, across)
        return
    noun = findings.noun.capitalize()
    counted: dict[str, Side] = {f"{plain(noun)}s": "right"} if part.counts else {}
    note = f" {plain(noun)}s: in the test split; a figure of few of them is uncertain." if part.counts else ""
    report.wide_table(
        caption + note,
        plain(part.name.capitalize()),
        {**counted, **dict.fromkeys(names, "right")},
        [
            [plain(row), *([formats.count(part.counts.get(row))] if part.counts else []), *cells[row]]
            for row in part.rows
        ],
    )


def _parts(report: _Report, findings: Findings) -> None:
    """What the networks' parts do: a table a measure, chance in its last row."""
    missing = [f"{plain(v.name)}: {plain(line)}" for v in findings.variants for line in v.unmeasured]
    if not findings.measures and not missing:
        return
    report.add("## What the parts do", "Described, not tested: no verdict rests on these figures.")
    for measure in findings.measures:
        heads = [f"{plain(figure.name)} ({plain(figure.unit)})" for figure in measure.figures]
        named: dict[str, list[str]] = {}
        for figure in measure.figures:
            named.setdefault(_sentence(figure.about), []).append(plain(figure.name))
        legend = " ".join(f"{', '.join(names)}: {about}" for about, names in named.items())
        report.table(
            f"{_sentence(measure.about)} Means over confirmation runs [95 % t interval] on the test split. "
            f"{legend} Chance: what is expected where there is nothing to be found.",
            {"Variant": "left", **dict.fromkeys(heads, "right")},
            [
                *([_name(v), *_measured(v, measure)] for v in findings.variants),
                ["*chance*", *_chances(findings.variants, measure)],
            ],
        )
    if missing:
        report.add("Not measured:", _list(missing))


def _measured(variant: VariantFinding, measure: MeasureFinding) -> Iterator[str]:
    for figure in measure.figures:
        name = f"{measure.name}/{figure.name}"
        yield formats.figure(variant.measures.get(name), figure.unit) + _mark_of(variant, name)


def _chances(variants: Sequence[VariantFinding], measure: MeasureFinding) -> Iterator[str]:
    """Yield each figure's level of chance; where variants differ in their data, the range."""
    for figure in measure.figures:
        name = f"{measure.name}/{figure.name}"
        levels = sorted(variant.chance[name] for variant in variants if name in variant.chance)
        ends = [
            formats.figure(Interval(level, None, None), figure.unit) for level in levels[:1] + levels[-1:]
        ]
        yield " to ".join(dict.fromkeys(ends)) or MISSING


def _costs(report: _Report, findings: Findings) -> None:
    """What the networks cost: a row a variant, then the parts of each network that differs from its reference."""
    costs = {variant.name: variant.cost for variant in findings.variants if variant.cost is not None}
    if not costs:
        return
    shapes = sorted({" × ".join(map(str, cost.input_shape[1:])) for cost in costs.values()})
    noun = plain(findings.noun)
    one = f"one {noun} of {' or '.join(shapes)}"
    columns: dict[str, list[str]] = {}
    for head, (_, cell) in COSTS.items():
        cells = [cell(variant, variant.cost or Cost(input_shape=())) for variant in findings.variants]
        if any(text != MISSING for text in cells):
            columns[head] = cells
    names = [_name(variant) for variant in findings.variants]
    legend = " ".join(f"{head}: {COSTS[head][0]}.".format(noun=noun) for head in columns)
    report.add("## Cost")
    report.table(
        f"What each variant costs, counted for {one}. {legend}{'' if 'Latency (ms)' in columns else LATENCY}",
        {"Variant": "left", **{head.format(noun=noun): "right" for head in columns}},
        list(zip(names, *columns.values(), strict=True)),
    )
    for variant in findings.variants:
        cost, reference = variant.cost, costs.get(variant.reference)
        if cost is None or not cost.parts:
            continue
        if variant.is_reference or reference is None or cost.parts != reference.parts:
            same = " Profiled variants without such a table have the same." if variant.is_reference else ""
            report.table(
                f"Parts of {plain(variant.name)}: trainable values and MACs (fvcore) of the network's own modules, "
                f"for {one}.{same}",
                {"Part": "left", "Parameters": "right", f"MACs per {noun} (fvcore)": "right"},
                [
                    [plain(p.name), formats.count(p.parameters), formats.operations(p.macs)]
                    for p in cost.parts
                ],
            )


def _published(report: _Report, findings: Findings) -> None:
    """What others printed on the same benchmark, apart from all that was measured."""
    found = findings.published
    if found is None:
        return
    noun = plain(findings.noun)
    size = f"They are of all {formats.count(found.examples)} {noun}s of the benchmark"
    here = (
        ""
        if found.examples_here == found.examples
        else f"; this study uses {formats.count(found.examples_here)}"
    )
    report.add(
        "## Published results, not measured here",
        f"Reference rows for {plain(found.title)}, copied from the sources named. No figure, difference or verdict of "
        f"this report knows of them. {size}{here}. {f'{plain(found.remark)} ' if found.remark else ''}"
        "A dash was not verified.",
    )
    report.borrowed_table(
        f"Published by others on {plain(found.title)}, not measured by this study. GMACs: of one {noun}, as printed "
        "(papers call them FLOPs). Pretraining: only where the method's name tells it. Source: "
        f"{'; '.join(f'{letter}, {plain(text)}' for letter, text in found.sources.items())}.",
        {
            "Published method": "left",
            "Year": "right",
            "Backbone": "left",
            "Params (M)": "right",
            "GMACs": "right",
            "Modality": "left",
            "Pretraining": "left",
            "Protocol": "left",
            **{plain(label): "right" for label in found.metrics},
            "Source": "left",
        },
        [_borrowed(result, found.metrics) for result in found.results],
    )
    remarks = [f"{plain(r.method)}: {_sentence(r.note)}" for r in found.results if r.note]
    if remarks:
        report.add(_list(remarks))
    if found.folds:
        most = max(len(row.figures) for row in found.folds)
        report.borrowed_table(
            f"Published by others on {plain(found.title)}: {plain(found.fold_metric)} of single folds, to show how "
            "much folds differ.",
            {"Published method": "left", **{f"Fold {fold}": "right" for fold in range(1, most + 1)}},
            [[plain(row.method), *(f"{figure:.2f}" for figure in row.figures)] for row in found.folds],
        )


def _borrowed(result: PublishedResult, metrics: Sequence[str]) -> list[str]:
    return [
        plain(result.method),
        MISSING if result.year is None else str(result.year),
        plain(result.backbone),
        formats.setting(result.params),
        formats.setting(result.gmacs),
        plain(result.modality),
        plain(result.pretraining) or MISSING,
        plain(result.protocol) or MISSING,
        *(f"{result.figures[name]:.2f}" if name in result.figures else MISSING for name in metrics),
        plain(" ".join(result.sources)),
    ]


def _training(report: _Report, findings: Findings) -> None:
    drawn = figure_specs(findings)
    if "learning" in drawn or "search" in drawn:
        report.add("## Training and search")
        report.figure("learning")
        report.figure("search")


def _reading(report: _Report, findings: Findings) -> None:
    notes = [plain(note) for note in findings.notes]
    if _compared(findings):
        notes.insert(0, _verdicts(findings))
    if notes:
        report.add("## How to read this", _list(notes))
    if findings.facts:
        report.add(
            "## What was run",
            _table(
                {"Item": "left", "Value": "left"},
                [[plain(name), plain(value)] for name, value in findings.facts.items()],
            ),
        )


def _verdicts(findings: Findings) -> str:
    rope, near = _rope(findings), difference(findings.rope, findings.primary.unit)
    better = lower(findings.primary, " (", ")")
    level = corrected_level(findings)
    inside = corrected_level(findings, tails=2)
    return (
        f"Verdicts, for a least difference of interest of {rope}{better}. **Helps**, **hurts**: the {level} interval "
        f"excludes 0 and the mean difference is at least {rope}. **Equivalent**: the {inside} interval "
        f"lies within ±{amount(near, findings.primary.unit)}. **Small**: the {level} interval excludes 0, the mean "
        f"difference is below {rope}. **Inconclusive**: none of these, which is want of evidence and no "
        "evidence of absence."
    )


def _appendix(report: _Report, findings: Findings) -> None:
    if any(variant.seeds for variant in findings.variants):
        _every_seed(report, findings)
    _settings(report, findings)
    if any(variant.trials for variant in findings.variants):
        _every_trial(report, findings)
    if findings.configuration:
        report.add(
            "## Appendix: resolved configuration of the reference",
            _fence("\n".join(_flat("", findings.configuration))),
        )
    report.add("The same findings for machines: [findings.json](findings.json).")


def _every_seed(report: _Report, findings: Findings) -> None:
    report.add("## Appendix: every seed")
    metrics = sorted(findings.metrics, key=lambda metric: metric.name != findings.metric)
    every = [run for variant in findings.variants for run in variant.seeds]
    folded = any(run.fold is not None for run in every)
    selected = any(run.validation is not None for run in every)
    columns: dict[str, Side] = {"Seed": "right"}
    if folded:
        columns["Fold"] = "right"
    shown = [metric for metric in metrics if any(metric.name in run.metrics for run in every)][:MOST_METRICS]
    declared = {metric.name for metric in metrics}
    others = list(dict.fromkeys(name for run in every for name in run.metrics if name not in declared))
    others = others[: MOST_METRICS - len(shown)]
    columns |= {plain(f"Test {heading(metric)}"): "right" for metric in shown}
    columns |= {plain(f"Test {name}"): "right" for name in others}
    if selected:
        columns[plain(f"Validation {heading(findings.primary)}")] = "right"
    columns |= {
        "Tested epoch" if selected else "Last epoch": "right",
        "Training": "right",
        "Run": "left",
    }
    for variant in findings.variants:
        if variant.seeds:
            rows = [
                [
                    str(run.seed),
                    *([MISSING if run.fold is None else str(run.fold)] if folded else []),
                    *(formats.value(run.metrics.get(metric.name), metric.unit) for metric in shown),
                    *(formats.undeclared(run.metrics.get(name)) for name in others),
                    *([formats.value(run.validation, findings.primary.unit)] if selected else []),
                    str(run.best_epoch),
                    formats.duration(run.seconds),
                    code(run.run),
                ]
                for run in variant.seeds[:MOST_ROWS]
            ]
            rest = _shown(len(variant.seeds))
            report.table(f"Confirmation runs of {plain(variant.name)}{rest}.", columns, rows)


def _shown(rows: int) -> str:
    """Say where the rest is of what would fill pages."""
    return f": the first {MOST_ROWS} of {rows}, all are in findings.json" if rows > MOST_ROWS else ""


def _settings(report: _Report, findings: Findings) -> None:
    """Levels and chosen hyperparameters: what tells the variants apart."""
    factors = list(dict.fromkeys(name for variant in findings.variants for name in variant.levels))
    chosen = list(dict.fromkeys(name for variant in findings.variants for name in variant.chosen))
    if not factors and not chosen:
        return
    columns: dict[str, Side] = {code(name): "left" for name in factors}
    columns |= {code(name): "right" for name in chosen}
    rows = [
        [
            plain(variant.name),
            *(plain(variant.levels.get(name, MISSING)) for name in factors),
            *(plain(formats.setting(variant.chosen.get(name))) for name in chosen),
        ]
        for variant in findings.variants
    ]
    report.add("## Appendix: levels and hyperparameters")
    searched = " and the hyperparameters that its search chose on the validation split" if chosen else ""
    report.wide_table(f"Each variant's levels{searched}.", "Variant", columns, rows)


def _every_trial(report: _Report, findings: Findings) -> None:
    report.add("## Appendix: search trials")
    metric = findings.primary
    for variant in findings.variants:
        if variant.trials:
            names = list(dict.fromkeys(name for trial in variant.trials for name in trial.parameters))
            rows = [
                [
                    str(trial.number),
                    _status(trial),
                    formats.value(trial.score, metric.unit),
                    formats.value(trial.best_so_far, metric.unit),
                    *(plain(formats.setting(trial.parameters.get(name))) for name in names),
                ]
                for trial in variant.trials[:MOST_ROWS]
            ]
            columns: dict[str, Side] = {
                "Status": "left",
                plain(f"Validation {heading(metric)}"): "right",
                plain(in_brackets("Best so far", metric.unit)): "right",
                **{code(name): "right" for name in names},
            }
            shown = _shown(len(variant.trials))
            report.wide_table(f"Search trials of {plain(variant.name)}{shown}.", "Trial", columns, rows)


def _status(trial: TrialCurve) -> str:
    return trial.status if trial.stopped_after is None else f"stopped after epoch {trial.stopped_after}"


def _sentence(text: str) -> str:
    """Return `text`, escaped, with a full stop at its end."""
    line = plain(text)
    return line if line.endswith((".", "!", "?")) else line + "."


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _table(columns: Mapping[str, Side], rows: Iterable[Sequence[str]]) -> str:
    marks = ["---:" if side == "right" else ":---" for side in columns.values()]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(columns), marks, *rows])


def _fence(text: str) -> str:
    ticks = "`" * max(3, max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{ticks}text\n{text}\n{ticks}"


def _flat(prefix: str, table: Mapping[str, Any]) -> list[str]:
    """Return one ``key.path = value`` line a value, values as in a study file."""
    lines = []
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            lines += _flat(f"{prefix}{name}.", value)
        else:
            lines.append(
                formats.one_line(f"{prefix}{name} = {json.dumps(value, ensure_ascii=False, default=str)}")
            )
    return lines
