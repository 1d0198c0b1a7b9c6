"""The section on the networks' costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from study.analysis.described import Cost
from study.analysis.findings import Findings, VariantFinding
from study.records import PartCost, TimePart
from study.reporting import text
from study.reporting.document import code, join
from study.reporting.sections.blocks import Blocks
from study.reporting.sections.phrases import name_with_runs
from study.reporting.text import MISSING


@dataclass(frozen=True)
class CostColumn:
    """A column of the table of costs."""

    heading: str
    """May hold ``{noun}``, the name of one example."""
    description: str
    cell: Callable[[VariantFinding, Cost], str]


LATENCY_COLUMN = CostColumn(
    "Latency (ms)",
    "median time of one forward pass, measured by the training while other runs may have used the machine",
    lambda _, cost: text.decimals(cost.latency_ms),
)
COST_COLUMNS = (
    CostColumn("Parameters", "trainable values", lambda variant, _: text.count(variant.parameters)),
    CostColumn(
        "Without gradient",
        "those of them that get no gradient in a training step with the study's loss",
        lambda _, cost: text.count(cost.unused),
    ),
    CostColumn(
        "MACs per {noun} (fvcore)",
        "multiply-accumulates of one forward pass, by fvcore, which adds 1 to 5 for each value of norms, pools and "
        "resizes",
        lambda variant, _: text.operations(variant.macs),
    ),
    CostColumn(
        "FLOPs per {noun} (torch)",
        "floating-point operations of one forward pass, by torch's counter: products only, 2 for each MAC",
        lambda _, cost: text.operations(cost.flops),
    ),
    CostColumn(
        "FLOPs / (2 × MACs) (%)",
        "100 where the two counters agree",
        lambda _, cost: text.value(cost.flops_share),
    ),
    CostColumn(
        "Activations per {noun} (MiB)",
        "memory that autograd keeps for the backward pass for one more {noun} in a training batch, without weights "
        "and temporary memory of operators",
        lambda _, cost: text.mebibytes(cost.activation_bytes),
    ),
    LATENCY_COLUMN,
    CostColumn(
        "Training",
        "median wall time of one run, while other runs may have used the machine",
        lambda variant, _: text.duration(variant.train_seconds),
    ),
)
LATENCY_NOTE = join(
    " Latency is measured by ",
    code("study profile STUDY"),
    " on an idle machine, never during a study: a machine busy with other runs gives wrong times.",
)


def add_costs(report: Blocks, findings: Findings) -> None:
    """Add a row for each variant, then the parts of each network that differs from its reference."""
    costs = {variant.name: variant.cost for variant in findings.variants if variant.cost is not None}
    if not costs:
        return
    shapes = sorted({" × ".join(map(str, cost.input_shape[1:])) for cost in costs.values()})
    noun = findings.noun
    example = f"one {noun} of {' or '.join(shapes)}"
    columns: dict[CostColumn, list[str]] = {}
    for column in COST_COLUMNS:
        cells = [column.cell(variant, variant.cost or Cost(input_shape=())) for variant in findings.variants]
        if any(cell != MISSING for cell in cells):
            columns[column] = cells
    names = [name_with_runs(variant) for variant in findings.variants]
    legend = " ".join(f"{column.heading}: {column.description}.".format(noun=noun) for column in columns)
    latency = () if LATENCY_COLUMN in columns else LATENCY_NOTE
    report.heading("Cost", level=3)
    report.table(
        join(f"The cost of each variant, counted for {example}. {legend}", latency),
        {"Variant": "left", **{column.heading.format(noun=noun): "right" for column in columns}},
        list(zip(names, *columns.values(), strict=True)),
    )
    _add_parts(report, findings, costs, example)


def _add_parts(report: Blocks, findings: Findings, costs: Mapping[str, Cost], example: str) -> None:
    """Add the parts of the references, and of the variants whose parts are others."""
    rows = [
        [variant.name, part.name, text.count(part.parameters), text.operations(part.macs)]
        for variant in findings.variants
        for part in _own_parts(variant, costs.get(variant.reference))
    ]
    if rows:
        report.table(
            f"Parts: trainable values and MACs (fvcore) of the networks' own modules, for {example}. A profiled "
            "variant that is missing has the parts of its reference.",
            {
                "Variant": "left",
                "Part": "left",
                "Parameters": "right",
                f"MACs per {findings.noun} (fvcore)": "right",
            },
            rows,
        )


def _own_parts(variant: VariantFinding, reference: Cost | None) -> tuple[PartCost, ...]:
    """Return the parts of a variant; none where they are its reference's."""
    if variant.cost is None:
        return ()
    same = not variant.is_reference and reference is not None and variant.cost.parts == reference.parts
    return () if same else variant.cost.parts


PART_HEADINGS = {
    TimePart.DATA: "Data",
    TimePart.WAITING: "Waiting for data",
    TimePart.TO_DEVICE: "To device",
    TimePart.AUGMENTATION: "Augmentation",
    TimePart.FORWARD: "Forward",
    TimePart.BACKWARD: "Backward",
    TimePart.OPTIMIZER: "Optimizer",
    TimePart.STEP: "Whole step",
    TimePart.VALIDATION: "Validation",
    TimePart.CHECKPOINT: "Checkpoint",
}
PART_LEGENDS = {
    TimePart.DATA: "reading clips in the training process; on a GPU, the time in which it had no clips to compute on",
    TimePart.WAITING: "no clips of the loader processes were there",
    TimePart.STEP: "forward, backward and optimizer, recorded as one graph",
}


def add_times(report: Blocks, findings: Findings) -> None:
    """Add the table of what the trainings spent their time on, where they measured it."""
    variants = [variant for variant in findings.variants if variant.seconds_shares]
    parts = [part for part in TimePart if any(part in variant.seconds_shares for variant in variants)]
    if not parts:
        return
    legend = " ".join(
        f"{PART_HEADINGS[part]}: {PART_LEGENDS[part]}." for part in parts if part in PART_LEGENDS
    )
    rows = []
    for variant in variants:
        cells = [text.value(variant.seconds_shares.get(part)) for part in parts]
        rows.append([name_with_runs(variant), *cells, text.value(variant.seconds_elsewhere)])
    report.heading("Where the time went", level=3)
    report.table(
        "Share of the wall time of the trainings of the repetitions, in %. "
        f"{legend} Elsewhere: mostly the start, in which data and network are built.",
        {
            "Variant": "left",
            **{PART_HEADINGS[part]: "right" for part in parts},
            "Elsewhere": "right",
        },
        rows,
    )
